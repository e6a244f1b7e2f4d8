"""Memories as index schedules, which follow from the order of the incoming examples alone.

Examples are `Rows` with the columns of an example: row of the dataset, task, output unit, view.
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
from retrograde.streams.rows import Rows


class MemoryState(NamedTuple):
    """The content of a memory between two tasks.

    Args:
        examples: The example in each slot.
        filled: The slots that hold one, in the order in which they were first filled.
        seen: The number of incoming examples so far, by (task, unit).
    """

    examples: Int64[Rows, " slot"]
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
        examples: The replayed examples.
        real: False for padding, if the memory holds fewer examples than are to be drawn.
        slots: The slot that each replayed example comes from.
        incoming_slots: The slot into which each incoming example is written; -1 for none.
    """

    examples: Int64[Rows, "step draw"]
    real: Bool[np.ndarray, "step draw"]
    slots: Int64[np.ndarray, "step draw"]
    incoming_slots: Int64[np.ndarray, " incoming"]


class Column(NamedTuple):
    """Values that a strategy keeps with the examples in memory.

    Args:
        name: Their name.
        shape: The shape of the value of one example; None: a number for each output unit.
    """

    name: str
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Memory(ABC):
    """A memory of past examples.

    Args:
        size: The number of examples that are kept.
        draw: The number of examples that a round draws at each step, without replacement.
        rounds: The number of independent rounds at each step.
        at_end: If True, the examples of an experience are stored when it ends, so that only earlier
            ones are replayed.
        keep: The values that the strategy keeps with each example by `State.keep`. A name alone
            stands for a number for each output unit, as logits are.
    """

    # True if examples are stored by their tasks.
    by_task: ClassVar[bool] = False
    # True if examples are stored by their classes.
    by_class: ClassVar[bool] = False
    # True if what is kept depends on the number of tasks or classes of the whole stream.
    knows_length: ClassVar[bool] = False

    size: int
    draw: int
    rounds: int = 1
    at_end: bool = False
    keep: tuple[str | Column, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """The values that are kept with each example."""
        return tuple(
            column if isinstance(column, Column) else Column(column) for column in self.keep
        )

    @property
    def needs_boundaries(self) -> bool:
        """True if what is stored depends on where experiences end, or on the task of an example."""
        return self.at_end or self.by_task

    @property
    def replayed(self) -> int:
        """The number of rows that are replayed at each step."""
        return self.draw * self.rounds

    def in_words(self) -> str:
        """The kind of memory, its size, and the examples that each step draws."""
        kind = type(self).__name__
        drawn = f", {self.replayed} drawn at each step" if self.replayed else ""
        kept = "".join(f", each with its {column.name}" for column in self.columns)
        return f"{kind} of {self.size} examples{kept}{drawn}"

    def empty(self) -> MemoryState:
        """The content of the memory before the first experience."""
        zeros = np.zeros(self.size, np.int64)
        filled = np.zeros(0, np.int64)
        return MemoryState(Rows.of(zeros, 0, zeros), filled, Counter())

    def check(self, groups: Groups) -> None:
        """Raise `UserError` if the memory is too small for the tasks and classes of a stream."""

    @abstractmethod
    def slots_for(
        self,
        state: MemoryState,
        incoming: Int64[Rows, " n"],
        groups: Groups,
        random: np.random.Generator,
    ) -> Int64[np.ndarray, " n"]:
        """Choose the slots of the incoming examples of an experience.

        Args:
            state: The content of the memory before the experience.
            incoming: The incoming examples, in order.
            groups: The tasks and classes of the whole stream.
            random: The generator of the memory's choices.

        Returns:
            The slot into which each incoming example is written; -1 if it is not stored.
        """

    def replay(
        self,
        state: MemoryState,
        incoming: Int64[Rows, " n"],
        before: Int64[np.ndarray, " step"],
        groups: Groups,
        random: np.random.Generator,
    ) -> tuple[ReplayPlan, MemoryState]:
        """Draw the replayed examples of every step of an experience.

        Args:
            state: The content of the memory before the experience.
            incoming: The incoming examples, in order.
            before: The number of incoming examples that came before each step.
            groups: The tasks and classes of the whole stream.
            random: The generator of the memory's choices.

        Returns:
            The replayed examples, and the content of the memory after the experience.
        """
        if self.at_end:
            # Its own examples cannot be replayed during this experience.
            before = np.zeros_like(before)
        slots = self.slots_for(state, incoming, groups, random)
        kept = np.flatnonzero(slots >= 0)
        opening = _opening(state, slots, kept)
        filled = np.concatenate([state.filled, slots[opening]])
        available = len(state.filled) + np.searchsorted(opening, before)
        drawn, real = self._drawn(filled, available, random)
        replayed = _contents(state, incoming, slots, drawn, before)
        examples = state.examples.replaced(slots[kept], incoming[kept])
        seen = state.seen + Counter(_pairs(incoming))
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


def _pairs(examples: Int64[Rows, " n"]) -> list[tuple[int, int]]:
    """The task and the output unit of each example."""
    return [*zip(examples.task.tolist(), examples.y.tolist(), strict=True)]


def _opening(
    state: MemoryState,
    slots: Int64[np.ndarray, " n"],
    kept: Int64[np.ndarray, " kept"],
) -> Int64[np.ndarray, " opening"]:
    """The incoming examples that are the first to fill a slot, in order."""
    _, first = np.unique(slots[kept], return_index=True)
    writers = kept[np.sort(first)]
    return writers[~np.isin(slots[writers], state.filled)]


def _contents(
    state: MemoryState,
    incoming: Int64[Rows, " n"],
    slots: Int64[np.ndarray, " n"],
    drawn: np.ndarray,
    before: np.ndarray,
) -> Int64[Rows, "step draw"]:
    """The content of each drawn slot at its step.

    It is the last example that was written to the slot before the step; without any, it is the
    example that was stored there before the experience.
    """
    kept = np.flatnonzero(slots >= 0)
    if not len(kept):
        return state.examples[drawn]
    # One number for (slot, incoming example) makes a binary search of the writes sorted by both.
    stride = len(incoming) + 1
    writes = slots[kept] * stride + kept
    order = np.argsort(writes)
    writes = writes[order]
    moments = drawn * stride + before[:, None]
    last = np.searchsorted(writes, moments) - 1
    written = (last >= 0) & (writes[last] // stride == drawn)
    newest = incoming[kept[order][last]]
    return Rows.where(written, newest, state.examples[drawn])


class Reservoir(Memory):
    """Every example seen so far is kept with the same probability (Vitter 1985, algorithm R)."""

    def slots_for(
        self,
        state: MemoryState,
        incoming: Int64[Rows, " n"],
        groups: Groups,
        random: np.random.Generator,
    ) -> np.ndarray:
        """See `Memory.slots_for`."""
        index = state.seen.total() + np.arange(len(incoming))
        slot = random.integers(0, index + 1)
        replaced = np.where(slot < self.size, slot, -1)
        return np.where(index < self.size, index, replaced)


class Ring(Memory):
    """The last examples of every class of every task, in equal shares.

    The shares follow from the number of tasks and classes of the whole stream, which must be known
    ahead (Chaudhry et al. 2019, arXiv 1902.10486).
    """

    by_task: ClassVar[bool] = True
    by_class: ClassVar[bool] = True
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
        state: MemoryState,
        incoming: Int64[Rows, " n"],
        groups: Groups,
        random: np.random.Generator,
    ) -> np.ndarray:
        """See `Memory.slots_for`."""
        share = self.size // groups.pairs
        group = {pair: number for number, pair in enumerate(state.seen)}
        slots = np.empty(len(incoming), np.int64)
        # Groups get their slots in the order in which they come.
        for pair in dict.fromkeys(_pairs(incoming)):
            task, unit = pair
            members = np.flatnonzero((incoming.task == task) & (incoming.y == unit))
            base = group.setdefault(pair, len(group)) * share
            turn = state.seen[pair] + np.arange(len(members))
            slots[members] = base + turn % share
        return slots


class TaskRing(Memory):
    """The last examples of every task, in equal blocks of slots (Lopez-Paz and Ranzato 2017).

    The blocks follow one another in the order of tasks. If the whole memory is drawn, its slots
    come in their order, so that a task's examples lie side by side. The blocks follow from the
    number of tasks of the whole stream, which must be known ahead.
    """

    by_task: ClassVar[bool] = True
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
        state: MemoryState,
        incoming: Int64[Rows, " n"],
        groups: Groups,
        random: np.random.Generator,
    ) -> np.ndarray:
        """See `Memory.slots_for`."""
        share = self.size // groups.tasks
        seen: Counter[int] = Counter()
        for (task, _), count in state.seen.items():
            seen[task] += count
        slots = np.empty(len(incoming), np.int64)
        for task in np.unique(incoming.task).tolist():
            members = np.flatnonzero(incoming.task == task)
            turn = seen[task] + np.arange(len(members))
            slots[members] = task * share + turn % share
        return slots

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
    """The examples of each class that the strategy's `rank_exemplars` ranks first (iCaRL).

    The classes so far have equal shares of the memory.
    """

    by_class: ClassVar[bool] = True

    @property
    def needs_boundaries(self) -> bool:
        """See `Memory.needs_boundaries`: exemplars are chosen at the end of an experience."""
        return True

    def check(self, groups: Groups) -> None:
        """See `Memory.check`."""
        if self.size < groups.pairs:
            raise UserError(
                "There is at least one exemplar of each class, here of "
                f"{groups.pairs}; buffer_size={self.size}."
            )

    def slots_for(
        self,
        state: MemoryState,
        incoming: Int64[Rows, " n"],
        groups: Groups,
        random: np.random.Generator,
    ) -> np.ndarray:
        """See `Memory.slots_for`: nothing is stored during an experience."""
        return np.full(len(incoming), -1)

    def share(self, state: MemoryState, examples: Int64[Rows, " n"]) -> int:
        """The number of exemplars that are kept of each class.

        Args:
            state: The content of the memory before the end of an experience.
            examples: The examples of the experience.
        """
        units = np.union1d(state.examples.y[state.filled], examples.y)
        return self.size // len(units)

    def store_ranked(
        self,
        state: MemoryState,
        examples: Int64[Rows, " n"],
        rank: Float[np.ndarray, " n"],
    ) -> MemoryState:
        """Store the examples of an experience that rank lowest.

        As the share of a class gets smaller, its last exemplars are dropped. Those of a class that
        comes back stay, and new ones fill up its share.

        Args:
            state: The content of the memory before the end of the experience.
            examples: The examples of the experience.
            rank: The rank of each example.

        Returns:
            The content of the memory after the experience.
        """
        ranked = examples[np.argsort(rank, kind="stable")]
        # Stored exemplars come first of their class, in the order of their own ranks.
        offered = Rows.concat([state.examples[state.filled], ranked])
        # An example that comes back is kept once.
        _, first = np.unique(offered.array, axis=0, return_index=True)
        offered = offered[np.sort(first)]
        units = offered.y
        share = self.share(state, examples)
        by_class = [offered[units == unit] for unit in np.unique(units)]
        kept = Rows.concat([examples[:share] for examples in by_class])
        filled = np.arange(len(kept))
        empty = self.empty().examples
        return MemoryState(empty.replaced(filled, kept), filled, state.seen)


class ClassBalanced(Memory):
    """A memory that classes share as evenly as they can (after Chrysakis and Moens 2020).

    When it is full, an example of a class that has lost none yet evicts one of the largest class;
    any other takes part in a reservoir of its own class.
    """

    by_class: ClassVar[bool] = True

    def slots_for(
        self,
        state: MemoryState,
        incoming: Int64[Rows, " n"],
        groups: Groups,
        random: np.random.Generator,
    ) -> np.ndarray:
        """See `Memory.slots_for`."""
        by_class = _slots_by_class(state)
        seen = _seen_by_class(state)
        # All random numbers are drawn ahead, so that each example takes the same number of them.
        random_numbers = random.random((len(incoming), 2))
        slots = np.full(len(incoming), -1)
        free = len(state.filled)
        for n, unit in enumerate(incoming.y.tolist()):
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
                slots[n] = largest.pop(int(random_numbers[n, 1] * len(largest)))
                mine.append(int(slots[n]))
            elif random_numbers[n, 0] * seen[unit] < len(mine):
                slots[n] = mine[int(random_numbers[n, 1] * len(mine))]
        return slots


def _slots_by_class(state: MemoryState) -> dict[int, list[int]]:
    slots: dict[int, list[int]] = {}
    for slot in state.filled.tolist():
        slots.setdefault(int(state.examples.y[slot]), []).append(slot)
    return slots


def _seen_by_class(state: MemoryState) -> Counter[int]:
    seen: Counter[int] = Counter()
    for (_, unit), count in state.seen.items():
        seen[unit] += count
    return seen


Policy = Literal["reservoir", "ring", "balanced", "ring-at-end", "reservoir-at-end"]


POLICIES: dict[Policy, Callable[..., Memory]] = {
    "reservoir": Reservoir,
    "ring": Ring,
    "balanced": ClassBalanced,
    "ring-at-end": partial(Ring, at_end=True),
    "reservoir-at-end": partial(Reservoir, at_end=True),
}
"""Memories by the name of a setting.

`ring-at-end` is a ring, and `reservoir-at-end` a reservoir, that stores the examples of a task
when the task ends. A ring of either kind must know ahead how many tasks and classes the whole
stream has.
"""
