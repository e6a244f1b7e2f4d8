"""The model, its loss and the optimiser as pure functions of tensors."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.func import grad, vmap

from retrograde import randomness
from retrograde.errors import UserError
from retrograde.interface.batch import Batch
from retrograde.interface.direct_gradient import direct_gradient, is_direct
from retrograde.interface.state import State
from retrograde.losses import Losses, cross_entropies, mean
from retrograde.networks.functional import BODY, MODEL, Networks, called
from retrograde.networks.head import HEAD
from retrograde.optim import LearningRate, Optimizer, Params

Tree = TypeVar("Tree")
"""Tensors in dictionaries of any nesting, such as `Params`."""


@dataclass
class Notes:
    """What a hook does beside its result, noted while it runs.

    Args:
        draws: The names of the random draws so far; None: repeated names are not detected.
        statistics: The buffers as the training passes so far have left them.
        gradients: The number of gradients that are being taken, one inside the other.
        updates: The number of steps of the optimiser so far.
        calls: The number of passes through dropout layers so far.
        forward: The rows that have passed through the model.
        backward: Those of them through which a gradient of `Net` went back.
    """

    draws: set[str] | None = None
    statistics: Params = field(default_factory=dict)
    gradients: int = 0
    updates: int = 0
    calls: int = 0
    forward: int = 0
    backward: int = 0


@dataclass(frozen=True)
class Net:
    """A model, its loss and its optimiser; all methods are pure and written for one replicate.

    Running statistics, such as those of batch normalisation, follow the passes in training mode
    through which `grad`, `grad_of_loss` or `grad_and_aux` takes a gradient at parameters without
    statistics of their own. All other passes leave them alone.

    Args:
        networks: The model, and the modules of the strategy's own.
        optimizer: The optimiser of the benchmark.
        units: True for the output units of each task; None if the task is not given at test.
        buffers: The buffers of the state, such as running statistics.
        fixed: The tensors of the modules that training leaves alone.
        losses: The loss of each row.
        shape: The shape of one example.
        outputs: The number of output units.
        tasks: The number of tasks of the whole stream.
        experience: The number of the present experience, from 0.
        key: The key of the random numbers of this step.
        rate: The factor on the learning rate of this step, if the benchmark has a schedule.
        normalised: True if the benchmark normalises images, so that pixels are not in [0, 1].
        evaluating: True in evaluation mode, in which batch normalisation uses its running
            statistics.
        notes: What the hook has done so far.
    """

    networks: Networks
    optimizer: Optimizer
    units: Bool[Tensor, "task unit"] | None = None
    buffers: Params = field(default_factory=dict)
    fixed: Params = field(default_factory=dict)
    losses: Losses = cross_entropies
    shape: tuple[int, ...] = ()
    outputs: int = 0
    tasks: int = 1
    experience: Int64[Tensor, ""] = field(default_factory=lambda: torch.tensor(0))
    key: Int64[Tensor, ""] | None = None
    rate: Float[Tensor, ""] | None = None
    normalised: bool = False
    evaluating: bool = False
    notes: Notes = field(default_factory=Notes)

    @property
    def module(self) -> nn.Module:
        """The model, whose own tensors are not used."""
        return self.networks.model

    def uniform(self, *shape: int, name: str = "") -> Float[Tensor, "*_"]:
        """Draw uniform numbers in [0, 1), new ones for every step and every other hook.

        Draws of different names are independent, so a second draw needs a name. A name gives the
        same numbers again, so it may be used once. Numbers that are used twice, as in a loss whose
        gradient is taken twice, are drawn outside of the loss.

        Args:
            *shape: The shape of the numbers.
            name: The name of the draw.

        Raises:
            UserError: The name was used before, or the caller has no random numbers.
        """
        return randomness.uniform(self._named_key(name), *shape)

    def normal(self, *shape: int, name: str = "") -> Float[Tensor, "*_"]:
        """Draw numbers of the standard normal distribution; see `uniform`."""
        return randomness.normal(self._named_key(name), *shape)

    def _named_key(self, name: str) -> Int64[Tensor, ""]:
        """The key of a draw, whose name is noted."""
        if self.key is None:
            raise UserError(
                "Random numbers exist only on streams, in init, begin_experience, step, "
                "rank_exemplars and end_experience. Draw them there."
            )
        draws = self.notes.draws
        if draws is not None and name in draws:
            raise UserError(
                f"Each draw of a step has a name of its own; {name!r} is drawn twice, which would "
                "give the same numbers. Draw once and use the numbers twice, or name the draws: "
                "net.uniform(3, name='noise')."
            )
        if draws is not None:
            draws.add(name)
        return randomness.named(self.key, name)

    def features(
        self,
        params: Params,
        x: Float[Tensor, "row *shape"],
    ) -> Float[Tensor, "row feature"]:
        """The input of the model's head.

        Raises:
            UserError: The model has no module named head.
        """
        if not self.networks.has_body:
            raise UserError(
                f"Features are the inputs of a module named {HEAD} that gives the model's outputs, "
                "with nothing after it; the model has none. Choose another model."
            )
        self.notes.forward += len(x)
        return self.call(BODY, params, x)

    def logits(
        self,
        params: Params,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None = None,
    ) -> Float[Tensor, "row unit"]:
        """The model's outputs.

        Args:
            params: The parameters. A whole model, as `State.model` gives it, brings its own running
                statistics: `in_eval_mode` uses them, and no call changes them.
            x: The examples.
            task: The task of each. If the scenario gives the task, the outputs of other tasks'
                units are minus infinity.
        """
        self.notes.forward += len(x)
        return self.mask_tasks(self.call(MODEL, params, x), task)

    def _dropout_keys(self, layers: list[str]) -> Params:
        """New keys for the dropout layers of a module, other ones for every call."""
        if not layers:
            return {}
        if self.key is None:
            raise UserError(
                "Dropout layers draw random numbers, which exist in the training of streams alone. "
                "Choose a model without dropout."
            )
        self.notes.calls += 1
        of_call = randomness.named(self.key, f"dropout {self.notes.calls}")
        return {layer: randomness.named(of_call, layer) for layer in layers}

    def call(self, name: str, params: Params, *inputs: Tensor) -> Tensor:
        """Call a module of the strategy's own.

        Args:
            name: Its name in `Strategy.modules`.
            params: The parameters of all modules, such as `state.params`.
            *inputs: The inputs of the module.

        Raises:
            UserError: There is no module of that name.
        """
        networks = self.networks
        if name not in networks.names:
            known = ", ".join(networks.own) or "none"
            raise UserError(
                f"A module of the strategy's own is one that modules() gives, here {known}; "
                f"net.call was given {name!r}."
            )
        own_statistics = self.evaluating or any(key in params for key in self.buffers)
        follows = networks.statistics and self.notes.gradients > 0 and not own_statistics
        modules = networks.tracking if follows else networks.training
        module = networks.evaluating[name] if self.evaluating else modules[name]
        buffers = self.notes.statistics if follows else self.buffers
        # A module may write to its buffers.
        copies = {key: params.get(key, value).clone() for key, value in buffers.items()}
        tensors = self.fixed | params | copies
        keys = {} if self.evaluating else self._dropout_keys(networks.random[name])
        given = networks.laid_out(name, inputs)
        outputs, used = called(module, networks.names[name], tensors, given, keys)
        if follows:
            written = {full: used[key] for key, full in networks.names[name].items()}
            after = {key: written.get(key, value) for key, value in buffers.items()}
            self.notes.statistics = after
        return outputs

    def mask_tasks(
        self,
        logits: Float[Tensor, "row unit"],
        task: Int64[Tensor, " row"] | None,
    ) -> Float[Tensor, "row unit"]:
        """The outputs, with minus infinity for other tasks' units if the task is given."""
        if self.units is None or task is None:
            return logits
        return logits.masked_fill(~self.units[task], -torch.inf)

    def row_losses(
        self,
        logits: Float[Tensor, "row unit"],
        batch: Batch,
    ) -> Float[Tensor, " row"]:
        """The loss of each row, given the model's outputs."""
        return self.losses(self.mask_tasks(logits, batch.task), batch.y)

    def loss_from_logits(
        self,
        logits: Float[Tensor, "row unit"],
        batch: Batch,
    ) -> Float[Tensor, ""]:
        """The mean loss over the rows that are not padding, given the outputs; 0 if all are."""
        return mean(self.row_losses(logits, batch), batch.weight)

    def loss(
        self,
        params: Params,
        batch: Batch,
    ) -> Float[Tensor, ""]:
        """The mean loss over the rows that are not padding; 0 if all are.

        It is the cross-entropy in classification.
        """
        return self.loss_from_logits(self.logits(params, batch.x), batch)

    def grad(
        self,
        params: Params,
        batch: Batch,
        *,
        only: Callable[[str], bool] | None = None,
        constant: bool = False,
    ) -> Params:
        """The gradient of `loss` with respect to the parameters.

        Args:
            params: The parameters.
            batch: The examples.
            only: Selects, by name, the parameters in the gradient. None: all.
            constant: If True, the gradient is a constant, without a derivative of its own.
        """
        chosen = {name: value for name, value in params.items() if only is None or only(name)}
        gradient = self.grad_of_loss(lambda chosen: self.loss(params | chosen, batch), chosen)
        return _detached(gradient) if constant else gradient

    def grad_of_loss(
        self,
        loss: Callable[[Tree], Tensor],
        params: Tree,
    ) -> Tree:
        """The gradient of a loss of the strategy's own with respect to the parameters.

        Args:
            loss: Returns the loss, given the parameters.
            params: The parameters, or several sets of them by name.
        """
        gradient, _ = self.grad_and_aux(lambda params: (loss(params), ()), params)
        return gradient

    def grad_and_aux(
        self,
        loss: Callable[[Tree], tuple[Tensor, Any]],
        params: Tree,
    ) -> tuple[Tree, Any]:
        """The gradient of a loss of the strategy's own, and other tensors that the loss computes.

        Args:
            loss: Returns the loss and the other tensors, given the parameters.
            params: The parameters, or several sets of them by name.

        Returns:
            The gradient, and the second value of `loss`.
        """
        notes = self.notes
        forward, backward = notes.forward, notes.backward

        def noted(params: Any) -> Any:
            notes.gradients += 1
            value, aux = loss(params)
            notes.gradients -= 1
            return value, (aux, notes.statistics)

        # A gradient of a gradient, and one within `vmap`, are for `torch.func`.
        direct = not notes.gradients and is_direct()
        # Statistics leave the gradient beside the other tensors, as tensors of the outside.
        gradient: Tree
        found = direct_gradient(noted, params) if direct else grad(noted, has_aux=True)(params)
        gradient, (aux, notes.statistics) = found
        # A gradient of inner steps has counted their rows.
        if notes.backward == backward:
            notes.backward += notes.forward - forward
        return gradient, aux

    def grad_each(self, params: Params, batches: Batch) -> Params:
        """The gradient of `loss` on each of several batches, which are stacked.

        Running statistics do not follow these passes, which have no order.
        """
        # Under `vmap` one batch is counted, whatever their number.
        notes = Notes(calls=self.notes.calls)
        plain = replace(self.without_statistics(), notes=notes)
        count = len(batches.x)
        keys = None
        if self.key is not None:
            # Each batch has dropout of its own.
            names = [f"batch {number}" for number in range(count)]
            keys = torch.stack([randomness.named(self.key, name) for name in names])

        def of_batch(batch: Batch, key: Tensor | None) -> Params:
            return replace(plain, key=key).grad(params, batch)

        in_dims = (0, None if keys is None else 0)
        gradients: Params = vmap(of_batch, in_dims=in_dims)(batches, keys)
        self.notes.calls = notes.calls
        self.notes.forward += notes.forward * count
        self.notes.backward += notes.backward * count
        return gradients

    def model_params(self, meta_params: Params) -> Params:
        """The model's parameters among the meta-parameters."""
        parameters = self.module.named_parameters()
        return {name: meta_params[name] for name, _ in parameters if name in meta_params}

    def scheduled(self, lr: LearningRate) -> LearningRate:
        """The learning rate of this step, by the benchmark's schedule.

        `update` applies it; steps that are tried out or taken in another way need it.
        """
        return lr if self.rate is None else lr * self.rate

    def update(
        self,
        state: State,
        gradient: Params,
        lr: LearningRate,
    ) -> State:
        """Take one step of the benchmark's optimiser against the gradient.

        The benchmark's protocol applies: clipping, weight decay, and the schedule of the rate.
        """
        self.notes.updates += 1
        rate = self.scheduled(lr)
        params, slots = self.optimizer.update(state.params, gradient, state.slots, rate)
        buffers = self.notes.statistics if self.networks.statistics else state.buffers
        return state.replace(params=params, slots=slots, buffers=buffers)

    def in_eval_mode(self) -> "Net":
        """The net in evaluation mode, in which batch normalisation uses its running statistics."""
        return replace(self, evaluating=True)

    def without_statistics(self) -> "Net":
        """The net whose running statistics no pass changes, for gradients that are not followed."""
        return replace(self, networks=self.networks.without_statistics())


def _detached(gradient: Params) -> Params:
    return {name: value.detach() for name, value in gradient.items()}
