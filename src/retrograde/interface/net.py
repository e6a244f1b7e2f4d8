"""The model, its loss and the optimiser as pure functions of tensors."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from retrograde.errors import UserError
from retrograde.interface.batch import Batch
from retrograde.interface.state import State
from retrograde.losses import Losses, cross_entropies, mean
from retrograde.models.head import HEAD, without_head
from retrograde.optim import Optimizer, Params
from retrograde.randomness import named, uniform


@dataclass(frozen=True)
class Net:
    """A model seen from outside: all of its methods are pure, for one replicate."""

    module: nn.Module
    optimizer: Optimizer
    units: Bool[Tensor, "task unit"] | None = (
        None  # the output units of each task, where the task is told
    )
    buffers: Params | None = None
    losses: Losses = cross_entropies
    body: nn.Module | None = None  # the module without its head, where it has one
    shape: tuple[int, ...] = ()  # of one example
    outputs: int = 0
    tasks: int = 1  # of the whole stream
    key: Int64[Tensor, ""] | None = None
    drawn: set[str] | None = (
        None  # names of the draws so far, none as the engine calls a hook; None: nobody keeps count
    )

    def chance(self, *shape: int, name: str = "") -> Float[Tensor, "*_"]:
        """Draw numbers in [0, 1), anew for every step and every end of a task.

        Draws of other names are independent, so a second draw needs a name; a name serves once, since it would give the same
        numbers again. What is to be used twice, as in a loss of which the gradient is taken twice, is drawn outside.
        """
        if self.key is None:
            raise UserError(
                "There is nothing to draw by chance here: on streams alone, in init, step, choose and end_task."
            )
        if self.drawn is not None and name in self.drawn:
            raise UserError(
                f"Each draw of a step has a name of its own; {name!r} is drawn twice, which would give the same numbers. "
                "Draw once and use the numbers twice, or name the draws: net.chance(3, name='noise')."
            )
        if self.drawn is not None:
            self.drawn.add(name)
        return uniform(named(self.key, name), *shape)

    def features(
        self, params: Params, x: Float[Tensor, "row *shape"]
    ) -> Float[Tensor, "row feature"]:
        """What the model's head is given; only for a model of which `body` is known."""
        if self.body is None:
            raise UserError(
                f"The model has no module named {HEAD}, which gives its outputs. Choose another model."
            )
        features: Tensor = functional_call(
            self.body, (without_head(params), without_head(self._own_buffers())), (x,)
        )
        return features

    def logits(
        self,
        params: Params,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None = None,
    ) -> Float[Tensor, "row unit"]:
        """The model's outputs; where the scenario tells the task, minus infinity for other tasks' units."""
        logits: Tensor = functional_call(self.module, (params, self._own_buffers()), (x,))
        return self.of_tasks(logits, task)

    def _own_buffers(self) -> Params:
        """A copy of the buffers, which a module may write to."""
        return {name: value.clone() for name, value in (self.buffers or {}).items()}

    def of_tasks(
        self, logits: Float[Tensor, "row unit"], task: Int64[Tensor, " row"] | None
    ) -> Float[Tensor, "row unit"]:
        """The model's outputs, where the scenario tells the task with minus infinity for other tasks' units."""
        return (
            logits
            if self.units is None or task is None
            else logits.masked_fill(~self.units[task], -torch.inf)
        )

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

    def grad_with(
        self, loss: Callable[[Params], tuple[Tensor, Any]], params: Params
    ) -> tuple[Params, Any]:
        """The same, and tensors that come up on the way: what `loss` returns as its second value."""
        found: tuple[Params, Any] = grad(loss, has_aux=True)(params)
        return found

    def grad_of(
        self, params: Params, batch: Batch, moving: Callable[[str], bool], constant: bool = False
    ) -> Params:
        """The gradient of `loss` with respect to the parameters whose name is `moving`; without the others."""
        moved = {name: value for name, value in params.items() if moving(name)}
        gradient: Params = grad(lambda moved: self.loss(params | moved, batch))(moved)
        return {name: value.detach() for name, value in gradient.items()} if constant else gradient

    def grads(self, params: Params, batches: Batch) -> Params:
        """The gradient of `loss` on each of several batches, all of one size and stacked."""
        gradients: Params = vmap(
            lambda x, y, task, weight: self.grad(params, Batch(x, y, task, weight))
        )(*batches)
        return gradients

    def own(self, learned: Params) -> Params:
        """The model's parameters, of all that is meta-learned."""
        return {
            name: learned[name] for name, _ in self.module.named_parameters() if name in learned
        }

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
