"""Online accuracy: the accuracy on each task at evaluations along a stream."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from jaxtyping import Float, Int64

from retrograde.records.experiences import Experiences
from retrograde.records.schema import Positive, Whole


@dataclass(frozen=True)
class OnlineAccuracy:
    """Counts of correct answers at evaluations along a stream, stored by column to be compact.

    Evaluations take place before the stream, every `Benchmark.eval_every` steps, and at each
    experience's end. They use the same `Benchmark.eval_examples` test examples of a task every
    time.

    Attributes:
        test_examples: number of test examples of each task.
        task: for each evaluation, the experience in training, counted from 0; an experience's last
            evaluation is at its end.
        step: for each evaluation, the training steps so far, of the whole stream.
        correct: for each evaluation, the correct answers in each task seen so far; at an
            experience's end, also those in the tasks first seen in the next one.
    """

    test_examples: list[Positive]
    task: list[Whole]
    step: list[Whole]
    correct: list[list[Whole]]

    @property
    def accuracy(self) -> Float[np.ndarray, "evaluation task"]:
        """The accuracy on each task; NaN where the task was not evaluated."""
        shape = (len(self.correct), len(self.test_examples))
        rates = np.full(shape, np.nan)
        for row, counts in zip(rates, self.correct, strict=True):
            evaluated = len(counts)
            row[:evaluated] = np.divide(counts, self.test_examples[:evaluated])
        return rates

    @property
    def ends(self) -> Int64[np.ndarray, " experience"]:
        """The index of the evaluation at each experience's end; evaluation 0 is before them."""
        experiences = range(self.task[-1] + 1)
        return np.searchsorted(self.task, experiences, side="right") - 1

    def inconsistency(self, test_examples: list[int], experiences: Experiences) -> str:
        """Description of the first inconsistency; empty if there is none.

        Args:
            test_examples: number of test examples of each task of the stream.
            experiences: the experiences of the stream.
        """
        return next(self._inconsistencies(test_examples, experiences), "")

    def _inconsistencies(self, test_examples: list[int], experiences: Experiences) -> Iterator[str]:
        """The inconsistencies, in the order below; later ones rely on earlier ones."""
        tasks = len(test_examples)
        if len(self.test_examples) != tasks or not _within(self.test_examples, test_examples):
            yield "the test examples along the stream are not among those of its tasks"
        same_length = len(self.task) == len(self.step) == len(self.correct)
        # A damaged record may state any number of experiences.
        few = not same_length or len(self.correct) <= experiences.count
        if few or set(self.task) != set(range(experiences.count)):
            yield "the evaluations along the stream do not fit its experiences"
        ordered = self.task == sorted(self.task) and self.step == sorted(self.step)
        if not ordered or self.step[0]:
            yield "the evaluations along the stream are not in order"
        # An evaluation covers the tasks so far, and at most those of the next experience.
        seen = [experiences.seen(number) for number in range(experiences.count + 1)]
        if any(
            not seen[number] <= len(counts) <= seen[number + 1]
            for number, counts in zip(self.task, self.correct, strict=True)
        ):
            yield "an evaluation along the stream does not fit the number of tasks"
        pairs = chain.from_iterable(
            zip(counts, self.test_examples, strict=False) for counts in self.correct
        )
        if any(not 0 <= correct <= most for correct, most in pairs):
            yield (
                "a count of correct answers along the stream is below 0 or above the number of "
                "test examples"
            )


def _within(some: list[int], every: list[int]) -> bool:
    """True if each task is evaluated on at least one of its examples and at most all."""
    return all(0 < evaluated <= most for evaluated, most in zip(some, every, strict=True))
