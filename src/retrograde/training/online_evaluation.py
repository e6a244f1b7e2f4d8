"""Testing a learner every so many steps while it goes along a stream, without disturbing it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from retrograde.records.online_accuracy import Course
from retrograde.streams.schedule import CHUNK, chosen_tests, chunks, test_rows, together
from retrograde.streams.stream import Stream
from retrograde.training.backend import Backend, Hits, correct
from retrograde.training.clocks import Clocks


class Watched(NamedTuple):
    """One test of one replicate: the task in training, its steps so far, and its right answers in each task asked about."""

    task: int
    step: int
    correct: list[int]


class Watcher:
    """Counts right answers in the tasks so far every so many steps of a task, where the benchmark asks for it, and at its end.

    At the end of a task they are read off the test of everything that comes then anyway. A replicate that ends a task before
    others of its batch is not counted while it waits for them.
    """

    def __init__(
        self, backend: Backend, streams: list[Stream], seeds: list[int], clocks: Clocks
    ) -> None:
        benchmark = backend.benchmark
        self.backend, self.clocks, self.every = backend, clocks, benchmark.test_every
        if not self.every:
            return
        self.places = [
            chosen_tests(each, benchmark.test_examples, seed)
            for each, seed in zip(streams, seeds, strict=True)
        ]
        self.rows = [
            _chunks(streams, [own[task] for own in self.places])
            for task in range(len(streams[0].tasks))
        ]
        self.ways: list[list[Watched]] = [[] for _ in streams]
        self.amid: list[
            tuple[int, list[list[int]]]
        ] = []  # the steps of the task so far, and the counts of each replicate
        self.training = self.step = 0

    def advance(self, steps: int) -> None:
        """Count steps of the task, and test where a test is due."""
        if not self.every:
            return
        self.step += steps
        if self.step % self.every == 0:
            with self.clocks("watch"):
                self.amid.append((self.step, self._counts()))

    def _counts(self) -> list[list[int]]:
        """The right answers of each replicate in the tasks so far."""
        asked = self.rows[: self.training + 1]
        found = [self.backend.evaluate(rows).hit for rows in asked]
        parts = list(enumerate(zip(found, asked, strict=True)))
        return [
            [correct(hit[i], rows[:, i], len(self.rows))[task] for task, (hit, rows) in parts]
            for i in range(len(self.ways))
        ]

    def end_task(self, number: int, found: Hits, steps: Int64[np.ndarray, " replicate"]) -> None:
        """Count what the test after a task, or before the first, found right in the tasks so far and in the next one.

        `steps` is how many the task had for each replicate: a test amid the task at its very end gives way to this one.
        """
        if not self.every:
            return
        with self.clocks("watch"):
            for i, way in enumerate(self.ways):
                before = way[-1].step if way else 0
                way += [
                    Watched(number, before + step, counts[i])
                    for step, counts in self.amid
                    if step < steps[i]
                ]
                right = [int(found.hit[i, place].sum()) for place in self.places[i][: number + 2]]
                way.append(Watched(max(number, 0), before + int(steps[i]), right))
        self.amid, self.step, self.training = [], 0, number + 1

    def course(self, replicate: int) -> Course | None:
        """What one replicate leaves; nothing where the benchmark does not ask for it."""
        if not self.every:
            return None
        task, step, right = zip(*self.ways[replicate], strict=True)
        return Course(
            [len(place) for place in self.places[replicate]], list(task), list(step), list(right)
        )


def _chunks(
    streams: list[Stream], places: list[Int64[np.ndarray, " n"]]
) -> Int64[np.ndarray, "chunk replicate row 4"]:
    """Some test examples of each replicate in chunks of one size."""
    rows = [test_rows(stream)[place] for stream, place in zip(streams, places, strict=True)]
    return together([chunks(each, min(CHUNK, len(rows[0]))) for each in rows])
