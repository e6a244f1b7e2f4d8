"""Evaluation of a learner every so many steps of a stream, without changing the learner."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from retrograde.records.online_accuracy import OnlineAccuracy
from retrograde.streams.rows import Rows
from retrograde.streams.schedule import CHUNK, chosen_tests, chunks, stack_replicates, test_rows
from retrograde.streams.stream import Stream
from retrograde.training.backend import Backend
from retrograde.training.clocks import Clocks
from retrograde.training.evaluation import Predictions, correct_per_task


class Evaluation(NamedTuple):
    """One evaluation of one replicate.

    Attributes:
        task: The experience in training.
        step: Steps taken since the stream began.
        correct: Correct predictions on each task that was evaluated.
    """

    task: int
    step: int
    correct: list[int]


class OnlineEvaluator:
    """Counts correct predictions on the tasks so far, if the benchmark asks for it.

    They are counted every `eval_every` steps of an experience and at its end. Counts at its end
    come from the evaluation on all tasks, which takes place in any case. A replicate that ends an
    experience before others of its batch is not counted while it waits for them.
    """

    carries = ("histories", "training")

    def __init__(
        self,
        backend: Backend,
        streams: list[Stream],
        seeds: list[int],
        clocks: Clocks,
    ) -> None:
        benchmark = backend.benchmark
        self.backend = backend
        self.clocks = clocks
        self.every = benchmark.eval_every
        self.histories: list[list[Evaluation]] = [[] for _ in streams]
        self.training = 0
        if not self.every:
            return
        self.sampled_rows = [
            chosen_tests(stream, benchmark.eval_examples, seed)
            for stream, seed in zip(streams, seeds, strict=True)
        ]
        self.rows = []
        for task in range(len(streams[0].tasks)):
            of_task = [sampled[task] for sampled in self.sampled_rows]
            self.rows.append(_chunks(streams, of_task))
        # Evaluations within the experience: its steps so far, and the counts of each replicate.
        self.within: list[tuple[int, list[list[int]]]] = []
        self.streams = streams
        self.step = 0

    def advance(self, steps: int) -> None:
        """Count steps of the experience, and evaluate if that is due."""
        if not self.every:
            return
        self.step += steps
        if self.step % self.every == 0:
            with self.clocks("online"):
                self.within.append((self.step, self._counts()))

    def _counts(self) -> list[list[int]]:
        """Correct predictions of each replicate on the tasks so far."""
        seen = [stream.tasks_until(self.training) for stream in self.streams]
        evaluated = self.rows[: max(seen)]
        correct = [self.backend.evaluate(rows, during=True).correct for rows in evaluated]
        tasks = len(self.rows)
        # A list for each replicate, with a count for each task.
        counts: list[list[int]] = [[] for _ in self.histories]
        for task, (of_task, rows) in enumerate(zip(correct, evaluated, strict=True)):
            for i, of_replicate in enumerate(counts):
                by_task = correct_per_task(of_task[i], rows[:, i], tasks)
                of_replicate.append(by_task[task])
        # Tasks may come earlier in one replicate than in another.
        return [of_replicate[:count] for of_replicate, count in zip(counts, seen, strict=True)]

    def end_experience(
        self,
        number: int,
        found: Predictions,
        steps: Int64[np.ndarray, " replicate"],
    ) -> None:
        """Count correct predictions at the end of an experience, on tasks so far and in the next.

        Args:
            number: The experience that ended; -1 before the first one.
            found: The evaluation on all tasks.
            steps: Steps of the experience for each replicate. An evaluation within it that fell
                on its last step gives way to this one.
        """
        if not self.every:
            return
        with self.clocks("online"):
            for i, history in enumerate(self.histories):
                before = history[-1].step if history else 0
                # A batch takes as many steps as its longest replicate does; the rest is padding.
                amid = [(step, counts[i]) for step, counts in self.within if step < steps[i]]
                history += [Evaluation(number, before + step, correct) for step, correct in amid]
                correct = self._at_end(i, number, found)
                # The evaluation before the first experience counts as one of that experience.
                history.append(Evaluation(max(number, 0), before + int(steps[i]), correct))
        self.within = []
        self.step = 0
        self.training = number + 1

    def _at_end(self, replicate: int, number: int, found: Predictions) -> list[int]:
        """Correct predictions at the end of an experience, on tasks so far and in the next one."""
        seen = self.streams[replicate].tasks_until(number + 1)
        sampled = self.sampled_rows[replicate][:seen]
        return [int(found.correct[replicate, of_task].sum()) for of_task in sampled]

    def see_next(self, found: Predictions) -> None:
        """Count again at the end of the latest experience, which had no next one before.

        Args:
            found: The evaluation on all tasks.
        """
        for i, history in enumerate(self.histories):
            if history:
                correct = self._at_end(i, self.training - 1, found)
                history[-1] = history[-1]._replace(correct=correct)

    def online_accuracy(self, replicate: int) -> OnlineAccuracy | None:
        """The evaluations of one replicate; None if the benchmark does not ask for them."""
        if not self.every:
            return None
        task, step, correct = zip(*self.histories[replicate], strict=True)
        test_examples = [len(of_task) for of_task in self.sampled_rows[replicate]]
        return OnlineAccuracy(test_examples, list(task), list(step), list(correct))


def _chunks(
    streams: list[Stream],
    sampled: list[Int64[np.ndarray, " n"]],
) -> Int64[Rows, "chunk replicate row"]:
    """Some test examples of each replicate, in chunks of one size."""
    rows = [test_rows(stream)[chosen] for stream, chosen in zip(streams, sampled, strict=True)]
    size = min(CHUNK, len(rows[0]))
    return stack_replicates([chunks(chosen, size) for chosen in rows])
