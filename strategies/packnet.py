"""PackNet: prune the weights of each task, keep the others fixed, and reuse the pruned ones."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from retrograde import (
    Boundaries,
    Count,
    ExperienceEnd,
    Fraction,
    Limit,
    Net,
    Params,
    Rate,
    Scenario,
    State,
    StepData,
    Strategy,
    UserError,
    of_head,
    sgd,
    shuffled_rows,
)

FREE = 1e6  # the owner of a weight that no task has kept: above the number of any task


@dataclass(frozen=True)
class PackNet(Strategy):
    """Packing tasks into one network by pruning (Mallya and Lazebnik 2018, arXiv 1711.05769).

    A task trains the weights that no earlier task has kept. When it ends, the smallest of them are
    pruned in each layer: they become 0, and are free for later tasks. The others are trained for
    some more epochs on the task's examples, by plain SGD, and then stay as they are. A task is
    predicted with the weights that it and earlier tasks have kept.

    Retraining comes after the benchmark's epochs; the counts of examples are without it. As in the
    authors' code, biases are trained in the first task alone, and the head, with units of each
    task's own, is not pruned. There the last task is not pruned either; here all tasks are.
    """

    scenarios: ClassVar[tuple[Scenario, ...]] = ("task",)
    boundaries: ClassVar[Boundaries | None] = "tasks"
    # Later tasks have no part in the loss, nor in what is pruned.
    later_classes_in_loss: ClassVar[bool] = False

    lr: Rate = 0.1
    pruned_share: Fraction = 0.5  # of the weights that a task has trained in a layer
    retrain_epochs: Limit = 1  # passes over the task's examples after its pruning
    retrain_lr: Rate = 0.01
    retrain_batch: Count = 10

    def init(self, net: Net, params: Params) -> Params:
        head = [value for name, value in params.items() if of_head(name)]
        pruned = [name for name, value in params.items() if value.ndim > 1 and not of_head(name)]
        if net.buffers or not pruned or {len(value) for value in head} != {net.outputs}:
            raise UserError(
                "PackNet prunes the weights before a linear head; all tasks would change running "
                f"statistics. The model has {len(pruned)} such weights and {len(net.buffers)} "
                "running statistics. Choose one such as mlp-100-100."
            )
        return {name: torch.full_like(params[name], FREE) for name in pruned}

    def step(self, net: Net, state: State, data: StepData) -> State:
        after = net.update(state, net.grad(state.params, data.incoming), self.lr)
        return after.replace(params=trained(net, state, FREE, after.params, state.params))

    def end_experience(self, net: Net, state: State, end: ExperienceEnd) -> State:
        params = dict(state.params)
        owners = {}
        for name, owner in state.extra.items():
            owners[name] = kept(params[name], owner, net.experience, self.pruned_share)
            params[name] = torch.where(owners[name] == FREE, 0.0, params[name])
        pruned = state.replace(params=params, slots=net.optimizer.init(params), extra=owners)
        return pruned.replace(params=self._retrained(net, pruned, end))

    def _retrained(self, net: Net, state: State, end: ExperienceEnd) -> Params:
        """The parameters after more epochs on what the task keeps; padding has no gradient."""
        params = state.params
        for epoch in range(self.retrain_epochs):
            random = net.uniform(len(end.examples.x), name=f"epoch {epoch}")
            for rows in torch.split(shuffled_rows(random, end.examples.weight), self.retrain_batch):
                after = sgd(params, net.grad(params, end.examples.at(rows)), self.retrain_lr)
                params = trained(net, state, net.experience, after, params)
        return params

    def predict(
        self,
        net: Net,
        state: State,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None,
    ) -> Float[Tensor, "row unit"]:
        def logits(number: int) -> Float[Tensor, "row unit"]:
            # Free weights belong to the present task, until it ends, and to those to come.
            latest = torch.where(net.experience > number, number, FREE)
            owners = state.extra.items()
            used = {name: state.params[name] * (owner <= latest) for name, owner in owners}
            return net.logits(state.params | used, x, task)

        # The networks of all tasks predict all rows, since the rows may be of different tasks.
        outputs = torch.stack([logits(number) for number in range(net.tasks)])
        return outputs[task, torch.arange(len(x), device=x.device)]


def kept(weight: Tensor, owner: Tensor, task: Tensor, pruned_share: float) -> Tensor:
    """The owners of weights after a task has kept the largest of the free ones."""
    is_free = owner == FREE
    sizes = torch.where(is_free, weight.abs(), torch.inf).flatten()
    rank = sizes.argsort().argsort().reshape(owner.shape)
    count = (pruned_share * is_free.sum()).round()
    return torch.where(is_free & (rank >= count), task.to(owner.dtype), owner)


def trained(net: Net, state: State, owner: Tensor | float, after: Params, before: Params) -> Params:
    """The values after a step for weights of this owner and what else is trained, else before."""
    units = net.mask_tasks(net.experience.new_zeros(1, net.outputs).float(), net.experience[None])
    params = {}
    for name, value in after.items():
        # Other tasks' outputs have no gradient, but momentum or weight decay would move them.
        rows = units.isfinite().reshape(-1, *[1] * (value.ndim - 1))
        own = rows if of_head(name) else net.experience == 0
        is_trained = state.extra[name] == owner if name in state.extra else own
        params[name] = torch.where(is_trained, value, before[name])
    return params
