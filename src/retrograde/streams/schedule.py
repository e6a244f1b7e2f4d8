"""What is trained on at every step of a task, as index arrays: the arrivals and what is replayed beside them."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from retrograde.randomness import generator
from retrograde.streams.budget import TrainingBudget
from retrograde.streams.memory import Groups, Held, Memory, Triples
from retrograde.streams.stream import Examples, Stream

Rows = Int64[np.ndarray, "... _ _"]
"""Examples in the order in which they are used: (row of the dataset, task, output unit, 1 or 0 for padding).

Training examples have a fifth number, a slot of the memory: the one into which an arrival is written after the step, or from
which comes what is replayed; the memory's size stands for none.
"""

CHUNK = 1000
"""Test examples per replicate that are predicted at once."""


class Schedule(NamedTuple):
    """What a strategy trains on during a task: its arrivals, alone or mixed with what is held; or that alone; or all so far."""

    examples: Literal["arrivals", "arrivals and memory", "memory alone", "all so far"] = "arrivals"
    fresh: bool = False  # every task starts from the initial weights
    batch: int | None = None  # examples per step; None: as the benchmark says
    glances: int | None = None  # consecutive steps on them; None: as the benchmark says
    epochs: int | None = None  # None: as the benchmark says
    widening: bool = False  # a step takes so many examples for each task so far, and no task more steps than another

    def pace(self, budget: TrainingBudget, tasks: int = 1) -> tuple[int, int]:
        """How many examples there are to a step when so many tasks have come, and how many steps are taken on them."""
        return (self.batch or budget.batch) * (
            tasks if self.widening else 1
        ), self.glances or budget.glances

    def steps_like(self, budget: TrainingBudget, steps: int) -> int:
        """The steps that see as many arrivals as so many steps of the benchmark's own pace, at least one if that is."""
        size, glances = self.pace(budget)
        return max(round(steps * budget.batch * glances / (size * budget.glances)), min(steps, 1))

    def length(self, budget: TrainingBudget, examples: int, tasks: int) -> tuple[int, int]:
        """The epochs and the steps of a task, for so many examples to train on, of so many tasks."""
        size, glances = self.pace(budget, tasks)
        epoch = glances * -(-examples // size)
        if self.epochs or not budget.steps:
            epochs = self.epochs or budget.epochs
            return epochs, epochs * epoch
        steps = budget.steps * (tasks if self.examples == "all so far" and not self.widening else 1)
        return -(-steps // epoch), steps


def train_rows(
    stream: Stream,
    number: int,
    budget: TrainingBudget,
    schedule: Schedule,
    memory: Memory | None,
    held: Held | None,
    seed: int,
) -> tuple[Rows, Held | None]:
    """The rows of every step of a task, new ones then replayed ones, for one replicate; and what is held after.

    An example enters the memory once, in the first epoch, after the last glance at it. Padding repeats real rows of its own
    step, so that nothing else is ever seen, even by a model in which rows see each other.
    """
    random, chance = generator(seed, "order", number), generator(seed, "memory", number)
    arrivals = _triples(stream.tasks[number].train, number)
    if memory and held and schedule.examples == "memory alone":
        mixed = arrivals[random.permutation(len(arrivals))]
        _, held = memory.replay(held, mixed, np.zeros(0, np.int64), groups(stream), chance)
    pool = _pool(stream, number, arrivals, schedule, held)
    epochs, steps = schedule.length(budget, len(pool), number + 1)
    as_given = stream.ordered and schedule.examples == "arrivals"
    orders = [
        np.arange(len(pool)) if as_given else random.permutation(len(pool)) for _ in range(epochs)
    ]
    size, glances = schedule.pace(budget, number + 1)
    index, real = (
        np.concatenate(parts) for parts in zip(*(_batches(o, size) for o in orders), strict=True)
    )
    if glances > 1:
        index, real = _glanced(index, real, glances, generator(seed, "glances", number))
    rest = (0, 0), (0, schedule.pace(budget, len(stream.tasks))[0] - size)
    index, real = np.pad(index[:steps], rest, mode="wrap"), np.pad(real[:steps], rest)
    new = _weighted(pool[index], real)
    if memory is None or held is None or schedule.examples == "memory alone":
        return _with_slot(new, memory.size if memory else 0), held
    entered = orders[0][: -(-steps // glances) * size]
    entered = entered[entered < len(arrivals)]  # of a mixed pool they come first
    before = np.minimum(np.arange(len(index)) // glances * size, len(entered))
    draws, held = memory.replay(held, pool[entered], before, groups(stream), chance)
    spare = new[:, np.arange(memory.replayed) % size, :3]
    old = _weighted(np.where(draws.real[..., None], draws.examples, spare), draws.real)
    written = (
        memory.size
        if memory.late
        else _written(draws.placed, entered, index, (size, glances, memory.size))
    )
    written = np.where(real, written, memory.size)
    return np.concatenate([_with_slot(new, written), _with_slot(old, draws.slot)], axis=1), held


def groups(stream: Stream) -> Groups:
    """What the memory of a stream may be shared among."""
    return Groups(len(stream.tasks), int(stream.units.sum()))


def _pool(
    stream: Stream, number: int, arrivals: Triples, schedule: Schedule, held: Held | None
) -> Int64[np.ndarray, "pool 3"]:
    """What there is to train on during a task."""
    if schedule.examples == "all so far":
        return np.concatenate([_triples(stream.tasks[n].train, n) for n in range(number + 1)])
    kept = held.examples[held.filled] if held else arrivals[:0]
    parts = {
        "arrivals": [arrivals],
        "arrivals and memory": [arrivals, kept],
        "memory alone": [kept],
    }
    return np.concatenate(parts[schedule.examples])


def _written(
    placed: Int64[np.ndarray, " arrival"],
    entered: Int64[np.ndarray, " arrival"],
    index: Int64[np.ndarray, "step row"],
    sizes: tuple[int, int, int],
) -> Int64[np.ndarray, "step row"]:
    """The slot into which each row of each step is written, at the last glance of the first epoch; else the memory's size.

    Of the arrivals of one step that are written to the same slot, the last one counts.
    """
    size, glances, none = sizes
    turn = np.arange(len(placed)) // size * (none + 1) + placed
    last = len(placed) - 1 - np.unique(turn[::-1], return_index=True)[1]
    slot = np.full(index.max() + 1, none)
    slot[entered[last]] = np.where(placed[last] >= 0, placed[last], none)
    steps = np.arange(len(index))
    when = (steps % glances == glances - 1) & (steps // glances * size < len(placed))
    return np.where(when[:, None], slot[index], none)


def _glanced(
    index: np.ndarray, real: np.ndarray, glances: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Every batch so many times in a row; from the second time on, in another order."""
    order = np.tile(np.arange(index.shape[1]), (len(index) * glances, 1))
    for glance in range(1, glances):
        order[glance::glances] = random.permuted(order[glance::glances], axis=1)
    again = np.arange(len(order))[:, None] // glances
    return index[again, order], real[again, order]


def probe_rows(stream: Stream, count: int, seed: int) -> Int64[np.ndarray, "task half row 4"]:
    """Test examples of each task, drawn once per replicate, for its gradient: `count` of them, in two halves.

    The test set is cut in two once, so that no two halves, of whatever tasks, share an example. Where a half of a task has
    fewer examples, padding follows.
    """
    tests = len(stream.data.y_test)
    half = min(count // 2, -(-tests // 2))
    first = generator(seed, "probe").permutation(tests) % 2 == 0
    tasks = [
        [
            _probed(
                _triples(task.test, number), first == chosen, half, generator(seed, "probe", number)
            )
            for chosen in (True, False)
        ]
        for number, task in enumerate(stream.tasks)
    ]
    return np.array(tasks)


def _probed(
    examples: Triples, chosen: Bool[np.ndarray, " row"], count: int, random: np.random.Generator
) -> Rows:
    """So many of a task's examples, of those that are chosen; where there are fewer, padding follows."""
    own = examples[chosen[examples[:, 0]]]
    order = random.permutation(len(own))
    if not len(own):
        return _weighted(examples[np.zeros(count, np.int64)], np.zeros(count, dtype=bool))
    return _weighted(own[np.resize(order, count)], np.arange(count) < len(order))


def chosen_tests(stream: Stream, count: int, seed: int) -> list[Int64[np.ndarray, " n"]]:
    """Which of the rows of `test_rows` are tested amid tasks too: so many of each task, drawn once per replicate; 0: all."""
    sizes = [len(task.test.row) for task in stream.tasks]
    first = np.cumsum([0, *sizes])
    drawn = [
        generator(seed, "watch", number).permutation(size)[: count or size]
        for number, size in enumerate(sizes)
    ]
    return [start + np.sort(chosen) for start, chosen in zip(first, drawn, strict=False)]


def test_rows(stream: Stream) -> Rows:
    """The test examples of all tasks, in order."""
    examples = np.concatenate(
        [_triples(task.test, number) for number, task in enumerate(stream.tasks)]
    )
    return _weighted(examples, np.ones(len(examples), dtype=bool))


def test_chunks(streams: list[Stream]) -> Int64[np.ndarray, "chunk replicate row 4"]:
    """The test examples of all replicates in chunks of one size, the last one padded."""
    rows = [test_rows(stream) for stream in streams]
    return together([chunks(each, min(CHUNK, len(rows[0]))) for each in rows])


def all_rows(stream: Stream, number: int, held: Held | None = None) -> Rows:
    """All training examples of a task, in order; with the slots in which they are held."""
    examples = _triples(stream.tasks[number].train, number)
    rows = _weighted(examples, np.ones(len(examples), dtype=bool))
    if held is None:
        return _with_slot(rows, 0)
    none = len(held.examples)
    slot = np.full(len(stream.data.y_train), none)
    own = held.filled[held.examples[held.filled, 1] == number]
    slot[held.examples[own, 0]] = own
    return _with_slot(rows, slot[examples[:, 0]])


def held_rows(held: Held) -> Rows:
    """What a memory holds, slot by slot; slots that are not filled are padding."""
    slots = np.arange(len(held.examples))
    return _with_slot(_weighted(held.examples, np.isin(slots, held.filled)), slots)


def _triples(examples: Examples, task: int) -> Int64[np.ndarray, "n 3"]:
    return np.stack([examples.row, np.full(len(examples.row), task), examples.y], axis=1)


def _batches(
    order: Int64[np.ndarray, " n"], size: int
) -> tuple[Int64[np.ndarray, "step size"], Bool[np.ndarray, "step size"]]:
    """The order cut into batches, the last one filled up by repeating its own rows; and which rows are real."""
    steps = -(-len(order) // size)
    place = np.arange(steps * size)
    start = (steps - 1) * size
    wrapped = np.where(place < len(order), place, start + (place - start) % (len(order) - start))
    return order[wrapped].reshape(steps, size), (place < len(order)).reshape(steps, size)


def _weighted(
    examples: Int64[np.ndarray, "*step row 3"], real: Bool[np.ndarray, "*step row"]
) -> Rows:
    return np.concatenate([examples, real[..., None].astype(np.int64)], axis=-1)


def _with_slot(rows: Rows, slot: int | Int64[np.ndarray, "*step row"]) -> Rows:
    return np.concatenate([rows, np.broadcast_to(slot, rows.shape[:-1])[..., None]], axis=-1)


def together(rows: list[Rows]) -> Int64[np.ndarray, "step replicate *row _"]:
    """Stack the rows of replicates; those with fewer steps end in steps of padding."""
    steps = max(len(r) for r in rows)

    def padded(r: Rows) -> Rows:
        rest = np.repeat(r[:1], steps - len(r), axis=0)
        rest[..., 3] = 0
        return np.concatenate([r, rest])

    return np.stack([padded(r) for r in rows], axis=1)


def chunks(rows: Rows, size: int) -> Int64[np.ndarray, "chunk size _"]:
    """Rows cut into chunks of one size, the last one padded."""
    index, real = _batches(np.arange(len(rows)), size)
    cut = rows[index]
    cut[..., 3] *= real
    return np.asarray(cut)
