"""The incoming and replayed examples of every step of an experience, as rows."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from retrograde.randomness import generator
from retrograde.streams.budget import TrainingBudget
from retrograde.streams.memory import Groups, Memory, MemoryState, ReplayPlan
from retrograde.streams.rows import Rows
from retrograde.streams.stream import Examples, Stream, Task

CHUNK = 1000
"""The number of test examples per replicate that are predicted at once."""


class Schedule(NamedTuple):
    """The examples that a strategy trains on during an experience.

    Args:
        examples: The experience's own examples ("incoming"), these mixed with the memory's content,
            the memory's content alone, or the examples of all experiences so far.
        reinitialise: If True, every experience starts from the initial weights.
        batch_size: Examples per step; None: as the benchmark says.
        updates_per_batch: Consecutive steps on each mini-batch; None: as the benchmark says.
        epochs: Passes over the examples; None: as the benchmark says.
        batch_per_task: If True, a step takes `batch_size` examples for each experience so far, and
            no experience takes more steps than another.
        repeat_memory: If True, the memory's content is mixed in as many times as it fits into the
            number of incoming examples, at least once.
        held_out: The share of all these examples that no step trains on, and about the same share
            of each class. `ExperienceEnd.held_out` has them.
    """

    examples: Literal["incoming", "incoming and memory", "memory", "all so far"] = "incoming"
    reinitialise: bool = False
    batch_size: int | None = None
    updates_per_batch: int | None = None
    epochs: int | None = None
    batch_per_task: bool = False
    repeat_memory: bool = False
    held_out: float = 0.0

    def pace(
        self,
        budget: TrainingBudget,
        experiences: int = 1,
    ) -> tuple[int, int]:
        """The size of a mini-batch, and the number of consecutive steps on it.

        Args:
            budget: The training budget of the benchmark.
            experiences: The number of experiences so far, the present one included.
        """
        size = self.batch_size or budget.batch_size
        if self.batch_per_task:
            size *= experiences
        return size, self.updates_per_batch or budget.updates_per_batch

    def steps_like(
        self,
        budget: TrainingBudget,
        steps: int,
    ) -> int:
        """The number of steps with as many incoming examples as `steps` at the benchmark's pace.

        It is at least 1 unless `steps` is 0.
        """
        size, updates = self.pace(budget)
        same = round(steps * budget.batch_size * updates / (size * budget.updates_per_batch))
        return max(same, min(steps, 1))

    def length(
        self,
        budget: TrainingBudget,
        examples: int,
        experiences: int,
    ) -> tuple[int, int]:
        """The number of epochs and of steps of an experience.

        Args:
            budget: The training budget of the benchmark.
            examples: The number of examples to train on, with those that are held out.
            experiences: The number of experiences so far, the present one included.
        """
        examples -= self.count_held_out(examples)
        size, updates = self.pace(budget, experiences)
        epoch = updates * -(-examples // size)
        if self.epochs or not budget.steps:
            epochs = self.epochs or budget.epochs
            return epochs, epochs * epoch
        steps = budget.steps
        # Joint training gets the steps of all tasks so far. With `batch_per_task` its steps get
        # larger instead.
        if self.examples == "all so far" and not self.batch_per_task:
            steps *= experiences
        return -(-steps // epoch), steps

    def count_held_out(self, examples: int) -> int:
        """The number of examples that are held out of so many."""
        return int(self.held_out * examples)


def train_rows(
    stream: Stream,
    number: int,
    budget: TrainingBudget,
    schedule: Schedule,
    memory: Memory | None,
    state: MemoryState | None,
    seed: int,
) -> tuple[Int64[Rows, "step row"], MemoryState | None]:
    """The rows of every step of an experience, for one replicate.

    An example enters the memory once, in the first epoch, after the last update on it. Padding
    repeats real rows of its own step, so that nothing else is ever seen, even by a model in which
    rows see each other.

    Args:
        stream: The stream of the replicate.
        number: The number of the experience.
        budget: The training budget of the benchmark.
        schedule: The schedule of the strategy.
        memory: The memory of the strategy, if it has one.
        state: The content of the memory before the experience.
        seed: The seed of the replicate.

    Returns:
        Rows of shape (step, row), the incoming ones before the replayed ones, and the content of
        the memory after the experience.
    """
    random = generator(seed, "order", number)
    of_memory = generator(seed, "memory", number)
    incoming = _incoming(stream, number)
    memory_alone = schedule.examples == "memory"
    if memory and state and memory_alone:
        # The experience enters the memory before training, which then sees nothing else.
        mixed = incoming[random.permutation(len(incoming))]
        no_steps = np.zeros(0, np.int64)
        _, state = memory.replay(state, mixed, no_steps, groups(stream), of_memory)
    candidates = _candidates(stream, number, incoming, schedule, state)
    epochs, steps = schedule.length(budget, len(candidates), number + 1)
    trained = ~_is_held_out(candidates, schedule, seed)
    # Of candidates that are mixed with the memory, the incoming ones come first.
    incoming_trained = trained[: len(incoming)].sum()
    candidates = candidates[trained]
    size, updates = schedule.pace(budget, number + 1)
    as_given = stream.ordered and schedule.examples == "incoming"
    orders = _orders(len(candidates), epochs, None if as_given else random)
    index, real = _epochs(orders, size)
    if updates > 1:
        index, real = _repeated(index, real, updates, generator(seed, "glances", number))
    # The steps of all experiences have one width, so that the compiled step fits each of them.
    widest, _ = schedule.pace(budget, len(stream.experiences))
    index, real = _widened(index[:steps], real[:steps], widest - size)
    trained_on = candidates[index].weighted(real)
    if memory is None or state is None or memory_alone:
        return trained_on.with_slots(memory.size if memory else 0), state
    # Of a mini-batch that the number of steps cuts short, the last update never comes.
    entered = orders[0][: steps // updates * size]
    entered = entered[entered < incoming_trained]
    # A mini-batch enters the memory once the last update on it is over.
    batches = np.arange(len(index)) // updates
    before = np.minimum(batches * size, len(entered))
    plan, state = memory.replay(state, candidates[entered], before, groups(stream), of_memory)
    if memory.at_end:
        slots = np.full_like(index, memory.size)
    else:
        slots = _written(plan.incoming_slots, entered, index, (size, updates, memory.size))
    slots = np.where(real, slots, memory.size)
    parts = [trained_on.with_slots(slots), _replayed(plan, trained_on, size)]
    return Rows.concat(parts, axis=1), state


def held_out_rows(
    stream: Stream,
    number: int,
    schedule: Schedule,
    state: MemoryState | None,
    seed: int,
) -> Int64[Rows, " n"]:
    """The examples that an experience holds out of its training, for one replicate.

    Args:
        stream: The stream of the replicate.
        number: The number of the experience.
        schedule: The schedule of the strategy.
        state: The content of the memory when training begins.
        seed: The seed of the replicate.
    """
    candidates = _candidates(stream, number, _incoming(stream, number), schedule, state)
    chosen = candidates[_is_held_out(candidates, schedule, seed)]
    return chosen.weighted(np.ones(len(chosen), dtype=bool))


def _is_held_out(
    candidates: Int64[Rows, " candidate"], schedule: Schedule, seed: int
) -> Bool[np.ndarray, " candidate"]:
    """True for the candidates that are held out.

    Rows of the dataset have one random order in all experiences, and the first of each class are
    held out. So exemplars that were held out before come first again.
    """
    chosen = np.zeros(len(candidates), dtype=bool)
    if not schedule.held_out:
        return chosen
    rows = candidates.row.max(initial=-1) + 1
    priority = generator(seed, "held out").random(rows)[candidates.row]
    order = np.lexsort((priority, candidates.y))
    _, start, counts = np.unique(candidates.y[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(start, counts)
    # The share of its class that comes before an example.
    before = (place + 0.5) / np.repeat(counts, counts)
    first = np.lexsort((priority[order], before))
    chosen[order[first[: schedule.count_held_out(len(candidates))]]] = True
    return chosen


def groups(stream: Stream) -> Groups:
    """The groups of a stream that may share a memory."""
    return Groups(len(stream.tasks), int(stream.units.sum()))


def _candidates(
    stream: Stream,
    number: int,
    incoming: Int64[Rows, " n"],
    schedule: Schedule,
    state: MemoryState | None,
) -> Int64[Rows, " candidate"]:
    """The examples to train on during a task."""
    if schedule.examples == "all so far":
        return Rows.concat([_incoming(stream, place) for place in range(number + 1)])
    stored = state.examples[state.filled] if state else incoming[:0]
    times = 1
    if schedule.repeat_memory and len(stored):
        times = max(1, len(incoming) // len(stored))
    parts = {
        "incoming": [incoming],
        "incoming and memory": [incoming, *[stored] * times],
        "memory": [stored],
    }
    return Rows.concat(parts[schedule.examples])


def _orders(
    count: int,
    epochs: int,
    random: np.random.Generator | None,
) -> list[Int64[np.ndarray, " _"]]:
    """The order of the examples in each epoch; without a generator, they stay as they are."""
    if random is None:
        return [np.arange(count) for _ in range(epochs)]
    return [random.permutation(count) for _ in range(epochs)]


def _epochs(
    orders: list[Int64[np.ndarray, " _"]],
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


def _replayed(
    plan: ReplayPlan,
    incoming: Int64[Rows, "step row"],
    size: int,
) -> Int64[Rows, "step draw"]:
    """The rows of replayed examples; those that are not real repeat incoming examples."""
    places = np.arange(plan.slots.shape[1]) % size
    spare = incoming[:, places].examples
    examples = Rows.where(plan.real, plan.examples, spare)
    return examples.weighted(plan.real).with_slots(plan.slots)


def _written(
    incoming_slots: Int64[np.ndarray, " incoming"],
    entered: Int64[np.ndarray, " incoming"],
    index: Int64[np.ndarray, "step row"],
    sizes: tuple[int, int, int],
) -> Int64[np.ndarray, "step row"]:
    """The slot into which each row of each step is written.

    An example is written at the last update on it in the first epoch. Of the examples of one step
    that are written to the same slot, the last one counts.

    Args:
        incoming_slots: The slot of each incoming example; -1 if it is not stored.
        entered: The place of each incoming example among the candidates.
        index: The places among the candidates that each step takes.
        sizes: The size of a mini-batch, the number of updates on it, and the size of the memory,
            which stands for no slot.
    """
    size, updates, none = sizes
    # One number for (mini-batch, slot). Reversed, `unique` finds the last example of each.
    turn = np.arange(len(incoming_slots)) // size * (none + 1) + incoming_slots
    _, place = np.unique(turn[::-1], return_index=True)
    last = len(incoming_slots) - 1 - place
    slot = np.full(index.max() + 1, none)
    slot[entered[last]] = np.where(incoming_slots[last] >= 0, incoming_slots[last], none)
    steps = np.arange(len(index))
    is_last_update = steps % updates == updates - 1
    is_first_epoch = steps // updates * size < len(incoming_slots)
    writes = is_last_update & is_first_epoch
    return np.where(writes[:, None], slot[index], none)


def _repeated(
    index: np.ndarray,
    real: np.ndarray,
    updates: int,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Repeat every batch `updates` times in a row, from the second time on in another order."""
    steps = len(index) * updates
    order = np.tile(np.arange(index.shape[1]), (steps, 1))
    for update in range(1, updates):
        order[update::updates] = random.permuted(order[update::updates], axis=1)
    again = np.arange(len(order))[:, None] // updates
    return index[again, order], real[again, order]


def probe_rows(
    stream: Stream,
    count: int,
    seed: int,
) -> Int64[Rows, "task half row"]:
    """The test examples of each task for its gradient probe, drawn once per replicate.

    The test set is cut in two once, so that a first half and a second half never share an example,
    even of different tasks. If a half of a task has fewer examples, padding follows.

    Args:
        stream: The stream of the replicate.
        count: The number of examples of each task, both halves combined.
        seed: The seed of the replicate.
    """
    tests = len(stream.data.y_test)
    half = min(count // 2, -(-tests // 2))
    first = generator(seed, "probe").permutation(tests) % 2 == 0

    def halves(number: int, task: Task) -> Rows:
        examples = _examples(task.test, number)
        drawn = [
            _probed(examples, chosen, half, generator(seed, "probe", number))
            for chosen in (first, ~first)
        ]
        return Rows.stack(drawn)

    return Rows.stack([halves(number, task) for number, task in enumerate(stream.tasks)])


def _probed(
    examples: Int64[Rows, " n"],
    chosen: Bool[np.ndarray, " row"],
    count: int,
    random: np.random.Generator,
) -> Int64[Rows, " count"]:
    """Draw `count` of a task's examples from those that are chosen; padding follows if need be."""
    eligible = examples[chosen[examples.row]]
    order = random.permutation(len(eligible))
    real = np.arange(count) < len(order)
    if not len(eligible):
        # Any example serves as padding.
        return examples[np.zeros(count, np.int64)].weighted(real)
    return eligible[np.resize(order, count)].weighted(real)


def chosen_tests(
    stream: Stream,
    count: int,
    seed: int,
) -> list[Int64[np.ndarray, " _"]]:
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


def test_rows(stream: Stream) -> Int64[Rows, " n"]:
    """The test examples of all tasks, in order."""
    return _rows_of_tasks([task.test for task in stream.tasks])


def validation_rows(stream: Stream) -> Int64[Rows, " n"]:
    """The validation examples of all tasks, in order: rows of the training examples."""
    return _rows_of_tasks([task.validation for task in stream.tasks])


def _rows_of_tasks(parts: list[Examples]) -> Int64[Rows, " n"]:
    examples = Rows.concat([_examples(part, number) for number, part in enumerate(parts)])
    return examples.weighted(np.ones(len(examples), dtype=bool))


def test_chunks(streams: list[Stream]) -> Int64[Rows, "chunk replicate row"]:
    """The test examples of all replicates in chunks of one size, the last one padded."""
    return _chunked([test_rows(stream) for stream in streams])


def validation_chunks(streams: list[Stream]) -> Int64[Rows, "chunk replicate row"]:
    """The validation examples of all replicates; see `test_chunks`."""
    return _chunked([validation_rows(stream) for stream in streams])


def _chunked(replicates: list[Rows]) -> Int64[Rows, "chunk replicate row"]:
    size = min(CHUNK, len(replicates[0]))
    return stack_replicates([chunks(rows, size) for rows in replicates])


def all_rows(
    stream: Stream,
    number: int,
    state: MemoryState | None = None,
    before: MemoryState | None = None,
) -> Int64[Rows, " n"]:
    """All training examples of an experience, in order, with the memory slots that hold them.

    Args:
        stream: The stream of the replicate.
        number: The number of the experience.
        state: The content of the memory; None without one.
        before: Its content before the experience, if that is known. Of an example that was stored
            then and is stored again, the new slot is given.
    """
    examples = _incoming(stream, number)
    rows = examples.weighted(np.ones(len(examples), dtype=bool))
    if state is None:
        return rows.with_slots(0)
    filled = state.filled
    if before:
        changed = (state.examples.array != before.examples.array).any(-1)
        new = changed | ~np.isin(np.arange(len(changed)), before.filled)
        # Of several slots of an example, the last one counts.
        filled = filled[np.argsort(new[filled], kind="stable")]
    stored = state.examples[filled].tuples()
    slot_of = dict(zip(stored, filled.tolist(), strict=True))
    none = len(state.examples)
    slots = [slot_of.get(example, none) for example in examples.tuples()]
    return rows.with_slots(np.array(slots, np.int64))


def memory_rows(state: MemoryState) -> Int64[Rows, " slot"]:
    """The content of a memory, slot by slot; slots that are not filled are padding."""
    slots = np.arange(len(state.examples))
    return state.examples.weighted(np.isin(slots, state.filled)).with_slots(slots)


def _incoming(stream: Stream, number: int) -> Int64[Rows, " n"]:
    """The training examples of an experience, in order."""
    experience = stream.experiences[number]
    return Rows.of(experience.row, experience.task, experience.y, experience.view)


def _examples(examples: Examples, task: int) -> Int64[Rows, " n"]:
    return Rows.of(examples.row, task, examples.y, examples.view)


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


def stack_replicates(rows: list[Rows]) -> Rows:
    """Stack the rows of replicates; those with fewer steps end in steps of padding.

    Args:
        rows: The rows of each replicate, of shape (step, *row).

    Returns:
        Rows of shape (step, replicate, *row).
    """
    steps = max(len(replicate) for replicate in rows)

    def padded(replicate: Rows) -> Rows:
        padding = replicate[np.zeros(steps - len(replicate), np.int64)].masked(False)
        return Rows.concat([replicate, padding])

    return Rows.stack([padded(replicate) for replicate in rows], axis=1)


def chunks(rows: Int64[Rows, " n"], size: int) -> Int64[Rows, "chunk size"]:
    """Cut rows into chunks of one size, the last one padded."""
    index, real = _batches(np.arange(len(rows)), size)
    return rows[index].masked(real)
