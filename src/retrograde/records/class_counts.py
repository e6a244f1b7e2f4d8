"""Correct answers by class: counts for each pair of a task and an output unit."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from retrograde.records.schema import Positive, Whole


@dataclass(frozen=True)
class ClassCounts:
    """Counts by task and class, stored by column to be compact.

    A class is the output unit that is right for it. There is one entry for each pair of a task and
    an output unit that has test examples, in the order of tasks and of units.

    Attributes:
        task: the task of each pair, counted from 0.
        output: its output unit.
        examples: its number of test examples.
        first: the experience in which a training example of it first comes, counted from 0; the
            number of experiences if none comes.
        correct: its number of correct answers, a row for each row of `Record.correct`.
        predicted: for each of these rows, the number of test examples that are predicted as each
            output unit; empty unless class-incremental.
    """

    task: list[Whole]
    output: list[Whole]
    examples: list[Positive]
    first: list[Whole]
    correct: list[list[Whole]]
    predicted: list[list[Whole]]

    def inconsistency(
        self, test_examples: list[int], correct: list[list[int]], experiences: int
    ) -> str:
        """Description of the first inconsistency; empty if there is none.

        Args:
            test_examples: number of test examples of each task of the stream.
            correct: number of correct answers on each task, a row for each evaluation.
            experiences: number of experiences of the stream.
        """
        return next(self._inconsistencies(test_examples, correct, experiences), "")

    def _inconsistencies(
        self, test_examples: list[int], correct: list[list[int]], experiences: int
    ) -> Iterator[str]:
        """The inconsistencies, in the order below; later ones rely on earlier ones."""
        pairs = [*zip(self.task, self.output, strict=False)]
        columns = (self.task, self.output, self.examples, self.first, *self.correct)
        if {len(column) for column in columns} != {len(pairs)}:
            yield "classes: the numbers of pairs of a task and a class do not fit together"
            return
        if pairs != sorted(set(pairs)):
            yield "classes: the pairs of a task and a class are not in order"
        if any(first > experiences for first in self.first):
            yield f"classes.first={self.first}: the stream has {experiences} experiences"
        if self._by_task(self.examples) != dict(enumerate(test_examples)):
            yield "classes: the test examples of the classes are not those of the tasks"
        if [self._by_task(row) for row in self.correct] != [
            dict(enumerate(row)) for row in correct
        ]:
            yield "classes: the correct answers on the classes are not those on the tasks"
        if any(
            right > most
            for row in self.correct
            for right, most in zip(row, self.examples, strict=True)
        ):
            yield "classes: a count of correct answers is above the number of test examples"
        yield from self._mispredicted(len(correct), sum(test_examples))

    def _by_task(self, counts: list[int]) -> dict[int, int]:
        """The sums over the classes of each task."""
        sums: Counter[int] = Counter()
        for task, count in zip(self.task, counts, strict=True):
            sums[task] += count
        return dict(sums)

    def _mispredicted(self, rows: int, test_examples: int) -> Iterator[str]:
        """The inconsistencies of `predicted`."""
        if not self.predicted:
            return
        units = {len(row) for row in self.predicted}
        if len(self.predicted) != rows or len(units) != 1 or min(units) <= max(self.output):
            yield "classes.predicted: the numbers of rows or of output units do not fit"
        if any(sum(row) != test_examples for row in self.predicted):
            yield "classes.predicted: the predictions are not as many as the test examples"
