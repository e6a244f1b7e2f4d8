"""Experience replay."""

from dataclasses import dataclass
from typing import ClassVar

from retrograde.interface.net import Net
from retrograde.interface.state import State
from retrograde.interface.strategy import Arrival, Strategy, Weighing
from retrograde.parts.fields import Count, Rate
from retrograde.streams.memory import POLICIES, Memory, Policy


@dataclass(frozen=True)
class ER(Strategy):
    """Experience replay: every step also trains on examples drawn from memory (Chaudhry et al. 2019, arXiv 1902.10486)."""

    weighing: ClassVar[Weighing | None] = "heeds"

    lr: Rate = 0.1
    memory: Count = 200  # examples kept
    draw: Count = 10  # examples replayed per step
    policy: Policy = "reservoir"

    def remember(self) -> Memory:
        return POLICIES[self.policy](self.memory, self.draw)

    def step(self, net: Net, state: State, arrival: Arrival) -> State:
        return net.descend(state, net.grad(state.params, arrival.with_memory), self.lr)
