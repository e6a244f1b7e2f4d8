"""GEM: steps that go against no earlier task's gradient."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from retrograde import (
    Arrival,
    Batch,
    Count,
    Memory,
    Net,
    NonNegative,
    Params,
    Rate,
    State,
    Strategy,
    TaskRing,
    Weighing,
)

from ._quadratic import smallest


@dataclass(frozen=True)
class GEM(Strategy):
    """Gradient episodic memory (Lopez-Paz and Ranzato 2017, arXiv 1706.08840, algorithm 1).

    Each step computes the gradient of every earlier task on all of its memory; where the arrivals' goes against one of them,
    the step follows the nearest gradient that goes against none (equation 11). `margin` and `ridge` are the authors'. Tasks
    share the memory equally, so the number of tasks of the whole stream must be known ahead.
    """

    weighing: ClassVar[Weighing | None] = (
        "has nothing to weigh"  # the past turns the gradient, and is no loss
    )

    lr: Rate = 0.1
    memory: Count = 200  # examples kept, in equal shares of the tasks
    margin: NonNegative = 0.5  # at least this much of each earlier gradient is added: it leans towards the earlier tasks
    ridge: Rate = 1e-3  # on the diagonal of the gradients' inner products

    def remember(self) -> Memory:
        return TaskRing(self.memory, self.memory, late=True)

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        share = self.memory // net.tasks
        earlier = max(1, net.tasks - 1)  # the last task's share is never replayed
        blocks = Batch(
            *(
                part[: share * earlier].reshape(earlier, share, *part.shape[1:])
                for part in arrival.old
            )
        )
        gradient = self.projected(
            net.grad(state.params, arrival.new), net.grads(state.params, blocks)
        )
        return net.descend(state, gradient, self.lr)

    def trained_on(self, net: Net, state: State, arrival: Arrival) -> Batch:
        return arrival.new  # the memory only bounds the step

    def projected(self, gradient: Params, earlier: Params) -> Params:
        """The gradient as it is, or turned by so much of each earlier one as the dual says; one that vanishes adds nothing."""
        rows = {name: value.double().flatten(1) for name, value in earlier.items()}
        inner = torch.stack(
            [each @ gradient[name].double().flatten() for name, each in rows.items()]
        ).sum(0)
        gram = torch.stack([each @ each.T for each in rows.values()]).sum(0)
        ridge = self.ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        dual = torch.where((inner < 0).any(), smallest(gram + ridge, inner, self.margin), 0.0)
        return {
            name: value + torch.tensordot(dual.to(value.dtype), earlier[name], 1)
            for name, value in gradient.items()
        }
