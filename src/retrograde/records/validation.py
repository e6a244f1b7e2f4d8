"""Correct answers on validation examples, which settings may be chosen by."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from retrograde.records.schema import Positive, Whole


@dataclass(frozen=True)
class Validation:
    """Correct answers on the examples that are held out of every task's training examples.

    Attributes:
        examples: number of validation examples of each task.
        correct: number of correct answers on each task; row 0 is before training, row i after the
            i-th experience.
        correct_given_task: the same with the task given at test; empty unless class-incremental.
    """

    examples: list[Positive]
    correct: list[list[Whole]]
    correct_given_task: list[list[Whole]]

    @property
    def R(self) -> Float[np.ndarray, "rows tasks"]:  # noqa: N802 - the field's name for it
        """R[i, j]: accuracy on the validation examples of task j after i experiences."""
        return np.asarray(np.array(self.correct) / np.array(self.examples))

    def inconsistency(self, tasks: int) -> str:
        """Description of the first inconsistency; empty if there is none.

        Args:
            tasks: number of tasks of the stream.
        """
        tables = [self.correct, *([self.correct_given_task] if self.correct_given_task else [])]
        rows = [row for table in tables for row in table]
        if len(self.examples) != tasks or any(len(row) != tasks for row in rows):
            return "its validation does not fit the tasks of the stream"
        counts = (pair for row in rows for pair in zip(row, self.examples, strict=True))
        if any(correct > most for correct, most in counts):
            return "a count of correct answers on validation examples is above their number"
        return ""
