"""Memories as index schedules, which follow from the order of arrival alone.

An example is a triple (row of the dataset, task, output unit).
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64

from retrograde.errors import UserError
from retrograde.randomness import distinct, shuffled

Triples = Int64[np.ndarray, "n 3"]


class MemoryState(NamedTuple):
    """The content of a memory between two tasks.

    Args:
        examples: The example in each slot.
        filled: The slots that hold one, in the order in which they were first filled.
        seen: The number of examples that have arrived so far, by (task, unit).
    """

    examples: Int64[np.ndarray, "slot 3"]
    filled: Int64[np.ndarray, " filled"]
    seen: Counter[tuple[int, int]]


class Groups(NamedTuple):
    """The groups of a whole stream that may share a memory.

    Args:
        tasks: The number of tasks.
        pairs: The number of pairs of a task and one of its classes.
    """

    tasks: int
    pairs: int


class ReplayPlan(NamedTuple):
    """The replayed examples of every step.

    Args:
        examples: The examples that are drawn.
        real: False for a draw for which the memory held too little.
        slot: The slot that each one is drawn from.
        placed: The slot into which each arrival is written; -1 if it is not kept.
    """

    examples: Int64[np.ndarray, "step draw 3"]
    real: Bool[np.ndarray, "step draw"]
    slots: Int64[np.ndarray, "step draw"]
    incoming_slots: Int64[np.ndarray, " arrival"]


@dataclass(frozen=True)
class Memory(ABC):
    """A memory of past examples.

    Args:
        size: The number of examples that are kept.
        draw: The number of examples that a round draws at each step, without replacement.
        rounds: The number of independent rounds at each step.
        late: If True, the examples of a task are stored when the task ends, so that only earlier
            tasks are replayed.
    """

    # True if what is kept depends on the number of tasks or classes of the whole stream.
    knows_length: ClassVar[bool] = False

    size: int
    draw: int
    rounds: int = 1
    at_task_end: bool = False

    @property
    def replayed(self) -> int:
        """The number of rows that are replayed at each step."""
        return self.draw * self.rounds

    def empty(self) -> MemoryState:
        """The content of the memory before the first task."""
        examples = np.zeros((self.size, 3), np.int64)
        filled = np.zeros(0, np.int64)
        return MemoryState(examples, filled, Counter())

    def check(self, groups: Groups) -> None:
        """Raise `UserError` if the memory is too small for the tasks and classes of a stream."""

    @abstractmethod
    def slots_for(
        self,
        held: MemoryState,
        arrivals: Triples,
        groups: Groups,
        random: np.random.Generator,
    ) -> Int64[np.ndarray, " n"]:
        """Place the arrivals of a task.

        Args:
            held: The content of the memory before the task.
            arrivals: The examples in the order of arrival.
            groups: The tasks and classes of the whole stream.
            random: The generator of the memory's choices.

        Returns:
            The slot into which each arrival is written; -1 if it is not kept.
        """

    def replay(
        self,
        held: MemoryState,
        arrivals: Triples,
        before: Int64[np.ndarray, " step"],
        groups: Groups,
        random: np.random.Generator,
    ) -> tuple[ReplayPlan, MemoryState]:
        """Draw the replayed examples of every step of a task.

        Args:
            held: The content of the memory before the task.
            arrivals: The examples in the order of arrival.
            before: The number of arrivals that came before each step.
            groups: The tasks and classes of the whole stream.
            random: The generator of the memory's choices.

        Returns:
            The draws, and the content of the memory after the task.
        """
        if self.at_task_end:
            # To the draws of this task, none of its examples has arrived.
            before = np.zeros_like(before)
        slots = self.slots_for(held, arrivals, groups, random)
        kept = np.flatnonzero(slots >= 0)
        opening = _opening(held, slots, kept)
        filled = np.concatenate([held.filled, slots[opening]])
        available = len(held.filled) + np.searchsorted(opening, before)
        drawn, real = self._drawn(filled, available, random)
        replayed = _contents(held, arrivals, slots, drawn, before)
        examples = held.examples.copy()
        examples[slots[kept]] = arrivals[kept]  # of several writes to a slot, NumPy keeps the last
        pairs = map(tuple, arrivals[:, 1:].tolist())
        seen = held.seen + Counter(pairs)
        return ReplayPlan(replayed, real, drawn, slots), MemoryState(examples, filled, seen)

    def _drawn(
        self,
        filled: Int64[np.ndarray, " filled"],
        available: Int64[np.ndarray, " step"],
        random: np.random.Generator,
    ) -> tuple[Int64[np.ndarray, "step draw"], Bool[np.ndarray, "step draw"]]:
        """Draw slots for every step.

        Args:
            filled: The slots in the order in which they are first filled.
            available: The number of these that are filled at each step.
            random: The generator of the memory's choices.

        Returns:
            The slots, and True for those that are filled at their step. The slots of a round come
            in random order, the filled ones first.
        """
        rounds = [distinct(available, self.draw, random) for _ in range(self.rounds)]
        # Every set is drawn before any order, so that a seed's sets do not depend on the orders.
        ordered = [(shuffled(ranks, real, random), real) for ranks, real in rounds]
        ranks = np.concatenate([ranks for ranks, _ in ordered], axis=1)
        real = np.concatenate([real for _, real in ordered], axis=1)
        return filled[ranks] if len(filled) else ranks, real


def _opening(
    held: MemoryState,
    slots: Int64[np.ndarray, " n"],
    kept: Int64[np.ndarray, " kept"],
) -> Int64[np.ndarray, " opening"]:
    """The arrivals that are the first to fill a slot, in the order of arrival."""
    _, first = np.unique(slots[kept], return_index=True)
    writers = kept[np.sort(first)]
    return writers[~np.isin(slots[writers], held.filled)]


def _contents(
    held: MemoryState,
    arrivals: Triples,
    slots: Int64[np.ndarray, " n"],
    drawn: np.ndarray,
    before: np.ndarray,
) -> Int64[np.ndarray, "step draw 3"]:
    """The content of each drawn slot at its step.

    It is the last example that was written to the slot before the step; without any, it is the
    example that the slot held before the task.
    """
    kept = np.flatnonzero(slots >= 0)
    if not len(kept):
        return np.asarray(held.examples[drawn])
    # One number for (slot, arrival) makes a binary search of the writes sorted by both.
    stride = len(arrivals) + 1
    writes = slots[kept] * stride + kept
    order = np.argsort(writes)
    writes = writes[order]
    moments = drawn * stride + before[:, None]
    last = np.searchsorted(writes, moments) - 1
    written = (last >= 0) & (writes[last] // stride == drawn)
    newest = arrivals[kept[order][last]]
    return np.asarray(np.where(written[..., None], newest, held.examples[drawn]))


class Reservoir(Memory):
    """Every example seen so far is kept with the same probability (Vitter 1985, algorithm R)."""

    def slots_for(
        self,
        held: MemoryState,
        arrivals: Triples,
        groups: Groups,
        random: np.random.Generator,
    ) -> np.ndarray:
        """See `Memory.place`."""
        index = held.seen.total() + np.arange(len(arrivals))
        slot = random.integers(0, index + 1)
        replaced = np.where(slot < self.size, slot, -1)
        return np.where(index < self.size, index, replaced)


class Ring(Memory):
    """The last examples of every class of every task, in equal shares.

    The shares follow from the number of tasks and classes of the whole stream, which must be known
    ahead (Chaudhry et al. 2019, arXiv 1902.10486).
    """

    knows_length: ClassVar[bool] = True

    def check(self, groups: Groups) -> None:
        """See `Memory.check`."""
        if self.size < groups.pairs:
            raise UserError(
                "A ring memory holds at least one example of each class of each task, here "
                f"{groups.pairs}; buffer_size={self.size}."
            )

    def slots_for(
        self,
        held: MemoryState,
        arrivals: Triples,
        groups: Groups,
        random: np.random.Generator,
    ) -> np.ndarray:
        """See `Memory.place`."""
        share = self.size // groups.pairs
        group = {pair: number for number, pair in enumerate(held.seen)}
        slots = np.empty(len(arrivals), np.int64)
        pairs = arrivals[:, 1:]
        # Groups get their slots in the order of arrival.
        for pair in dict.fromkeys(map(tuple, pairs.tolist())):
            members = np.flatnonzero((pairs == pair).all(axis=1))
            base = group.setdefault(pair, len(group)) * share
            turn = held.seen[pair] + np.arange(len(members))
            slots[members] = base + turn % share
        return slots


class TaskRing(Memory):
    """The last examples of every task, in equal blocks of slots (Lopez-Paz and Ranzato 2017).

    The blocks follow one another in the order of tasks. If the whole memory is drawn, its slots
    come in their order, so that a task's examples lie side by side. The blocks follow from the
    number of tasks of the whole stream, which must be known ahead.
    """

    knows_length: ClassVar[bool] = True

    def check(self, groups: Groups) -> None:
        """See `Memory.check`."""
        if self.size < groups.tasks:
            raise UserError(
                "The memory holds at least one example of each task, here "
                f"{groups.tasks}; buffer_size={self.size}."
            )

    def slots_for(
        self,
        held: MemoryState,
        arrivals: Triples,
        groups: Groups,
        random: np.random.Generator,
    ) -> np.ndarray:
        """See `Memory.place`."""
        share = self.size // groups.tasks
        return arrivals[:, 1] * share + np.arange(len(arrivals)) % share

    def _drawn(
        self,
        filled: Int64[np.ndarray, " filled"],
        available: Int64[np.ndarray, " step"],
        random: np.random.Generator,
    ) -> tuple[Int64[np.ndarray, "step draw"], Bool[np.ndarray, "step draw"]]:
        """See `Memory._drawn`."""
        if self.draw != self.size or self.rounds != 1:
            return super()._drawn(filled, available, random)
        # The place of each slot in the order of filling; a slot that is never filled has the last.
        place = np.full(self.size, len(filled))
        place[filled] = np.arange(len(filled))
        slots = np.tile(np.arange(self.size), (len(available), 1))
        return slots, place < available[:, None]


class ExemplarMemory(Memory):
    """The examples of each class that the strategy's `choose` ranks first (iCaRL).

    The classes so far have equal shares of the memory.
    """

    def check(self, groups: Groups) -> None:
        """See `Memory.check`."""
        if self.size < groups.pairs:
            raise UserError(
                "There is at least one exemplar of each class, here of "
                f"{groups.pairs}; buffer_size={self.size}."
            )

    def slots_for(
        self,
        held: MemoryState,
        arrivals: Triples,
        groups: Groups,
        random: np.random.Generator,
    ) -> np.ndarray:
        """See `Memory.place`: nothing is kept on arrival."""
        return np.full(len(arrivals), -1)

    def share(self, held: MemoryState, examples: Triples) -> int:
        """The number of exemplars that are kept of each class.

        Args:
            held: The content of the memory before the end of a task.
            examples: The examples of the task.
        """
        units = np.union1d(held.examples[held.filled, 2], examples[:, 2])
        return self.size // len(units)

    def store_ranked(
        self,
        held: MemoryState,
        examples: Triples,
        rank: Float[np.ndarray, " n"],
    ) -> MemoryState:
        """Store the examples of a task that rank lowest.

        As the share of a class gets smaller, its last exemplars are dropped.

        Args:
            held: The content of the memory before the end of the task.
            examples: The examples of the task.
            rank: The rank of each example.

        Returns:
            The content of the memory after the task.
        """
        ranked = examples[np.argsort(rank, kind="stable")]
        # Exemplars that are held come first of their class, in the order of their own ranks.
        offered = np.concatenate([held.examples[held.filled], ranked])
        units = offered[:, 2]
        share = self.share(held, examples)
        by_class = [offered[units == unit] for unit in np.unique(units)]
        kept = np.concatenate([examples[:share] for examples in by_class])
        slots = np.zeros_like(held.examples)
        slots[: len(kept)] = kept
        return MemoryState(slots, np.arange(len(kept)), held.seen)


class ClassBalanced(Memory):
    """A memory that classes share as evenly as they can (after Chrysakis and Moens 2020).

    When it is full, an example of a class that has lost none yet evicts one of the largest class;
    any other takes part in a reservoir of its own class.
    """

    def slots_for(
        self,
        held: MemoryState,
        arrivals: Triples,
        groups: Groups,
        random: np.random.Generator,
    ) -> np.ndarray:
        """See `Memory.place`."""
        by_class = _slots_by_class(held)
        seen = _seen_by_class(held)
        # All chances are drawn ahead, so that each arrival uses up the same number of them.
        chances = random.random((len(arrivals), 2))
        slots = np.full(len(arrivals), -1)
        free = len(held.filled)
        for n, unit in enumerate(arrivals[:, 2].tolist()):
            mine = by_class.setdefault(unit, [])
            lost = len(mine) < seen[unit]
            seen[unit] += 1
            if free < self.size:
                mine.append(free)
                slots[n] = free
                free += 1
                continue
            largest = max(by_class.values(), key=len)
            if not lost and len(mine) < len(largest):
                slots[n] = largest.pop(int(chances[n, 1] * len(largest)))
                mine.append(int(slots[n]))
            elif chances[n, 0] * seen[unit] < len(mine):
                slots[n] = mine[int(chances[n, 1] * len(mine))]
        return slots


def _slots_by_class(held: MemoryState) -> dict[int, list[int]]:
    slots: dict[int, list[int]] = {}
    for slot in held.filled.tolist():
        slots.setdefault(int(held.examples[slot, 2]), []).append(slot)
    return slots


def _seen_by_class(held: MemoryState) -> Counter[int]:
    seen: Counter[int] = Counter()
    for (_, unit), count in held.seen.items():
        seen[unit] += count
    return seen


Policy = Literal["reservoir", "ring", "balanced", "ring-at-end", "reservoir-at-end"]


POLICIES: dict[Policy, Callable[..., Memory]] = {
    "reservoir": Reservoir,
    "ring": Ring,
    "balanced": ClassBalanced,
    "ring-at-end": partial(Ring, at_task_end=True),
    "reservoir-at-end": partial(Reservoir, at_task_end=True),
}
"""Memories by the name of a setting.

`ring-at-end` is a ring, and `reservoir-at-end` a reservoir, that stores the examples of a task
when the task ends. A ring of either kind must know ahead how many tasks and classes the whole
stream has.
"""
