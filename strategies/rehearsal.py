"""Naive rehearsal: incoming examples and stored ones in equal parts, in every epoch."""

from dataclasses import dataclass
from typing import ClassVar

from retrograde import (
    ClassBalanced,
    Count,
    Memory,
    Net,
    Rate,
    Schedule,
    State,
    StepData,
    Strategy,
    TaskWeighting,
)


@dataclass(frozen=True)
class Rehearsal(Strategy):
    """Naive rehearsal (Hsu et al. 2018, arXiv 1810.12488).

    An epoch shuffles the incoming examples together with the memory, which is repeated as often as
    it fits into their number. Examples are stored when an experience ends: a random sample of each
    class, in shares as even as can be; the authors' shares are of tasks.
    """

    # Incoming and stored examples are one training set.
    task_weighting: ClassVar[TaskWeighting | None] = "not needed"

    lr: Rate = 0.1
    buffer_size: Count = 200  # examples kept

    def schedule(self) -> Schedule:
        return Schedule("incoming and memory", repeat_memory=True)

    def memory(self) -> Memory:
        # Nothing is drawn at a step: the schedule mixes the memory in.
        return ClassBalanced(self.buffer_size, 0, at_end=True)

    def step(self, net: Net, state: State, data: StepData) -> State:
        return net.update(state, net.grad(state.params, data.incoming), self.lr)
