"""The experiences of a stream: when each task is first seen, and when it counts as learned."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from retrograde.records.schema import Positive, Whole


@dataclass(frozen=True)
class Experiences:
    """The experiences of a stream, and where they have each task.

    Attributes:
        count: number of experiences.
        first: for each task, the first experience with training examples of it, counted from 0.
        learned: for each task, the experience after which it counts as learned.

    Example:
        Three experiences; the first task comes back in the last one.

        >>> rg.Experiences(3, first=[0, 1], learned=[2, 1]).complete_tasks
        False
    """

    count: Positive
    first: list[Whole]
    learned: list[Whole]

    @classmethod
    def one_per_task(cls, tasks: int) -> "Experiences":
        """The experiences of a stream in which each trains one task."""
        return cls(tasks, [*range(tasks)], [*range(tasks)])

    @property
    def complete_tasks(self) -> bool:
        """True if each experience completes one task, in order."""
        return self.learned == [*range(self.count)]

    def seen(self, experience: int) -> int:
        """The number of tasks that have come up to an experience, without a gap from the first."""
        latest = accumulate(self.first, max)
        return sum(first <= experience for first in latest)

    def inconsistency(self, tasks: int) -> str:
        """Description of the first inconsistency; empty if there is none.

        Args:
            tasks: number of tasks of the stream.
        """
        return next(self._inconsistencies(tasks), "")

    def _inconsistencies(self, tasks: int) -> Iterator[str]:
        """The inconsistencies, in the order below; later ones rely on earlier ones."""
        if not len(self.first) == len(self.learned) == tasks:
            yield f"experiences: the numbers of tasks do not fit the stream's, {tasks}"
            return
        if self.first and 0 not in self.first:
            yield f"experiences.first={self.first}: no task comes in the first experience"
        pairs = zip(self.first, self.learned, strict=True)
        if not all(first <= learned < self.count for first, learned in pairs):
            yield (
                f"experiences.learned={self.learned}: a task is learned before it is first seen, "
                f"or after the last of {self.count} experiences"
            )
