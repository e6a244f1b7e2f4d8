"""A-GEM: steps that do not go against the gradient on memory."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from retrograde import Batch, Count, Net, Params, Policy, Rate, State, StepData, TaskWeighting, dot

from ._replay import Replay


@dataclass(frozen=True, kw_only=True)
class AGEM(Replay):
    """Averaged gradient episodic memory (Chaudhry et al. 2019, arXiv 1812.00420, section 4).

    The reference is the mean gradient of the drawn examples of earlier tasks. The paper's memory is
    a ring, which knows the length of the stream; with `policy=reservoir`, no part of the strategy
    does.
    """

    # The reference gradient constrains the step and is no loss.
    task_weighting: ClassVar[TaskWeighting | None] = "not needed"

    lr: Rate = 0.1
    replay_batch: Count = 128  # examples drawn per step; those of earlier tasks count
    policy: Policy = "ring"

    def step(self, net: Net, state: State, data: StepData) -> State:
        old = data.replayed
        earlier = old.task < data.incoming.task.max()
        # Examples of the current task are drawn too, and count as padding here.
        past = old._replace(weight=old.weight * earlier)
        reference = net.grad(state.params, past)
        gradient = net.grad(state.params, data.incoming)
        return net.update(state, projected(gradient, reference), self.lr)

    def trained_on(self, net: Net, state: State, data: StepData) -> Batch:
        return data.incoming  # the drawn examples only constrain the step


def projected(gradient: Params, reference: Params) -> Params:
    """The nearest gradient with a non-negative inner product with the reference (equation 11)."""
    along = dot(gradient, reference)
    length = dot(reference, reference)
    # Before there are earlier tasks the reference is 0: the bound keeps the quotient finite.
    bounded = length.clamp(min=torch.finfo(length.dtype).tiny)
    share = torch.where(along < 0, along / bounded, 0.0)
    return {name: value - share * reference[name] for name, value in gradient.items()}
