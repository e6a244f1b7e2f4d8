"""Experience replay."""

from dataclasses import dataclass
from typing import ClassVar

from retrograde import (
    POLICIES,
    Count,
    Memory,
    Net,
    Policy,
    Rate,
    State,
    StepData,
    Strategy,
    TaskWeighting,
)


@dataclass(frozen=True)
class ER(Strategy):
    """Experience replay: each step also trains on examples from memory.

    Chaudhry et al. 2019, arXiv 1902.10486.
    """

    task_weighting: ClassVar[TaskWeighting | None] = "applied"

    lr: Rate = 0.1
    buffer_size: Count = 200  # examples kept
    replay_batch: Count = 10  # examples replayed per step
    policy: Policy = "reservoir"

    def memory(self) -> Memory:
        return POLICIES[self.policy](self.buffer_size, self.replay_batch)

    def step(self, net: Net, state: State, data: StepData) -> State:
        return net.update(state, net.grad(state.params, data.combined), self.lr)
