"""The memories of all replicates, and the rows that they train on in every experience."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int64

from retrograde.interface.benchmark import Benchmark
from retrograde.interface.strategy import Strategy
from retrograde.streams.memory import ExemplarMemory, MemoryState
from retrograde.streams.rows import Rows
from retrograde.streams.schedule import (
    all_rows,
    held_out_rows,
    memory_rows,
    stack_replicates,
    train_rows,
)
from retrograde.streams.stream import Stream


class Memories:
    """The memories of all replicates of one cell, if the strategy has one.

    Args:
        benchmark: The benchmark, which gives the training budget.
        strategy: The strategy, which gives the schedule and the memory.
        streams: The stream of each replicate.
        seeds: The seed of each replicate.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        strategy: Strategy,
        streams: list[Stream],
        seeds: list[int],
    ) -> None:
        self.benchmark = benchmark
        self.streams = streams
        self.seeds = seeds
        self.schedule = strategy.schedule()
        self.memory = strategy.memory()
        self.held: list[MemoryState | None] = [
            self.memory.empty() if self.memory else None for _ in seeds
        ]
        # The number of incoming rows of a step.
        self.batch, _ = self.schedule.pace(benchmark, len(streams[0].experiences))
        # The memories before the present experience, and its rows.
        self._before = self.held
        self._rows: Rows | None = None
        self._held_out: list[Rows] = []

    @property
    def ragged(self) -> bool:
        """True if replicates may differ in their number of steps, so that some are padded."""
        # Memories of different seeds may hold different numbers of examples.
        if "memory" in self.schedule.examples:
            return len(self.seeds) > 1
        sizes = {
            tuple(len(experience.row) for experience in stream.experiences)
            for stream in self.streams
        }
        return len(sizes) > 1

    def rows(self, number: int) -> Int64[Rows, "step replicate row"]:
        """The rows of an experience for all replicates.

        The memories are updated to their contents at the end of the experience.
        """
        self._before = self.held
        planned = [
            train_rows(stream, number, self.benchmark, self.schedule, self.memory, held, seed)
            for stream, held, seed in zip(self.streams, self.held, self.seeds, strict=True)
        ]
        self.held = [held for _, held in planned]
        # Memories that are trained on alone take in an experience before its first step.
        contents = self.held if self.schedule.examples == "memory" else self._before
        if self.schedule.held_out:
            self._held_out = [
                held_out_rows(stream, number, self.schedule, content, seed)
                for stream, content, seed in zip(self.streams, contents, self.seeds, strict=True)
            ]
        self._rows = stack_replicates([rows for rows, _ in planned])
        return self._rows

    def finished(self, number: int) -> Int64[Rows, "replicate row"]:
        """All examples of an experience, with the slots of the memory in which they are stored."""
        replicates = zip(self.streams, self.held, self._before, strict=True)
        return _by_replicate(
            [all_rows(stream, number, state, before) for stream, state, before in replicates]
        )

    def held_out(self) -> Int64[Rows, "replicate row"] | None:
        """The examples that the present experience holds out; None if the schedule does not."""
        return _by_replicate(self._held_out) if self.schedule.held_out else None

    def content(self, step: int | None = None) -> Int64[Rows, "replicate slot"] | None:
        """The content of every memory, slot by slot; None without a memory.

        Args:
            step: The number of steps of the present experience so far; None: it is over.
        """
        states = self.held
        # Memories that are trained on alone take in an experience before its first step.
        if step is not None and self.schedule.examples != "memory":
            states = [self._at(step, replicate) for replicate in range(len(self.seeds))]
        stored = [memory_rows(state) for state in states if state]
        return _by_replicate(stored) if stored else None

    def _at(self, step: int, replicate: int) -> MemoryState | None:
        """The memory of one replicate after some steps of the present experience."""
        before = self._before[replicate]
        if before is None or self._rows is None:
            return before
        rows = self._rows[:step, replicate, : self.batch].reshape(-1)
        written = rows[rows.real & (rows.slot < len(before.examples))]
        filled = np.concatenate([before.filled, written.slot])
        examples = before.examples.replaced(written.slot, written.examples)
        return before._replace(examples=examples, filled=filled)

    def counts(self) -> list[int]:
        """The number of examples in each memory."""
        return [len(state.filled) if state else 0 for state in self.held]

    def choose(
        self,
        memory: ExemplarMemory,
        number: int,
        rank: Callable[[Int64[Rows, "replicate row"], int], np.ndarray],
    ) -> Int64[np.ndarray, "replicate slot"]:
        """Fill the memories with the examples of an experience that the strategy ranks first.

        Exemplars that stay may get other slots.

        Args:
            memory: The memory, one of exemplars.
            number: The number of the experience.
            rank: Gives the ranks of examples, of which so many of each class are kept at most.

        Returns:
            For each slot, the one that its example was in before; its own if the example is new.
        """
        rows = self.finished(number)
        before = [state for state in self.held if state]
        offered = [of_replicate[of_replicate.real].examples for of_replicate in rows]
        # Under `vmap` all replicates rank as many exemplars as the one that keeps the most.
        share = max(memory.share(*pair) for pair in zip(before, offered, strict=True))
        ranks = rank(rows, share)
        after = [
            memory.store_ranked(state, examples, of_rows[of_replicate.real])
            for state, examples, of_rows, of_replicate in zip(
                before, offered, ranks, rows, strict=True
            )
        ]
        self.held = [*after]
        return np.stack([_origins(*pair) for pair in zip(before, after, strict=True)])


def _origins(before: MemoryState, after: MemoryState) -> Int64[np.ndarray, " slot"]:
    """For each slot, the one that its example was in before; its own if the example is new."""
    stored = before.examples[before.filled].tuples()
    slot_of = dict(zip(stored, before.filled.tolist(), strict=True))
    origins = [slot_of.get(example, slot) for slot, example in enumerate(after.examples.tuples())]
    return np.array(origins, np.int64)


def _by_replicate(rows: list[Rows]) -> Int64[Rows, "replicate row"]:
    """The rows of replicates, padded to one number."""
    by_row = stack_replicates(rows)
    return by_row.transposed()
