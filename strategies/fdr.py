"""FDR: keep the predictions on past examples as they were at the end of their task."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from retrograde import (
    Count,
    ExperienceEnd,
    Memory,
    Net,
    NonNegative,
    Params,
    Rate,
    Reservoir,
    State,
    StepData,
    Strategy,
    TaskWeighting,
    mean,
)


@dataclass(frozen=True, kw_only=True)
class FDR(Strategy):
    """Function distance regularisation (Benjamin et al. 2019, arXiv 1805.08289).

    The penalty is the L2 distance between predicted probabilities. It has a step of its own after
    that on the incoming examples, as in Mammoth's code (which has no strength). With
    `separate_step=false` it is added to the loss.
    """

    classes_only: ClassVar[bool] = True
    task_weighting: ClassVar[TaskWeighting | None] = "applied"

    lr: Rate = 0.1
    strength: NonNegative = 1.0  # the weight of the mean distance
    buffer_size: Count = 200  # examples kept, a random sample of all finished tasks
    replay_batch: Count = 128  # examples drawn per step
    separate_step: bool = True

    def memory(self) -> Memory:
        return Reservoir(self.buffer_size, self.replay_batch, at_end=True, keep=("logits",))

    def step(self, net: Net, state: State, data: StepData) -> State:
        target = data.replayed.kept["logits"].softmax(-1)

        def distance(params: Params) -> Tensor:
            probabilities = net.logits(params, data.replayed.x).softmax(-1)
            distances = torch.linalg.vector_norm(probabilities - target, dim=-1)
            return data.replay_weight * self.strength * mean(distances, data.replayed.weight)

        def loss(params: Params) -> Tensor:
            return data.incoming_weight * net.loss(params, data.incoming)

        def total(params: Params) -> Tensor:
            return loss(params) + distance(params)

        if not self.separate_step:
            gradient = net.grad_of_loss(total, state.params)
            return net.update(state, gradient, self.lr)
        state = net.update(state, net.grad_of_loss(loss, state.params), self.lr)
        after = net.update(state, net.grad_of_loss(distance, state.params), self.lr)
        # There is no second step before there is an example to replay.
        any_past = data.replayed.weight.sum() > 0
        chosen: State = pytree.tree_map(
            lambda new, old: torch.where(any_past, new, old), after, state
        )
        return chosen

    def end_experience(self, net: Net, state: State, end: ExperienceEnd) -> State:
        return state.keep(logits=net.in_eval_mode().logits(state.params, end.examples.x))
