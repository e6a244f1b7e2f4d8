"""Experience replay."""

from dataclasses import dataclass
from typing import ClassVar

from retrograde import (
    POLICIES,
    Arrival,
    Count,
    Memory,
    Net,
    Policy,
    Rate,
    State,
    Strategy,
    Weighing,
)


@dataclass(frozen=True)
class ER(Strategy):
    """Experience replay: each step also trains on examples from memory.

    Chaudhry et al. 2019, arXiv 1902.10486.
    """

    weighing: ClassVar[Weighing | None] = "heeds"

    lr: Rate = 0.1
    memory: Count = 200  # examples kept
    draw: Count = 10  # examples replayed per step
    policy: Policy = "reservoir"

    def remember(self) -> Memory:
        return POLICIES[self.policy](self.memory, self.draw)

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        return net.descend(state, net.grad(state.params, arrival.with_memory), self.lr)
