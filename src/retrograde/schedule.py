"""What is trained on at every step of a task, as index arrays: the arrivals and what is replayed beside them."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from retrograde.memory import Held, Memory
from retrograde.seeds import generator
from retrograde.stream import Benchmark, Examples, Stream

Rows = Int64[np.ndarray, "... _ 4"]
"""Examples in the order in which they are used: (row of the dataset, task, output unit, 1 or 0 for padding)."""

CHUNK = 1000
"""Test examples per replicate that are predicted at once."""


class Schedule(NamedTuple):
    """What a strategy trains on during a task: its arrivals, or all examples of the tasks so far."""

    examples: Literal["arrivals", "all so far"] = "arrivals"
    fresh: bool = False  # every task starts from the initial weights
    batch: int | None = None  # arrivals per step; None: as the benchmark says
    glances: int | None = None  # consecutive steps on them; None: as the benchmark says

    def pace(self, benchmark: Benchmark) -> tuple[int, int]:
        """How many arrivals there are to a step, and how many steps are taken on them."""
        return self.batch or benchmark.batch, self.glances or benchmark.glances


def train_rows(
    stream: Stream, number: int, benchmark: Benchmark, schedule: Schedule, memory: Memory | None, held: Held | None, seed: int
) -> tuple[Rows, Held | None]:
    """The rows of every step of a task, new ones then replayed ones, for one replicate; and what is held after.

    An example enters the memory once, in the first epoch, after the last glance at it. Padding repeats real rows of its own
    step, so that nothing else is ever seen, even by a model in which rows see each other.
    """
    first = 0 if schedule.examples == "all so far" else number
    pool = np.concatenate([_triples(stream.tasks[n].train, n) for n in range(first, number + 1)])
    random = generator(seed, "order", number)
    as_given = stream.ordered and schedule.examples == "arrivals"
    orders = [np.arange(len(pool)) if as_given else random.permutation(len(pool)) for _ in range(benchmark.epochs)]
    size, glances = schedule.pace(benchmark)
    index, real = (np.concatenate(parts) for parts in zip(*(_batches(o, size) for o in orders), strict=True))
    if glances > 1:
        index, real = _glanced(index, real, glances, generator(seed, "glances", number))
    new = _weighted(pool[index], real)
    if memory is None or held is None:
        return new, None
    before = np.minimum(np.arange(len(index)) // glances * size, len(pool))
    groups = int(stream.units.sum())
    draws, held = memory.replay(held, pool[orders[0]], before, groups, generator(seed, "memory", number))
    spare = new[:, np.arange(memory.draw) % size, :3]
    old = np.where(draws.real[..., None], draws.examples, spare)
    return np.concatenate([new, _weighted(old, draws.real)], axis=1), held


def _glanced(index: np.ndarray, real: np.ndarray, glances: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Every batch so many times in a row; from the second time on, in another order."""
    order = np.tile(np.arange(index.shape[1]), (len(index) * glances, 1))
    for glance in range(1, glances):
        order[glance::glances] = random.permuted(order[glance::glances], axis=1)
    again = np.arange(len(order))[:, None] // glances
    return index[again, order], real[again, order]


def probe_rows(stream: Stream, number: int, count: int, seed: int) -> Rows:
    """Test examples of a task, drawn once per replicate, for its gradient; where there are fewer, padding follows."""
    examples = _triples(stream.tasks[number].test, number)
    order = generator(seed, "probe", number).permutation(len(examples))
    return _weighted(examples[np.resize(order, count)], np.arange(count) < len(order))


def test_rows(stream: Stream) -> Rows:
    """The test examples of all tasks, in order."""
    examples = np.concatenate([_triples(task.test, number) for number, task in enumerate(stream.tasks)])
    return _weighted(examples, np.ones(len(examples), dtype=bool))


def test_chunks(streams: list[Stream]) -> Int64[np.ndarray, "chunk replicate row 4"]:
    """The test examples of all replicates in chunks of one size, the last one padded."""
    rows = [test_rows(stream) for stream in streams]
    return together([chunks(each, min(CHUNK, len(rows[0]))) for each in rows])


def all_rows(stream: Stream, number: int) -> Rows:
    """All training examples of a task, in order."""
    examples = _triples(stream.tasks[number].train, number)
    return _weighted(examples, np.ones(len(examples), dtype=bool))


def _triples(examples: Examples, task: int) -> Int64[np.ndarray, "n 3"]:
    return np.stack([examples.row, np.full(len(examples.row), task), examples.y], axis=1)


def _batches(order: Int64[np.ndarray, " n"], size: int) -> tuple[Int64[np.ndarray, "step size"], Bool[np.ndarray, "step size"]]:
    """The order cut into batches, the last one filled up by repeating its own rows; and which rows are real."""
    steps = -(-len(order) // size)
    place = np.arange(steps * size)
    start = (steps - 1) * size
    wrapped = np.where(place < len(order), place, start + (place - start) % (len(order) - start))
    return order[wrapped].reshape(steps, size), (place < len(order)).reshape(steps, size)


def _weighted(examples: Int64[np.ndarray, "*step row 3"], real: Bool[np.ndarray, "*step row"]) -> Rows:
    return np.concatenate([examples, real[..., None].astype(np.int64)], axis=-1)


def together(rows: list[Rows]) -> Int64[np.ndarray, "step replicate *row 4"]:
    """Stack the rows of replicates; those with fewer steps end in steps of padding."""
    steps = max(len(r) for r in rows)

    def padded(r: Rows) -> Rows:
        rest = np.repeat(r[:1], steps - len(r), axis=0)
        rest[..., 3] = 0
        return np.concatenate([r, rest])

    return np.stack([padded(r) for r in rows], axis=1)


def chunks(rows: Rows, size: int) -> Int64[np.ndarray, "chunk size 4"]:
    """Rows cut into chunks of one size, the last one padded."""
    index, real = _batches(np.arange(len(rows)), size)
    cut = rows[index]
    cut[..., 3] *= real
    return np.asarray(cut)
