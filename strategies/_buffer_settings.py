"""Replay from memory at every step: the common part of its strategies."""

from dataclasses import dataclass
from typing import ClassVar

from retrograde import POLICIES, Count, Memory, Policy, Strategy, TaskWeighting


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
