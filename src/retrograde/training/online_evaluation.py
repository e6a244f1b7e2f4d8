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
        task: The task in training.
        step: Steps taken since the stream began.
        correct: Correct predictions on each task that was evaluated.
    """

    task: int
    step: int
    correct: list[int]


class OnlineEvaluator:
    """Counts correct predictions on the tasks so far, if the benchmark asks for it.

    They are counted every `eval_every` steps of a task and at its end. Counts at the end of a task
    come from the evaluation on all tasks, which takes place in any case. A replicate that ends a
    task before others of its batch is not counted while it waits for them.
    """

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
        self.histories: list[list[Evaluation]] = [[] for _ in streams]
        # Evaluations within the task: its steps so far, and the counts of each replicate.
        self.mid_task: list[tuple[int, list[list[int]]]] = []
        self.training = 0
        self.step = 0

    def advance(self, steps: int) -> None:
        """Count steps of the task, and evaluate if that is due."""
        if not self.every:
            return
        self.step += steps
        if self.step % self.every == 0:
            with self.clocks("online"):
                self.mid_task.append((self.step, self._counts()))

    def _counts(self) -> list[list[int]]:
        """Correct predictions of each replicate on the tasks so far."""
        evaluated = self.rows[: self.training + 1]
        correct = [self.backend.evaluate(rows, during=True).correct for rows in evaluated]
        tasks = len(self.rows)
        # A list for each replicate, with a count for each task.
        counts: list[list[int]] = [[] for _ in self.histories]
        for task, (of_task, rows) in enumerate(zip(correct, evaluated, strict=True)):
            for i, of_replicate in enumerate(counts):
                by_task = correct_per_task(of_task[i], rows[:, i], tasks)
                of_replicate.append(by_task[task])
        return counts

    def end_experience(
        self,
        number: int,
        found: Predictions,
        steps: Int64[np.ndarray, " replicate"],
    ) -> None:
        """Count correct predictions at the end of a task, on the tasks so far and the next one.

        Args:
            number: The task that ended; -1 before the first one.
            found: The evaluation on all tasks.
            steps: Steps of the task for each replicate. An evaluation within the task that fell
                on its last step gives way to this one.
        """
        if not self.every:
            return
        with self.clocks("online"):
            for i, history in enumerate(self.histories):
                before = history[-1].step if history else 0
                # A batch takes as many steps as its longest replicate does; the rest is padding.
                within = [(step, counts[i]) for step, counts in self.mid_task if step < steps[i]]
                history += [Evaluation(number, before + step, correct) for step, correct in within]
                sampled = self.sampled_rows[i][: number + 2]
                correct = [int(found.correct[i, of_task].sum()) for of_task in sampled]
                # The evaluation before the first task counts as one of that task.
                task = max(number, 0)
                history.append(Evaluation(task, before + int(steps[i]), correct))
        self.mid_task = []
        self.step = 0
        self.training = number + 1

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
