"""Counts of right predictions, or sums of errors, on the test examples of a stream."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from retrograde.records.validation import Validation
from retrograde.streams.rows import Rows
from retrograde.streams.stream import Stream
from retrograde.training.backend import Backend
from retrograde.training.class_counter import ClassCounter
from retrograde.training.evaluation import (
    Errors,
    Predictions,
    correct_per_task,
    error_per_task,
)


class Evaluations:
    """Correct predictions on all tasks, a row for each evaluation.

    The rows of a replicate end where it diverges.
    """

    carries = ("correct", "correct_given_task", "finite", "counted")

    def __init__(
        self,
        backend: Backend,
        rows: Int64[Rows, "chunk replicate row"],
        stream: Stream,
        counters: Sequence[ClassCounter] = (),
    ) -> None:
        replicates = rows.shape[1]
        self.counters = [*counters]
        self.rows = rows
        self.by_class = backend.benchmark.scenario == "class"
        self.tasks = len(stream.tasks)
        self.experiences = len(stream.experiences)
        self.correct: list[list[list[int]]] = [[] for _ in range(replicates)]
        self.correct_given_task: list[list[list[int]]] = [[] for _ in range(replicates)]
        self.finite = np.ones(replicates, dtype=bool)

    def add(self, found: Predictions) -> None:
        """Count the correct predictions of one evaluation."""
        self.finite &= found.finite
        for i in np.flatnonzero(self.finite).tolist():
            rows = self.rows[:, i]
            correct = correct_per_task(found.correct[i], rows, self.tasks)
            self.correct[i].append(correct)
            # In the other scenarios the task changes nothing, or is given anyway.
            if self.by_class:
                given_task = correct_per_task(found.correct_given_task[i], rows, self.tasks)
                self.correct_given_task[i].append(given_task)
            if self.counters:
                self.counters[i].add(found.correct[i], found.predicted[i])

    @property
    def counted(self) -> list[tuple[list[list[int]], list[list[int]]]]:
        """The counts by class of each replicate."""
        return [(counter.correct, counter.predicted) for counter in self.counters]

    @counted.setter
    def counted(self, counts: list[tuple[list[list[int]], list[list[int]]]]) -> None:
        for counter, (correct, predicted) in zip(self.counters, counts, strict=True):
            counter.correct = correct
            counter.predicted = predicted

    def validation(self, replicate: int) -> Validation:
        """The counts of one replicate, of validation examples."""
        rows = self.rows[:, replicate].reshape(-1)
        examples: list[int] = np.bincount(rows.task[rows.real], minlength=self.tasks).tolist()
        return Validation(examples, self.correct[replicate], self.correct_given_task[replicate])

    def fields(self, replicate: int) -> dict[str, Any]:
        """The fields of the outcome of one replicate."""
        return {
            "correct": self.correct[replicate],
            "correct_given_task": self.correct_given_task[replicate],
            "classes": self.counters[replicate].counts(),
        }

    def divergence(self, replicate: int) -> str:
        """The moment at which a replicate diverged; empty if it did not."""
        return _divergence(self.correct[replicate], self.experiences)


class RegressionErrors:
    """Squared errors on all tasks, a row for each evaluation; see `Evaluations`."""

    carries = ("squared", "finite")

    def __init__(self, backend: Backend, stream: Stream) -> None:
        self.rows = backend.test_rows
        self.tasks = len(stream.tasks)
        self.experiences = len(stream.experiences)
        replicates = self.rows.shape[1]
        self.squared: list[list[list[float]]] = [[] for _ in range(replicates)]
        self.finite = np.ones(replicates, dtype=bool)

    def add(self, found: Errors) -> None:
        """Add up the errors of one evaluation."""
        self.finite &= found.finite
        for i in np.flatnonzero(self.finite).tolist():
            by_task = error_per_task(found.squared[i], self.rows[:, i], self.tasks)
            self.squared[i].append(by_task)

    def fields(self, replicate: int) -> dict[str, Any]:
        """See `Evaluations.fields`."""
        return {"squared_errors": self.squared[replicate]}

    def divergence(self, replicate: int) -> str:
        """See `Evaluations.divergence`."""
        return _divergence(self.squared[replicate], self.experiences)


def _divergence(
    rows: Sequence[object],
    experiences: int,
) -> str:
    """The moment at which the rows of evaluations end; empty if they do not."""
    if len(rows) > experiences:
        return ""
    when = f"in experience {len(rows)}" if rows else "before training"
    return f"A parameter or a score became non-finite {when}."
