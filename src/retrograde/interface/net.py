"""The model, its loss and the optimiser as pure functions of tensors."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from retrograde import randomness
from retrograde.errors import UserError
from retrograde.interface.batch import Batch
from retrograde.interface.state import State
from retrograde.losses import Losses, cross_entropies, mean
from retrograde.networks.head import HEAD, without_head
from retrograde.optim import Optimizer, Params


@dataclass(frozen=True)
class Net:
    """A model, its loss and its optimiser; all methods are pure and written for one replicate.

    Args:
        module: The model.
        optimizer: The optimiser of the benchmark.
        units: True for the output units of each task; None if the task is not given at test.
        buffers: The model's buffers, such as running statistics.
        losses: The loss of each row.
        body: The model without its head, if it has one.
        shape: The shape of one example.
        outputs: The number of output units.
        tasks: The number of tasks of the whole stream.
        key: The key of the random numbers of this step.
        axes: The names of the draws so far, empty when a hook is called; None: repeated names are
            not detected.
    """

    module: nn.Module
    optimizer: Optimizer
    units: Bool[Tensor, "task unit"] | None = None
    buffers: Params | None = None
    losses: Losses = cross_entropies
    body: nn.Module | None = None
    shape: tuple[int, ...] = ()
    outputs: int = 0
    tasks: int = 1
    key: Int64[Tensor, ""] | None = None
    axes: set[str] | None = None

    def uniform(self, *shape: int, name: str = "") -> Float[Tensor, "*_"]:
        """Draw uniform numbers in [0, 1), new ones for every step and every end of a task.

        Draws of different names are independent, so a second draw needs a name. A name gives the
        same numbers again, so it may be used once. Numbers that are used twice, as in a loss whose
        gradient is taken twice, are drawn outside of the loss.

        Args:
            *shape: The shape of the numbers.
            name: The name of the draw.

        Raises:
            UserError: The name was used before, or the caller has no random numbers.
        """
        if self.key is None:
            raise UserError(
                "Random numbers exist only in init, step, rank_exemplars and end_task, on streams. "
                "Draw them there."
            )
        if self.axes is not None and name in self.axes:
            raise UserError(
                f"Each draw of a step has a name of its own; {name!r} is drawn twice, which would "
                "give the same numbers. Draw once and use the numbers twice, or name the draws: "
                "net.uniform(3, name='noise')."
            )
        if self.axes is not None:
            self.axes.add(name)
        return randomness.uniform(randomness.named(self.key, name), *shape)

    def features(
        self,
        params: Params,
        x: Float[Tensor, "row *shape"],
    ) -> Float[Tensor, "row feature"]:
        """The input of the model's head.

        Raises:
            UserError: The model has no module named head.
        """
        if self.body is None:
            raise UserError(
                f"The model has no module named {HEAD} that gives its outputs. "
                "Choose another model."
            )
        tensors = (without_head(params), without_head(self._own_buffers()))
        features: Tensor = functional_call(self.body, tensors, (x,))
        return features

    def logits(
        self,
        params: Params,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None = None,
    ) -> Float[Tensor, "row unit"]:
        """The model's outputs.

        Args:
            params: The parameters.
            x: The examples.
            task: The task of each. If the scenario gives the task, the outputs of other tasks'
                units are minus infinity.
        """
        tensors = (params, self._own_buffers())
        logits: Tensor = functional_call(self.module, tensors, (x,))
        return self.mask_tasks(logits, task)

    def _own_buffers(self) -> Params:
        """A copy of the buffers, which a module may write to."""
        buffers = self.buffers or {}
        return {name: value.clone() for name, value in buffers.items()}

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
        gradient: Params = grad(lambda chosen: self.loss(params | chosen, batch))(chosen)
        return _detached(gradient) if constant else gradient

    def grad_of_loss(
        self,
        loss: Callable[[Params], Tensor],
        params: Params,
    ) -> Params:
        """The gradient of a loss of the strategy's own with respect to the parameters."""
        gradient, _ = self.grad_and_aux(lambda params: (loss(params), ()), params)
        return gradient

    def grad_and_aux(
        self,
        loss: Callable[[Params], tuple[Tensor, Any]],
        params: Params,
    ) -> tuple[Params, Any]:
        """The gradient of a loss of the strategy's own, and other tensors that the loss computes.

        Args:
            loss: Returns the loss and the other tensors, given the parameters.
            params: The parameters.

        Returns:
            The gradient, and the second value of `loss`.
        """
        with_tensors: tuple[Params, Any] = grad(loss, has_aux=True)(params)
        return with_tensors

    def grad_each(self, params: Params, batches: Batch) -> Params:
        """The gradient of `loss` on each of several batches, which are stacked."""

        def batch_grad(
            x: Tensor,
            y: Tensor,
            task: Tensor,
            weight: Tensor,
        ) -> Params:
            return self.grad(params, Batch(x, y, task, weight))

        gradients: Params = vmap(batch_grad)(*batches)
        return gradients

    def model_params(self, meta_params: Params) -> Params:
        """The model's parameters among the meta-parameters."""
        parameters = self.module.named_parameters()
        return {name: meta_params[name] for name, _ in parameters if name in meta_params}

    def update(
        self,
        state: State,
        gradient: Params,
        lr: float,
    ) -> State:
        """Take one step of the benchmark's optimiser against the gradient."""
        params, slots = self.optimizer.update(state.params, gradient, state.slots, lr)
        return state.replace(params=params, slots=slots)

    def in_eval_mode(self) -> "Net":
        """The net in evaluation mode, in which batch normalisation uses its running statistics."""
        body = None if self.body is None else copy.deepcopy(self.body).eval()
        return replace(self, module=copy.deepcopy(self.module).eval(), body=body)

    def refreshed_buffers(
        self,
        params: Params,
        x: Float[Tensor, "row *shape"],
    ) -> Params:
        """The buffers after a training-mode pass over `x`, such as running statistics."""
        buffers = self._own_buffers()
        # The module writes to these, and its outputs are not needed.
        functional_call(self.module, (params, buffers), (x,))
        return buffers


def _detached(gradient: Params) -> Params:
    return {name: value.detach() for name, value in gradient.items()}
