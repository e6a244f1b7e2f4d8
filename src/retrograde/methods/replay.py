"""Replay from memory at every step: the settings that its strategies share."""

from dataclasses import dataclass
from typing import ClassVar

from retrograde.interface.strategy import Strategy, TaskWeighting
from retrograde.parts.fields import Count
from retrograde.streams.memory import POLICIES, Memory, Policy


@dataclass(frozen=True, kw_only=True)
class Replay(Strategy):
    """The settings of a replay memory.

    A subclass applies the benchmark's `weighting` to incoming and replayed examples.
    """

    task_weighting: ClassVar[TaskWeighting | None] = "applied"

    buffer_size: Count = 200  # examples kept
    replay_batch: Count = 10  # examples drawn per step
    policy: Policy = "reservoir"

    def memory(self) -> Memory:
        return POLICIES[self.policy](self.buffer_size, self.replay_batch)
