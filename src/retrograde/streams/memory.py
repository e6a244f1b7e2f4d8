"""Memories as index schedules: what is kept and what is drawn follow from the order of arrival alone.

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


class Held(NamedTuple):
    """What a memory holds between two tasks."""

    examples: Int64[np.ndarray, "slot 3"]
    filled: Int64[np.ndarray, " filled"]  # slots in the order in which they were first filled
    seen: Counter[tuple[int, int]]  # (task, unit) -> how many arrived so far


class Groups(NamedTuple):
    """What the memory of a whole stream may be shared among."""

    tasks: int
    pairs: int  # of a task and one of its classes


class Draws(NamedTuple):
    """What is replayed at each step, from which slots; `real` is False where the memory held too little.

    `placed` is the slot into which each arrival is written, -1 where it is not kept.
    """

    examples: Int64[np.ndarray, "step draw 3"]
    real: Bool[np.ndarray, "step draw"]
    slot: Int64[np.ndarray, "step draw"]
    placed: Int64[np.ndarray, " arrival"]


@dataclass(frozen=True)
class Memory(ABC):
    """`size` examples are kept, `draw` of them (without replacement) are replayed at each step, `rounds` times independently.

    A `late` memory takes what it keeps of a task when the task ends, so that earlier tasks alone are replayed.
    """

    knows_length: ClassVar[bool] = (
        False  # what is kept depends on how many tasks or classes the whole stream has
    )

    size: int
    draw: int
    rounds: int = 1
    late: bool = False

    @property
    def replayed(self) -> int:
        """Rows that are replayed at each step."""
        return self.draw * self.rounds

    def empty(self) -> Held:
        """A memory before the first task."""
        return Held(np.zeros((self.size, 3), np.int64), np.zeros(0, np.int64), Counter())

    def check(self, groups: Groups) -> None:
        """Raise `UserError` where the memory cannot serve a stream of so many tasks and classes."""

    @abstractmethod
    def place(
        self, held: Held, arrivals: Triples, groups: Groups, random: np.random.Generator
    ) -> Int64[np.ndarray, " n"]:
        """The slot into which each arrival is written, in order of arrival; -1 where it is not kept."""

    def replay(
        self,
        held: Held,
        arrivals: Triples,
        before: Int64[np.ndarray, " step"],
        groups: Groups,
        random: np.random.Generator,
    ) -> tuple[Draws, Held]:
        """Draw for every step of a task, of which `before[s]` arrivals came before step s; and what is held after."""
        before = np.zeros_like(before) if self.late else before
        slots = self.place(held, arrivals, groups, random)
        kept = np.flatnonzero(slots >= 0)
        first = kept[np.sort(np.unique(slots[kept], return_index=True)[1])]
        new = first[~np.isin(slots[first], held.filled)]
        filled = np.concatenate([held.filled, slots[new]])
        drawn, real = self._drawn(filled, len(held.filled) + np.searchsorted(new, before), random)
        examples = held.examples.copy()
        examples[slots[kept]] = arrivals[kept]  # of several writes to a slot, NumPy keeps the last
        seen = held.seen + Counter(map(tuple, arrivals[:, 1:].tolist()))
        draws = Draws(_contents(held, arrivals, slots, drawn, before), real, drawn, slots)
        return draws, Held(examples, filled, seen)

    def _drawn(
        self,
        filled: Int64[np.ndarray, " filled"],
        available: Int64[np.ndarray, " step"],
        random: np.random.Generator,
    ) -> tuple[Int64[np.ndarray, "step draw"], Bool[np.ndarray, "step draw"]]:
        """The slots drawn at each step, of which the first `available[s]` of `filled` are filled; and which of them are real.

        The slots of a round come in random order, those that are real first.
        """
        rounds = [distinct(available, self.draw, random) for _ in range(self.rounds)]
        # Every set is drawn before any order, so that a seed's sets do not depend on the orders.
        ordered = [(shuffled(ranks, real, random), real) for ranks, real in rounds]
        ranks, real = (np.concatenate(parts, axis=1) for parts in zip(*ordered, strict=True))
        return filled[ranks] if len(filled) else ranks, real


def _contents(
    held: Held,
    arrivals: Triples,
    slots: Int64[np.ndarray, " n"],
    drawn: np.ndarray,
    before: np.ndarray,
) -> Int64[np.ndarray, "step draw 3"]:
    """What each drawn slot holds at its step: the last example written to it before, else what was held."""
    kept = np.flatnonzero(slots >= 0)
    if not len(kept):
        return np.asarray(held.examples[drawn])
    stride = len(arrivals) + 1
    writes = slots[kept] * stride + kept
    order = np.argsort(writes)
    last = np.searchsorted(writes[order], drawn * stride + before[:, None]) - 1
    hit = (last >= 0) & (writes[order][last] // stride == drawn)
    return np.asarray(np.where(hit[..., None], arrivals[kept[order][last]], held.examples[drawn]))


class Reservoir(Memory):
    """Every example seen so far is kept with the same probability (Vitter 1985, algorithm R)."""

    def place(
        self, held: Held, arrivals: Triples, groups: Groups, random: np.random.Generator
    ) -> np.ndarray:
        """See `Memory.place`."""
        index = held.seen.total() + np.arange(len(arrivals))
        slot = random.integers(0, index + 1)
        return np.where(index < self.size, index, np.where(slot < self.size, slot, -1))


class Ring(Memory):
    """The last examples of every class of every task, in equal shares (Chaudhry et al. 2019, arXiv 1902.10486).

    The shares follow from the number of tasks and classes of the whole stream, which must be known ahead.
    """

    knows_length: ClassVar[bool] = True

    def check(self, groups: Groups) -> None:
        """See `Memory.check`."""
        if self.size < groups.pairs:
            raise UserError(
                f"A ring memory holds at least one example of each class of each task, here {groups.pairs}; memory={self.size}."
            )

    def place(
        self, held: Held, arrivals: Triples, groups: Groups, random: np.random.Generator
    ) -> np.ndarray:
        """See `Memory.place`."""
        share = self.size // groups.pairs
        group = {pair: number for number, pair in enumerate(held.seen)}
        slots = np.empty(len(arrivals), np.int64)
        for pair in dict.fromkeys(map(tuple, arrivals[:, 1:].tolist())):
            own = np.flatnonzero((arrivals[:, 1:] == pair).all(axis=1))
            base = group.setdefault(pair, len(group)) * share
            slots[own] = base + (held.seen[pair] + np.arange(len(own))) % share
        return slots


class TaskRing(Memory):
    """The last examples of every task, in equal blocks of slots, one task after the other (Lopez-Paz and Ranzato 2017).

    If the whole memory is drawn, its slots come in their order, so that a task's examples lie side by side.
    The blocks follow from the number of tasks of the whole stream, which must be known ahead.
    """

    knows_length: ClassVar[bool] = True

    def check(self, groups: Groups) -> None:
        """See `Memory.check`."""
        if self.size < groups.tasks:
            raise UserError(
                f"The memory holds at least one example of each task, here {groups.tasks}; memory={self.size}."
            )

    def place(
        self, held: Held, arrivals: Triples, groups: Groups, random: np.random.Generator
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
        since = np.full(self.size, len(filled))
        since[filled] = np.arange(len(filled))
        return np.tile(np.arange(self.size), (len(available), 1)), since < available[:, None]


class Exemplars(Memory):
    """What the strategy's `choose` ranks first of each class, in equal shares of the classes so far (iCaRL)."""

    def check(self, groups: Groups) -> None:
        """See `Memory.check`."""
        if self.size < groups.pairs:
            raise UserError(
                f"There is at least one exemplar of each class, here of {groups.pairs}; memory={self.size}."
            )

    def place(
        self, held: Held, arrivals: Triples, groups: Groups, random: np.random.Generator
    ) -> np.ndarray:
        """See `Memory.place`: nothing is kept on arrival."""
        return np.full(len(arrivals), -1)

    def share(self, held: Held, examples: Triples) -> int:
        """The number of exemplars of each class that are kept once a task with these examples ends."""
        units = np.union1d(held.examples[held.filled, 2], examples[:, 2])
        return self.size // len(units)

    def choose(self, held: Held, examples: Triples, rank: Float[np.ndarray, " n"]) -> Held:
        """What is held once the examples of a task have been ranked, the lowest first; a smaller share drops a class's last."""
        offered = np.concatenate(
            [held.examples[held.filled], examples[np.argsort(rank, kind="stable")]]
        )
        share = self.share(held, examples)
        kept = np.concatenate(
            [offered[offered[:, 2] == unit][:share] for unit in np.unique(offered[:, 2])]
        )
        examples = np.zeros_like(held.examples)
        examples[: len(kept)] = kept
        return Held(examples, np.arange(len(kept)), held.seen)


class ClassBalanced(Memory):
    """Classes share the memory as evenly as they can (after Chrysakis and Moens 2020).

    When it is full, an example of a class that has lost none yet evicts one of the largest class; any other
    takes part in a reservoir of its own class.
    """

    def place(
        self, held: Held, arrivals: Triples, groups: Groups, random: np.random.Generator
    ) -> np.ndarray:
        """See `Memory.place`."""
        own: dict[int, list[int]] = {}
        for slot in held.filled.tolist():
            own.setdefault(int(held.examples[slot, 2]), []).append(slot)
        seen: Counter[int] = Counter()
        for (_, unit), count in held.seen.items():
            seen[unit] += count
        chances = random.random((len(arrivals), 2))
        slots = np.full(len(arrivals), -1)
        free = len(held.filled)
        for n, unit in enumerate(arrivals[:, 2].tolist()):
            mine = own.setdefault(unit, [])
            lost = len(mine) < seen[unit]
            seen[unit] += 1
            if free < self.size:
                mine.append(free)
                slots[n], free = free, free + 1
                continue
            largest = max(own.values(), key=len)
            if not lost and len(mine) < len(largest):
                slots[n] = largest.pop(int(chances[n, 1] * len(largest)))
                mine.append(int(slots[n]))
            elif chances[n, 0] * seen[unit] < len(mine):
                slots[n] = mine[int(chances[n, 1] * len(mine))]
        return slots


Policy = Literal["reservoir", "ring", "balanced", "late", "late-reservoir"]


POLICIES: dict[Policy, Callable[..., Memory]] = {
    "reservoir": Reservoir, "ring": Ring, "balanced": ClassBalanced,
    "late": partial(Ring, late=True), "late-reservoir": partial(Reservoir, late=True),
}  # fmt: skip
"""`late` is a ring, and `late-reservoir` a reservoir, that takes what it keeps of a task when the task ends.

A ring, late or not, must know ahead how many tasks and classes the whole stream has.
"""
