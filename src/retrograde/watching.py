"""Testing a learner every so many steps while it goes along a stream, without disturbing it."""

import numpy as np
from jaxtyping import Int64

from retrograde.clocks import Clocks
from retrograde.course import Course
from retrograde.evaluation import Backend, Hits, correct
from retrograde.schedule import CHUNK, chosen_tests, chunks, test_rows, together
from retrograde.stream import Stream


class Watcher:
    """Counts right answers in the tasks so far every so many steps, where the benchmark asks for it, and when a task ends.

    At the end of a task they are read off the test of everything that comes then anyway.
    """

    def __init__(self, backend: Backend, streams: list[Stream], seeds: list[int], clocks: Clocks) -> None:
        benchmark = backend.benchmark
        self.backend, self.clocks, self.every = backend, clocks, benchmark.test_every
        self.tasks = len(streams[0].tasks) if self.every else 0
        self.places = [
            chosen_tests(stream, benchmark.test_examples, seed)[: self.tasks]
            for stream, seed in zip(streams, seeds, strict=True)
        ]
        self.rows = [_chunks(streams, [own[task] for own in self.places]) for task in range(self.tasks)]
        self.when: list[tuple[int, int]] = []  # the task in training and the steps so far
        self.correct: list[list[list[int]]] = [[] for _ in streams]
        self.training = self.step = 0

    def advance(self, steps: int) -> None:
        """Count steps of training, and test where a test is due."""
        self.step += steps
        if not self.every or self.step % self.every:
            return
        with self.clocks("watch"):
            found = [self.backend.evaluate(rows, amid=True).hit for rows in self.rows[: self.training + 1]]
            for i, counts in enumerate(self.correct):
                parts = zip(found, self.rows, strict=False)
                counts.append([correct(hit[i], rows[:, i], self.tasks)[task] for task, (hit, rows) in enumerate(parts)])
            self.when.append((self.training, self.step))

    def end_task(self, number: int, found: Hits) -> None:
        """Count what the test after a task, or before the first, found right in the tasks so far and in the next one."""
        if not self.every:
            return
        if self.when[-1:] == [(number, self.step)]:
            self._forget()
        with self.clocks("watch"):
            for i, counts in enumerate(self.correct):
                counts.append([int(found.hit[i, place].sum()) for place in self.places[i][: number + 2]])
            self.when.append((max(number, 0), self.step))
        self.training = number + 1

    def _forget(self) -> None:
        """Take back a test amid the task at its very end: that of the end takes its place."""
        self.when.pop()
        for counts in self.correct:
            counts.pop()

    def course(self, replicate: int) -> Course | None:
        """What one replicate leaves; nothing where the benchmark does not ask for it."""
        if not self.every:
            return None
        tests = [len(place) for place in self.places[replicate]]
        task, step = zip(*self.when, strict=True)
        return Course(tests, list(task), list(step), self.correct[replicate])


def _chunks(streams: list[Stream], places: list[Int64[np.ndarray, " n"]]) -> Int64[np.ndarray, "chunk replicate row 4"]:
    """Some test examples of each replicate in chunks of one size."""
    rows = [test_rows(stream)[place] for stream, place in zip(streams, places, strict=True)]
    return together([chunks(each, min(CHUNK, len(rows[0]))) for each in rows])
