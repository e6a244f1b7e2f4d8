"""PackNet: prune the weights of each task, keep the others fixed, and reuse the pruned ones."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.func import vmap

from retrograde import (
    Batch,
    Count,
    ExperienceEnd,
    Fraction,
    FutureFact,
    Limit,
    Net,
    Params,
    Rate,
    Scenario,
    State,
    StepData,
    Strategy,
    UserError,
    head_layer,
    of_head,
    sgd,
    shuffled_rows,
)

FREE = 1e6
"""The owner of a weight that no task has kept: above the number of any task."""


@dataclass(frozen=True)
class PackNet(Strategy):
    """Packing tasks into one network by pruning (Mallya and Lazebnik 2018, arXiv 1711.05769).

    A task trains the weights that no earlier task has kept. When it ends, the smallest of them are
    pruned in each layer: they become 0, and are free for later tasks. The others are trained for
    some more epochs on the task's examples, by plain SGD, and then stay as they are. A task is
    predicted with the weights that it and earlier tasks have kept.

    Retraining comes after the benchmark's epochs, and the counts of examples are without it. Biases
    and other parameters are trained in the first task alone, as by default in the authors' code.
    The head is not pruned, since each task has output units of its own. The authors do not prune
    the last task; here all are pruned alike, so that the length of the stream is not used.
    """

    scenarios: ClassVar[tuple[Scenario, ...]] = ("task",)

    lr: Rate = 0.1
    pruned_share: Fraction = 0.5  # of the weights that a task has trained in a layer
    retrain_epochs: Limit = 1  # passes over the task's examples after its pruning
    retrain_lr: Rate = 0.01
    retrain_batch: Count = 10

    def knows_ahead(self) -> tuple[FutureFact, ...]:
        return ()  # later tasks have no part in the loss, nor in what is pruned

    def init(self, net: Net, params: Params) -> Params:
        weights = {name: value for name, value in params.items() if _is_pruned(name, value)}
        if not weights:
            raise UserError(
                "PackNet prunes the weights before the head; the model has none. "
                "Choose one such as mlp-100-100."
            )
        if net.buffers:
            raise UserError(
                "PackNet keeps each task's network as it was; the model has running statistics "
                f"({next(iter(net.buffers))}), which every task changes. Choose a model without "
                "batch normalisation, such as mlp-100-100."
            )
        head_layer(params)
        return {name: torch.full_like(value, FREE) for name, value in weights.items()}

    def step(self, net: Net, state: State, data: StepData) -> State:
        after = net.update(state, net.grad(state.params, data.incoming), self.lr)
        is_trained = _is_trained(net, state, FREE)
        return after.replace(params=_chosen(is_trained, after.params, state.params))

    def end_experience(self, net: Net, state: State, end: ExperienceEnd) -> State:
        params = dict(state.params)
        owners = {}
        for name, owner in state.extra.items():
            owners[name] = kept(params[name], owner, net.experience, self.pruned_share)
            params[name] = torch.where(owners[name] == FREE, 0.0, params[name])
        pruned = State(params, net.optimizer.init(params), owners, state.buffers)
        return pruned.replace(params=self._retrained(net, pruned, end.examples))

    def _retrained(self, net: Net, state: State, examples: Batch) -> Params:
        """The parameters after more epochs on what the task keeps."""
        params = state.params
        is_trained = _is_trained(net, state, net.experience)
        for epoch in range(self.retrain_epochs):
            random = net.uniform(len(examples.x), name=f"epoch {epoch}")
            # The gradient of a batch of padding is 0.
            for rows in shuffled_rows(random, examples.weight).split(self.retrain_batch):
                after = sgd(params, net.grad(params, examples.at(rows)), self.retrain_lr)
                params = _chosen(is_trained, after, params)
        return params

    def predict(
        self,
        net: Net,
        state: State,
        x: Float[Tensor, "row *shape"],
        task: Int64[Tensor, " row"] | None,
    ) -> Float[Tensor, "row unit"]:
        tasks = torch.arange(net.tasks, device=x.device)

        def logits(number: Int64[Tensor, ""]) -> Float[Tensor, "row unit"]:
            # Free weights belong to the present task, until it ends, and to those to come.
            latest = torch.where(number < net.experience, number, FREE)
            used = {name: owner <= latest for name, owner in state.extra.items()}
            masked = {name: state.params[name] * mask for name, mask in used.items()}
            return net.logits(state.params | masked, x, task)

        # The networks of all tasks predict all rows, since the rows may be of different tasks.
        outputs = vmap(logits)(tasks)
        return outputs[task, torch.arange(len(x), device=x.device)]


def kept(
    weight: Float[Tensor, "*shape"],
    owner: Float[Tensor, "*shape"],
    task: Int64[Tensor, ""],
    pruned_share: float,
) -> Float[Tensor, "*shape"]:
    """The owners of a layer's weights after a task has kept the largest of the free ones.

    Args:
        weight: The weights.
        owner: The number of the task that has kept each weight, or `FREE`.
        task: The number of the task.
        pruned_share: The share of the free weights that stay free, rounded to a whole number.
    """
    is_free = owner == FREE
    sizes = torch.where(is_free, weight.abs(), torch.inf)
    rank = sizes.flatten().argsort().argsort().reshape(owner.shape)
    count = (pruned_share * is_free.sum()).round()
    return torch.where(is_free & (rank >= count), task.to(owner.dtype), owner)


def _is_pruned(name: str, value: Tensor) -> bool:
    """True for the weights of all layers but the head."""
    return value.ndim > 1 and not of_head(name)


def _is_trained(net: Net, state: State, owner: Tensor | float) -> Params:
    """True for the weights of this owner, and for the other parameters that the task trains."""
    is_first = net.experience == 0
    units = net.units[net.experience]
    is_trained = {}
    for name, value in state.params.items():
        # Other tasks' outputs have no gradient, but momentum or weight decay would move them.
        rows = units.reshape(-1, *[1] * (value.ndim - 1)) if of_head(name) else is_first
        is_trained[name] = rows.expand_as(value)
    return is_trained | {name: value == owner for name, value in state.extra.items()}


def _chosen(mask: Params, one: Params, other: Params) -> Params:
    """The values of one where the mask is true, else those of the other."""
    return {name: torch.where(mask[name], one[name], other[name]) for name in mask}
