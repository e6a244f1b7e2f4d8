"""How the accuracy on each task went while a learner was on its way along a stream."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from retrograde.records.schema import Positive, Whole


@dataclass(frozen=True)
class Course:
    """Right answers at tests along a stream: before it, every so many steps, and at each task's end; by column, to be compact.

    They are on the same test examples of a task every time: `Benchmark.test_examples` of them.
    """

    tests: list[Positive]  # test examples of each task
    task: list[
        Whole
    ]  # of each test: the task in training, from 0; the last test of a task is at its end
    step: list[Whole]  # of each test: steps so far, of the whole stream
    correct: list[
        list[Whole]
    ]  # of each test: right answers in each task so far and, at a task's end, in the next one

    @property
    def accuracy(self) -> Float[np.ndarray, "test task"]:
        """The accuracy on each task; NaN where it was not asked for."""
        rates = np.full((len(self.correct), len(self.tests)), np.nan)
        for row, right in zip(rates, self.correct, strict=True):
            row[: len(right)] = np.divide(right, self.tests[: len(right)])
        return rates

    @property
    def ends(self) -> Int64[np.ndarray, " task"]:
        """At which test each task ends; the first one is before them all."""
        return np.searchsorted(self.task, range(len(self.tests)), side="right") - 1

    def fault(self, tests: list[int]) -> str:
        """What does not fit together, or to a stream with so many test examples of each task; or nothing."""
        tasks = len(tests)
        if len(self.tests) != tasks or any(
            not 0 < some <= every for some, every in zip(self.tests, tests, strict=True)
        ):
            return "the test examples along the stream are not among those of its tasks"
        if not len(self.task) == len(self.step) == len(self.correct) > tasks or set(
            self.task
        ) != set(range(tasks)):
            return "the tests along the stream do not fit its tasks"
        if self.task != sorted(self.task) or self.step != sorted(self.step) or self.step[0]:
            return "the tests along the stream are not in order"
        if any(
            not task < len(right) <= min(task + 2, tasks)
            for task, right in zip(self.task, self.correct, strict=True)
        ):
            return "a test along the stream does not fit the number of tasks"
        if any(
            not 0 <= n <= of
            for right in self.correct
            for n, of in zip(right, self.tests, strict=False)
        ):
            return (
                "a count of right answers along the stream is below 0 or above the number of tests"
            )
        return ""
