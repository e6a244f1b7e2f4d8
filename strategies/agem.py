"""A-GEM: steps that do not go against the memory's gradient."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from retrograde import Arrival, Batch, Count, Net, Params, Policy, Rate, State, Weighing, dot

from ._replay import Replay


@dataclass(frozen=True, kw_only=True)
class AGEM(Replay):
    """Averaged gradient episodic memory (Chaudhry et al. 2019, arXiv 1812.00420, section 4).

    The reference is the mean gradient of those examples drawn that are of earlier tasks. The paper's memory is a ring, which
    knows the length of the stream; with `policy=reservoir` nothing does.
    """

    weighing: ClassVar[Weighing | None] = (
        "has nothing to weigh"  # the past turns the gradient, and is no loss
    )

    lr: Rate = 0.1
    draw: Count = 128  # examples drawn per step, of which the earlier tasks' count
    policy: Policy = "ring"

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        earlier = arrival.old.task < arrival.new.task.max()
        reference = net.grad(
            state.params, arrival.old._replace(weight=arrival.old.weight * earlier)
        )
        return net.descend(
            state, projected(net.grad(state.params, arrival.new), reference), self.lr
        )

    def trained_on(self, net: Net, state: State, arrival: Arrival) -> Batch:
        return arrival.new  # what is drawn only bounds the step


def projected(gradient: Params, reference: Params) -> Params:
    """The nearest gradient whose inner product with the reference is not negative (equation 11)."""
    along, length = dot(gradient, reference), dot(reference, reference)
    share = torch.where(along < 0, along / length.clamp(min=torch.finfo(length.dtype).tiny), 0.0)
    return {name: value - share * reference[name] for name, value in gradient.items()}
