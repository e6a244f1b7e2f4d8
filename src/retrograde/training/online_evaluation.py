"""Evaluation of a learner every so many steps of a stream, without changing the learner."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from retrograde.records.online_accuracy import OnlineAccuracy
from retrograde.streams.schedule import CHUNK, chosen_tests, chunks, stack_replicates, test_rows
from retrograde.streams.stream import Stream
from retrograde.training.backend import Backend, Predictions, correct_per_task
from retrograde.training.clocks import Clocks


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

    They are counted every `test_every` steps of a task and at its end. Counts at the end of a task
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
            of_task = [places[task] for places in self.sampled_rows]
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
        hits = [self.backend.evaluate(rows).correct for rows in evaluated]
        tasks = len(self.rows)
        # A list for each replicate, with a count for each task.
        counts: list[list[int]] = [[] for _ in self.histories]
        for task, (hit, rows) in enumerate(zip(hits, evaluated, strict=True)):
            for i, of_replicate in enumerate(counts):
                by_task = correct_per_task(hit[i], rows[:, i], tasks)
                of_replicate.append(by_task[task])
        return counts

    def end_task(
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
            for i, way in enumerate(self.histories):
                before = way[-1].step if way else 0
                # A batch takes as many steps as its longest replicate does; the rest is padding.
                within = [(step, counts[i]) for step, counts in self.mid_task if step < steps[i]]
                way += [Evaluation(number, before + step, right) for step, right in within]
                places = self.sampled_rows[i][: number + 2]
                right = [int(found.correct[i, place].sum()) for place in places]
                # The evaluation before the first task counts as one of that task.
                task = max(number, 0)
                way.append(Evaluation(task, before + int(steps[i]), right))
        self.mid_task = []
        self.step = 0
        self.training = number + 1

    def online_accuracy(self, replicate: int) -> OnlineAccuracy | None:
        """The evaluations of one replicate; None if the benchmark does not ask for them."""
        if not self.every:
            return None
        task, step, right = zip(*self.histories[replicate], strict=True)
        tests = [len(place) for place in self.sampled_rows[replicate]]
        return OnlineAccuracy(tests, list(task), list(step), list(right))


def _chunks(
    streams: list[Stream],
    places: list[Int64[np.ndarray, " n"]],
) -> Int64[np.ndarray, "chunk replicate row 4"]:
    """Some test examples of each replicate, in chunks of one size."""
    rows = [test_rows(stream)[place] for stream, place in zip(streams, places, strict=True)]
    size = min(CHUNK, len(rows[0]))
    return stack_replicates([chunks(chosen, size) for chosen in rows])
