"""Online accuracy: the accuracy on each task at tests along a stream."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from jaxtyping import Float, Int64

from retrograde.records.schema import Positive, Whole


@dataclass(frozen=True)
class OnlineAccuracy:
    """Counts of correct answers at tests along a stream, stored by column to be compact.

    Tests take place before the stream, every so many steps, and at each task's end. A task is
    tested on the same `Benchmark.test_examples` test examples every time.

    Attributes:
        tests: number of test examples of each task.
        task: for each test, the task in training, counted from 0; a task's last test is at its end.
        step: for each test, the training steps so far, of the whole stream.
        correct: for each test, the correct answers in each task so far; at a task's end, also those
            in the next task.
    """

    test_examples: list[Positive]
    task: list[Whole]
    step: list[Whole]
    correct: list[list[Whole]]

    @property
    def accuracy(self) -> Float[np.ndarray, "test task"]:
        """The accuracy on each task; NaN where the task was not tested."""
        shape = (len(self.correct), len(self.test_examples))
        rates = np.full(shape, np.nan)
        for row, right in zip(rates, self.correct, strict=True):
            tested = len(right)
            row[:tested] = np.divide(right, self.test_examples[:tested])
        return rates

    @property
    def ends(self) -> Int64[np.ndarray, " task"]:
        """The index of the test at each task's end; test 0 is before the first task."""
        tasks = range(len(self.test_examples))
        return np.searchsorted(self.task, tasks, side="right") - 1

    def inconsistency(self, tests: list[int]) -> str:
        """Description of the first inconsistency; empty if there is none.

        Args:
            tests: number of test examples of each task of the stream.
        """
        return next(filter(None, self._faults(tests)), "")

    def _faults(self, tests: list[int]) -> Iterator[str]:
        """The inconsistencies, in the order of the tests below; later ones rely on earlier ones."""
        tasks = len(tests)
        if len(self.test_examples) != tasks or not _among(self.test_examples, tests):
            yield "the test examples along the stream are not among those of its tasks"
        same_length = len(self.task) == len(self.step) == len(self.correct)
        every_task = set(self.task) == set(range(tasks))
        if not same_length or len(self.correct) <= tasks or not every_task:
            yield "the tests along the stream do not fit its tasks"
        ordered = self.task == sorted(self.task) and self.step == sorted(self.step)
        if not ordered or self.step[0]:
            yield "the tests along the stream are not in order"
        # A test covers the tasks so far, and at most one more: the next one.
        if any(
            not task < len(right) <= min(task + 2, tasks)
            for task, right in zip(self.task, self.correct, strict=True)
        ):
            yield "a test along the stream does not fit the number of tasks"
        counts = chain.from_iterable(
            zip(right, self.test_examples, strict=False) for right in self.correct
        )
        if any(not 0 <= right <= most for right, most in counts):
            yield (
                "a count of right answers along the stream is below 0 or above the number of tests"
            )


def _among(some: list[int], every: list[int]) -> bool:
    """True if each task is tested on at least one of its examples, and on no more than it has."""
    return all(0 < tested <= most for tested, most in zip(some, every, strict=True))
