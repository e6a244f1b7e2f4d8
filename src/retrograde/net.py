"""The model, its loss and the optimiser as pure functions of tensors."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from retrograde.authors import hook, located
from retrograde.errors import UserError
from retrograde.optim import Optimizer, Params, Slots
from retrograde.seeds import named, uniform


class Batch(NamedTuple):
    """Examples with their output units (or, in regression, values) and tasks; `weight` is 0 where a row is padding."""

    x: Float[Tensor, "row *shape"]
    y: Int64[Tensor, " row"] | Float[Tensor, "row value"]
    task: Int64[Tensor, " row"]
    weight: Float[Tensor, " row"]

    def at(self, rows: slice | Int64[Tensor, " _"]) -> "Batch":
        """Some of its rows."""
        return Batch(*(part[rows] for part in self))

    def beside(self, other: "Batch") -> "Batch":
        """Its rows, then those of another."""
        return Batch(*(torch.cat(parts) for parts in zip(self, other, strict=True)))


class State(NamedTuple):
    """What changes while a strategy learns: parameters, the optimiser's slots, and what the strategy adds."""

    params: Params
    slots: Slots
    extra: Params

    def replace(self, **changes: Params | Slots) -> "State":
        """The state with some parts replaced."""
        return self._replace(**changes)  # type: ignore[arg-type]


Losses = Callable[[Tensor, Tensor], Tensor]
"""The model's outputs and what they should be -> the loss of each row."""


def cross_entropies(logits: Float[Tensor, "row unit"], y: Int64[Tensor, " row"]) -> Float[Tensor, " row"]:
    """The cross-entropy of each row, in nats."""
    return cross_entropy(logits, y, reduction="none")


def squared_errors(outputs: Float[Tensor, "row value"], y: Float[Tensor, "row value"]) -> Float[Tensor, " row"]:
    """The squared error of each row, averaged over its values."""
    return ((outputs - y) ** 2).mean(-1)


def mean(values: Float[Tensor, " row"], weight: Float[Tensor, " row"]) -> Float[Tensor, ""]:
    """The mean over the rows that are not padding; 0 where all are."""
    return (values * weight).sum() / weight.sum().clamp(min=1)


@dataclass(frozen=True)
class Net:
    """A model seen from outside: all of its methods are pure, for one replicate."""

    module: nn.Module
    optimizer: Optimizer
    units: Bool[Tensor, "task unit"] | None = None  # the output units of each task, where the task is told
    buffers: Params | None = None
    losses: Losses = cross_entropies
    body: nn.Module | None = None  # the module without its head, where it has one
    shape: tuple[int, ...] = ()  # of one example
    outputs: int = 0
    tasks: int = 1  # of the whole stream
    key: Int64[Tensor, ""] | None = None
    drawn: set[str] | None = None  # names of the draws so far, none as the engine calls a hook; None: nobody keeps count

    def chance(self, *shape: int, name: str = "") -> Float[Tensor, "*_"]:
        """Draw numbers in [0, 1), anew for every step and every end of a task.

        Draws of other names are independent, so a second draw needs a name; a name serves once, since it would give the same
        numbers again. What is to be used twice, as in a loss of which the gradient is taken twice, is drawn outside.
        """
        if self.key is None:
            raise UserError("There is nothing to draw by chance here: on streams alone, in init, step, choose and end_task.")
        if self.drawn is not None and name in self.drawn:
            raise UserError(
                f"Each draw of a step has a name of its own; {name!r} is drawn twice, which would give the same numbers. "
                "Draw once and use the numbers twice, or name the draws: net.chance(3, name='noise')."
            )
        if self.drawn is not None:
            self.drawn.add(name)
        return uniform(named(self.key, name), *shape)

    def features(self, params: Params, x: Float[Tensor, "row *shape"]) -> Float[Tensor, "row feature"]:
        """What the model's head is given; only for a model of which `body` is known."""
        if self.body is None:
            raise UserError(f"The model has no module named {HEAD}, which gives its outputs. Choose another model.")
        features: Tensor = functional_call(self.body, (without_head(params), without_head(self._own_buffers())), (x,))
        return features

    def logits(
        self, params: Params, x: Float[Tensor, "row *shape"], task: Int64[Tensor, " row"] | None = None
    ) -> Float[Tensor, "row unit"]:
        """The model's outputs; where the scenario tells the task, minus infinity for other tasks' units."""
        logits: Tensor = functional_call(self.module, (params, self._own_buffers()), (x,))
        return self.of_tasks(logits, task)

    def _own_buffers(self) -> Params:
        """A copy of the buffers, which a module may write to."""
        return {name: value.clone() for name, value in (self.buffers or {}).items()}

    def of_tasks(self, logits: Float[Tensor, "row unit"], task: Int64[Tensor, " row"] | None) -> Float[Tensor, "row unit"]:
        """The model's outputs, where the scenario tells the task with minus infinity for other tasks' units."""
        return logits if self.units is None or task is None else logits.masked_fill(~self.units[task], -torch.inf)

    def losses_of(self, logits: Float[Tensor, "row unit"], batch: Batch) -> Float[Tensor, " row"]:
        """The loss of each row, of the model's outputs on it."""
        return self.losses(self.of_tasks(logits, batch.task), batch.y)

    def loss_of(self, logits: Float[Tensor, "row unit"], batch: Batch) -> Float[Tensor, ""]:
        """The mean of these over the rows that are not padding; 0 where all are."""
        return mean(self.losses_of(logits, batch), batch.weight)

    def loss(self, params: Params, batch: Batch) -> Float[Tensor, ""]:
        """The mean loss (cross-entropy in classification) over the rows that are not padding; 0 where all are."""
        return self.loss_of(self.logits(params, batch.x), batch)

    def grad(self, params: Params, batch: Batch, constant: bool = False) -> Params:
        """The gradient of `loss` with respect to the parameters; if `constant`, without a derivative of its own."""
        gradient: Params = grad(self.loss)(params, batch)
        return {name: value.detach() for name, value in gradient.items()} if constant else gradient

    def grad_by(self, loss: Callable[[Params], Tensor], params: Params) -> Params:
        """The gradient of a loss of the parameters that is the strategy's own."""
        gradient, _ = self.grad_with(lambda params: (loss(params), ()), params)
        return gradient

    def grad_with(self, loss: Callable[[Params], tuple[Tensor, Any]], params: Params) -> tuple[Params, Any]:
        """The same, and tensors that come up on the way: what `loss` returns as its second value."""
        found: tuple[Params, Any] = grad(loss, has_aux=True)(params)
        return found

    def grad_of(self, params: Params, batch: Batch, moving: Callable[[str], bool], constant: bool = False) -> Params:
        """The gradient of `loss` with respect to the parameters whose name is `moving`; without the others."""
        moved = {name: value for name, value in params.items() if moving(name)}
        gradient: Params = grad(lambda moved: self.loss(params | moved, batch))(moved)
        return {name: value.detach() for name, value in gradient.items()} if constant else gradient

    def grads(self, params: Params, batches: Batch) -> Params:
        """The gradient of `loss` on each of several batches, all of one size and stacked."""
        gradients: Params = vmap(lambda x, y, task, weight: self.grad(params, Batch(x, y, task, weight)))(*batches)
        return gradients

    def own(self, learned: Params) -> Params:
        """The model's parameters, of all that is meta-learned."""
        return {name: learned[name] for name, _ in self.module.named_parameters() if name in learned}

    def descend(self, state: State, gradient: Params, lr: float) -> State:
        """One step of the benchmark's optimiser against the gradient."""
        params, slots = self.optimizer.update(state.params, gradient, state.slots, lr)
        return state.replace(params=params, slots=slots)

    def evaluating(self) -> "Net":
        """The same net in evaluation mode (batch normalisation uses its running statistics)."""
        body = None if self.body is None else copy.deepcopy(self.body).eval()
        return replace(self, module=copy.deepcopy(self.module).eval(), body=body)

    def refreshed(self, params: Params, x: Float[Tensor, "row *shape"]) -> Params:
        """The buffers after a training-mode pass over `x`, such as running statistics."""
        buffers = self._own_buffers()
        functional_call(self.module, (params, buffers), (x,))
        return buffers


HEAD = "head"
"""The module that gives a model's outputs, for methods that treat it apart."""


def of_head(name: str) -> bool:
    """Whether a parameter belongs to the head."""
    return name.startswith(f"{HEAD}.")


def without_head(params: Params) -> Params:
    """All but what belongs to the head."""
    return {name: value for name, value in params.items() if not of_head(name)}


def headless(module: nn.Module) -> nn.Module | None:
    """The module with its head left out, so that it gives the features; nothing, where it has none."""
    if not isinstance(getattr(module, HEAD, None), nn.Module):
        return None
    twin = copy.deepcopy(module)
    setattr(twin, HEAD, nn.Identity())
    return twin


def check_module(module: nn.Module, x: Float[Tensor, "row *shape"], outputs: int) -> bool:
    """Whether training changes the module's buffers; raises `UserError` for a module that cannot be used.

    Where rows see each other (batch normalisation), they see padding too, which repeats real rows of the same step.
    """
    twin = copy.deepcopy(module).train()
    before = {name: value.clone() for name, value in twin.named_buffers()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            first, second = twin(x), twin(x)
        except Exception as error:
            raise UserError(f"The model cannot take examples of shape {tuple(x.shape[1:])}: {located(error)}.") from error
    if not isinstance(first, Tensor):
        raise UserError(
            f"The model gives a tensor, a row of {outputs} outputs for each example; {hook(module, 'forward')} gave a "
            f"{type(first).__name__}. Return the outputs alone."
        )
    if tuple(first.shape) != (len(x), outputs):
        raise UserError(
            f"The model must give {outputs} outputs for each example; it gave shape {tuple(first.shape)}, "
            f"wanted {(len(x), outputs)}."
        )
    if not torch.equal(first, second):
        raise UserError(
            "The model gives other outputs when it is called again while training: it draws random numbers (dropout?), which "
            "replicates cannot share, or keeps something between two calls. Remove that."
        )
    return any(not torch.equal(before[name], value) for name, value in twin.named_buffers())


ROUNDING = 1e-3, 1e-5
"""By how much scores may differ and count as equal: of the largest of their unit, and at least."""


def agree(one: Float[Tensor, "row unit"], other: Float[Tensor, "row unit"]) -> bool:
    """True if scores are equal but for rounding."""
    relative, least = ROUNDING
    largest = torch.where(one.isfinite(), one, 0.0).abs().amax(0)
    # without `==`, infinite scores of masked units would differ by NaN
    same = (one == other) | ((one - other).abs() <= relative * largest + least) | (one.isnan() & other.isnan())
    return bool(same.all())


def check_rows_apart(module: nn.Module, x: Float[Tensor, "row *shape"], model: str) -> None:
    """Raise `UserError` where, in evaluation mode, the outputs for one row depend on the rows beside it.

    The parameters are moved a little first: a layer whose weights start at 0 would hide it.
    """
    twin = copy.deepcopy(module)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for value in twin.parameters():
            value.add_(torch.randn_like(value), alpha=0.01)
        try:
            outputs = twin.train()(x)
        except Exception as error:
            raise UserError(f"The model cannot take examples of shape {tuple(x.shape[1:])}: {located(error)}.") from error
        twin.eval()
        if not isinstance(outputs, Tensor):  # a learner of the user's own may know what to do with it; its scores are checked
            return
        if agree(twin(x), _one_by_one(twin, x)):
            return
    raise UserError(
        f"On a stream, what a model predicts for one example may not depend on the others of its batch; model={model} "
        "normalises test examples by each other. Build its normalisation with track_running_stats=True, or per example "
        "(layer or group normalisation)."
    )


def _one_by_one(module: nn.Module, x: Float[Tensor, "row *shape"]) -> Float[Tensor, "row unit"]:
    """The outputs for each row alone; NaN where one row cannot be taken."""
    try:
        return torch.cat([module(row[None]) for row in x])
    except ValueError:  # of batch normalisation, for want of statistics
        return torch.full_like(module(x), torch.nan)


def untracked(module: nn.Module) -> nn.Module:
    """A copy whose batch normalisation uses its running statistics in evaluation mode, and never writes to them.

    A strategy may call it as often as it likes, within any `vmap`, where writing to what is shared is an error.
    """
    twin = copy.deepcopy(module)
    for layer in twin.modules():
        if isinstance(layer, _BatchNorm):
            layer.track_running_stats = False
    return twin
