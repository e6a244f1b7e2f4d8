"""The incoming and replayed examples of every step of a task, as index arrays."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from retrograde.randomness import generator
from retrograde.streams.budget import TrainingBudget
from retrograde.streams.memory import Groups, Memory, MemoryState, ReplayPlan, Triples
from retrograde.streams.stream import Examples, Stream, Task

Rows = Int64[np.ndarray, "... _ _"]
"""Examples in the order in which they are used.

The columns are: row of the dataset, task, output unit, 1 (or 0 for padding). Training examples have
a fifth column, a slot of the memory. An incoming example is written into it after the step, and a
replayed example comes from it; the memory's size stands for none.
"""

CHUNK = 1000
"""The number of test examples per replicate that are predicted at once."""


class Schedule(NamedTuple):
    """The examples that a strategy trains on during a task.

    Args:
        examples: The task's own examples ("incoming"), these mixed with the memory's content, the
            memory's content alone, or the examples of all tasks so far.
        fresh: If True, every task starts from the initial weights.
        batch: Examples per step; None: as the benchmark says.
        glances: Consecutive steps on each mini-batch; None: as the benchmark says.
        epochs: Passes over the examples; None: as the benchmark says.
        widening: If True, a step takes `batch` examples for each task so far, and no task takes
            more steps than another.
    """

    examples: Literal["incoming", "incoming and memory", "memory", "all so far"] = "incoming"
    reinitialise: bool = False
    batch_size: int | None = None
    updates_per_batch: int | None = None
    epochs: int | None = None
    batch_per_task: bool = False

    def pace(
        self,
        budget: TrainingBudget,
        tasks: int = 1,
    ) -> tuple[int, int]:
        """The size of a mini-batch, and the number of consecutive steps on it.

        Args:
            budget: The training budget of the benchmark.
            tasks: The number of tasks so far, the present one included.
        """
        size = self.batch_size or budget.batch_size
        if self.batch_per_task:
            size *= tasks
        return size, self.updates_per_batch or budget.updates_per_batch

    def steps_like(
        self,
        budget: TrainingBudget,
        steps: int,
    ) -> int:
        """The number of steps that see as many arrivals as `steps` at the benchmark's pace.

        It is at least 1 unless `steps` is 0.
        """
        size, glances = self.pace(budget)
        same = round(steps * budget.batch_size * glances / (size * budget.updates_per_batch))
        return max(same, min(steps, 1))

    def length(
        self,
        budget: TrainingBudget,
        examples: int,
        tasks: int,
    ) -> tuple[int, int]:
        """The number of epochs and of steps of a task.

        Args:
            budget: The training budget of the benchmark.
            examples: The number of examples to train on.
            tasks: The number of tasks so far, the present one included.
        """
        size, glances = self.pace(budget, tasks)
        epoch = glances * -(-examples // size)
        if self.epochs or not budget.steps:
            epochs = self.epochs or budget.epochs
            return epochs, epochs * epoch
        steps = budget.steps
        # Joint training gets the steps of all tasks so far, in number or, if it widens, in size.
        if self.examples == "all so far" and not self.batch_per_task:
            steps *= tasks
        return -(-steps // epoch), steps


def train_rows(
    stream: Stream,
    number: int,
    budget: TrainingBudget,
    schedule: Schedule,
    memory: Memory | None,
    held: MemoryState | None,
    seed: int,
) -> tuple[Rows, MemoryState | None]:
    """The rows of every step of a task, for one replicate.

    An example enters the memory once, in the first epoch, after the last glance at it. Padding
    repeats real rows of its own step, so that nothing else is ever seen, even by a model in which
    rows see each other.

    Args:
        stream: The stream of the replicate.
        number: The number of the task.
        budget: The training budget of the benchmark.
        schedule: The schedule of the strategy.
        memory: The memory of the strategy, if it has one.
        held: The content of the memory before the task.
        seed: The seed of the replicate.

    Returns:
        Rows of shape (step, row, 5), the incoming ones before the replayed ones, and the content of
        the memory after the task.
    """
    random = generator(seed, "order", number)
    chance = generator(seed, "memory", number)
    arrivals = _triples(stream.tasks[number].train, number)
    alone = schedule.examples == "memory"
    if memory and held and alone:
        # The task enters the memory before training, which then sees nothing else.
        mixed = arrivals[random.permutation(len(arrivals))]
        no_steps = np.zeros(0, np.int64)
        _, held = memory.replay(held, mixed, no_steps, groups(stream), chance)
    pool = _pool(stream, number, arrivals, schedule, held)
    epochs, steps = schedule.length(budget, len(pool), number + 1)
    size, glances = schedule.pace(budget, number + 1)
    as_given = stream.ordered and schedule.examples == "incoming"
    orders = _orders(len(pool), epochs, None if as_given else random)
    index, real = _epochs(orders, size)
    if glances > 1:
        index, real = _glanced(index, real, glances, generator(seed, "glances", number))
    # The steps of all tasks have one width, so that the compiled step fits each of them.
    widest, _ = schedule.pace(budget, len(stream.tasks))
    index, real = _widened(index[:steps], real[:steps], widest - size)
    incoming = _weighted(pool[index], real)
    if memory is None or held is None or alone:
        return _with_slot(incoming, memory.size if memory else 0), held
    entered = orders[0][: -(-steps // glances) * size]
    entered = entered[entered < len(arrivals)]  # of a mixed pool they come first
    # A mini-batch has arrived once the last glance at it is over.
    batches = np.arange(len(index)) // glances
    before = np.minimum(batches * size, len(entered))
    draws, held = memory.replay(held, pool[entered], before, groups(stream), chance)
    if memory.at_task_end:
        written = np.full_like(index, memory.size)
    else:
        written = _written(draws.incoming_slots, entered, index, (size, glances, memory.size))
    written = np.where(real, written, memory.size)
    parts = [_with_slot(incoming, written), _replayed(draws, incoming, size)]
    return np.concatenate(parts, axis=1), held


def groups(stream: Stream) -> Groups:
    """The groups of a stream that may share a memory."""
    return Groups(len(stream.tasks), int(stream.units.sum()))


def _pool(
    stream: Stream,
    number: int,
    arrivals: Triples,
    schedule: Schedule,
    held: MemoryState | None,
) -> Int64[np.ndarray, "pool 3"]:
    """The examples to train on during a task."""
    if schedule.examples == "all so far":
        so_far = stream.tasks[: number + 1]
        tasks = [_triples(task.train, place) for place, task in enumerate(so_far)]
        return np.concatenate(tasks)
    kept = held.examples[held.filled] if held else arrivals[:0]
    parts = {
        "incoming": [arrivals],
        "incoming and memory": [arrivals, kept],
        "memory": [kept],
    }
    return np.concatenate(parts[schedule.examples])


def _orders(
    count: int,
    epochs: int,
    random: np.random.Generator | None,
) -> list[Int64[np.ndarray, " n"]]:
    """The order of the examples in each epoch; without a generator, they stay as they are."""
    if random is None:
        return [np.arange(count) for _ in range(epochs)]
    return [random.permutation(count) for _ in range(epochs)]


def _epochs(
    orders: list[Int64[np.ndarray, " n"]],
    size: int,
) -> tuple[Int64[np.ndarray, "step size"], Bool[np.ndarray, "step size"]]:
    """The batches of all epochs, one epoch after the other; and True for rows that are real."""
    epochs = [_batches(order, size) for order in orders]
    index = np.concatenate([batches for batches, _ in epochs])
    real = np.concatenate([real for _, real in epochs])
    return index, real


def _widened(
    index: np.ndarray,
    real: np.ndarray,
    by: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Steps with `by` more rows of padding each."""
    more = (0, 0), (0, by)
    return np.pad(index, more, mode="wrap"), np.pad(real, more)


def _replayed(draws: ReplayPlan, incoming: Rows, size: int) -> Rows:
    """The rows of replayed examples; those that are not real repeat incoming examples."""
    places = np.arange(draws.slots.shape[1]) % size
    spare = incoming[:, places, :3]
    examples = np.where(draws.real[..., None], draws.examples, spare)
    return _with_slot(_weighted(examples, draws.real), draws.slots)


def _written(
    placed: Int64[np.ndarray, " arrival"],
    entered: Int64[np.ndarray, " arrival"],
    index: Int64[np.ndarray, "step row"],
    sizes: tuple[int, int, int],
) -> Int64[np.ndarray, "step row"]:
    """The slot into which each row of each step is written.

    An example is written at the last glance of the first epoch. Of the arrivals of one step that
    are written to the same slot, the last one counts.

    Args:
        placed: The slot of each arrival; -1 if it is not kept.
        entered: The place of each arrival in the pool.
        index: The places in the pool that each step takes.
        sizes: The size of a mini-batch, the number of glances, and the size of the memory, which
            stands for no slot.
    """
    size, glances, none = sizes
    # One number for (mini-batch, slot). Reversed, `unique` finds the last arrival of each.
    turn = np.arange(len(placed)) // size * (none + 1) + placed
    _, place = np.unique(turn[::-1], return_index=True)
    last = len(placed) - 1 - place
    slot = np.full(index.max() + 1, none)
    slot[entered[last]] = np.where(placed[last] >= 0, placed[last], none)
    steps = np.arange(len(index))
    is_last_glance = steps % glances == glances - 1
    is_first_epoch = steps // glances * size < len(placed)
    writes = is_last_glance & is_first_epoch
    return np.where(writes[:, None], slot[index], none)


def _glanced(
    index: np.ndarray,
    real: np.ndarray,
    glances: int,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Repeat every batch `glances` times in a row, from the second time on in another order."""
    steps = len(index) * glances
    order = np.tile(np.arange(index.shape[1]), (steps, 1))
    for glance in range(1, glances):
        order[glance::glances] = random.permuted(order[glance::glances], axis=1)
    again = np.arange(len(order))[:, None] // glances
    return index[again, order], real[again, order]


def probe_rows(
    stream: Stream,
    count: int,
    seed: int,
) -> Int64[np.ndarray, "task half row 4"]:
    """The test examples of each task for its gradient probe, drawn once per replicate.

    The test set is cut in two once, so that a first half and a second half never share an example,
    even of different tasks. If a half of a task has fewer examples, padding follows.

    Args:
        stream: The stream of the replicate.
        count: The number of examples of each task, both halves together.
        seed: The seed of the replicate.
    """
    tests = len(stream.data.y_test)
    half = min(count // 2, -(-tests // 2))
    first = generator(seed, "probe").permutation(tests) % 2 == 0

    def halves(number: int, task: Task) -> list[Rows]:
        examples = _triples(task.test, number)
        return [
            _probed(examples, chosen, half, generator(seed, "probe", number))
            for chosen in (first, ~first)
        ]

    return np.array([halves(number, task) for number, task in enumerate(stream.tasks)])


def _probed(
    examples: Triples,
    chosen: Bool[np.ndarray, " row"],
    count: int,
    random: np.random.Generator,
) -> Rows:
    """Draw `count` of a task's examples from those that are chosen; padding follows if need be."""
    eligible = examples[chosen[examples[:, 0]]]
    order = random.permutation(len(eligible))
    real = np.arange(count) < len(order)
    if not len(eligible):
        # Any example serves as padding.
        return _weighted(examples[np.zeros(count, np.int64)], real)
    return _weighted(eligible[np.resize(order, count)], real)


def chosen_tests(
    stream: Stream,
    count: int,
    seed: int,
) -> list[Int64[np.ndarray, " n"]]:
    """The indices of the rows of `test_rows` that are tested during tasks too.

    Args:
        stream: The stream of the replicate.
        count: The number of examples of each task, drawn once per replicate; 0: all.
        seed: The seed of the replicate.
    """
    chosen = []
    start = 0
    for number, task in enumerate(stream.tasks):
        size = len(task.test.row)
        order = generator(seed, "watch", number).permutation(size)
        chosen.append(start + np.sort(order[: count or size]))
        start += size
    return chosen


def test_rows(stream: Stream) -> Rows:
    """The test examples of all tasks, in order."""
    tasks = [_triples(task.test, number) for number, task in enumerate(stream.tasks)]
    examples = np.concatenate(tasks)
    return _weighted(examples, np.ones(len(examples), dtype=bool))


def test_chunks(streams: list[Stream]) -> Int64[np.ndarray, "chunk replicate row 4"]:
    """The test examples of all replicates in chunks of one size, the last one padded."""
    replicates = [test_rows(stream) for stream in streams]
    size = min(CHUNK, len(replicates[0]))
    return stack_replicates([chunks(rows, size) for rows in replicates])


def all_rows(
    stream: Stream,
    number: int,
    held: MemoryState | None = None,
) -> Rows:
    """All training examples of a task, in order, with the memory slots that hold them."""
    examples = _triples(stream.tasks[number].train, number)
    rows = _weighted(examples, np.ones(len(examples), dtype=bool))
    if held is None:
        return _with_slot(rows, 0)
    none = len(held.examples)
    slot = np.full(len(stream.data.y_train), none)
    of_task = held.filled[held.examples[held.filled, 1] == number]
    slot[held.examples[of_task, 0]] = of_task
    return _with_slot(rows, slot[examples[:, 0]])


def held_rows(held: MemoryState) -> Rows:
    """The content of a memory, slot by slot; slots that are not filled are padding."""
    slots = np.arange(len(held.examples))
    rows = _weighted(held.examples, np.isin(slots, held.filled))
    return _with_slot(rows, slots)


def _triples(examples: Examples, task: int) -> Int64[np.ndarray, "n 3"]:
    tasks = np.full(len(examples.row), task)
    return np.stack([examples.row, tasks, examples.y], axis=1)


def _batches(
    order: Int64[np.ndarray, " n"],
    size: int,
) -> tuple[Int64[np.ndarray, "step size"], Bool[np.ndarray, "step size"]]:
    """Cut an order into batches, the last one filled up by repeating its own rows.

    Returns:
        The batches, and True for rows that are real.
    """
    steps = -(-len(order) // size)
    place = np.arange(steps * size)
    real = place < len(order)
    start = (steps - 1) * size
    last = len(order) - start
    wrapped = np.where(real, place, start + (place - start) % last)
    return order[wrapped].reshape(steps, size), real.reshape(steps, size)


def _weighted(
    examples: Int64[np.ndarray, "*step row 3"],
    real: Bool[np.ndarray, "*step row"],
) -> Rows:
    weight = real[..., None].astype(np.int64)
    return np.concatenate([examples, weight], axis=-1)


def _with_slot(rows: Rows, slot: int | Int64[np.ndarray, "*step row"]) -> Rows:
    column = np.broadcast_to(slot, rows.shape[:-1])[..., None]
    return np.concatenate([rows, column], axis=-1)


def stack_replicates(rows: list[Rows]) -> Int64[np.ndarray, "step replicate *row _"]:
    """Stack the rows of replicates; those with fewer steps end in steps of padding."""
    steps = max(len(replicate) for replicate in rows)

    def padded(replicate: Rows) -> Rows:
        padding = np.repeat(replicate[:1], steps - len(replicate), axis=0)
        padding[..., 3] = 0
        return np.concatenate([replicate, padding])

    return np.stack([padded(replicate) for replicate in rows], axis=1)


def chunks(rows: Rows, size: int) -> Int64[np.ndarray, "chunk size _"]:
    """Cut rows into chunks of one size, the last one padded."""
    index, real = _batches(np.arange(len(rows)), size)
    cut = rows[index]
    cut[..., 3] *= real
    return np.asarray(cut)
