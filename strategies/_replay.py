"""What strategies have in common that keep past examples and draw some of them at every step."""

from dataclasses import dataclass
from typing import ClassVar

from retrograde import POLICIES, Count, Memory, Policy, Strategy, Weighing


@dataclass(frozen=True, kw_only=True)
class Replay(Strategy):
    """The settings of a memory, and a promise: `step` weighs arrivals and replay as the benchmark says."""

    weighing: ClassVar[Weighing | None] = "heeds"

    memory: Count = 200  # examples kept
    draw: Count = 10  # examples drawn per step
    policy: Policy = "reservoir"

    def remember(self) -> Memory:
        return POLICIES[self.policy](self.memory, self.draw)
