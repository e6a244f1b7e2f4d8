"""Schedules: the incoming and the replayed examples of every step."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, strategies as st

from retrograde.data.dataset import Dataset
from retrograde.parts.registry import Registry
from retrograde.streams.memory import (
    POLICIES,
    ClassBalanced,
    ExemplarMemory,
    MemoryState,
    Reservoir,
)
from retrograde.streams.rows import Rows
from retrograde.streams.schedule import (
    Schedule,
    all_rows,
    chunks,
    held_out_rows,
    memory_rows,
    stack_replicates,
    test_rows,
    train_rows,
)

test_rows.__test__ = False  # a function of the suite, no test
Split = Registry().find("benchmarks", "split")
ALL = Schedule("all so far")
SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 3), st.integers(0, 2), st.integers(0, 50))


def dataset(sizes=(7, 5, 6, 4, 9, 3), test=2):
    def part(count):
        y = np.random.default_rng(0).permutation(np.repeat(np.arange(len(count)), count))
        return np.arange(len(y), dtype=np.float32)[:, None], y

    return Dataset("made", *part(sizes), *part([test] * len(sizes)))


def benchmark_of(batch=4, epochs=1, **settings):
    return Split(tasks=3, batch_size=batch, epochs=epochs, **settings)


def rows_of(number, *, batch=4, epochs=1, seed=0, schedule=None, memory=None, scenario="class"):
    """The new rows of a task, the replayed ones, and what is held after; earlier tasks come first."""
    made = benchmark_of(batch, epochs, scenario=scenario)
    stream, held = made.stream(dataset(), seed), memory.empty() if memory else None
    for n in range(number + 1):
        rows, held = train_rows(stream, n, made, schedule or Schedule(), memory, held, seed)
    return rows[:, :batch], rows[:, batch:], held


def examples_of(part, task):
    """Examples of a task as tuples, each seen as its task is."""
    return Rows.of(part.row, task, part.y).tuples()


def trained_on(stream, number):
    """The training examples of an experience that trains the task of its number."""
    return examples_of(stream.experiences[number], number)


def real(rows):
    """The examples of weight 1, in order."""
    return rows[rows.real].examples.tuples()


def parts(rows, count):
    """Rows in parts of one length, such as epochs."""
    return rows.reshape(count, -1, *rows.shape[1:])


@given(SHAPES)
def test_every_example_of_the_task_comes_once_in_every_epoch(shape):
    batch, epochs, number, seed = shape
    new, replayed, held = rows_of(number, batch=batch, epochs=epochs, seed=seed)
    expected = sorted(trained_on(Split(tasks=3).stream(dataset(), seed), number))
    assert [sorted(real(epoch)) for epoch in parts(new, epochs)] == [expected] * epochs
    assert (replayed.shape, held) == ((len(new), 0), None)


@given(SHAPES)
def test_a_joint_pool_is_all_tasks_so_far_once_in_every_epoch(shape):
    batch, epochs, number, seed = shape
    new, _, _ = rows_of(number, batch=batch, epochs=epochs, seed=seed, schedule=ALL)
    stream = Split(tasks=3).stream(dataset(), seed)
    expected = sorted(example for n in range(number + 1) for example in trained_on(stream, n))
    assert [sorted(real(epoch)) for epoch in parts(new, epochs)] == [expected] * epochs


@given(SHAPES)
def test_only_the_last_batch_of_an_epoch_is_ragged_and_its_padding_comes_last(shape):
    batch, epochs, number, seed = shape
    new, _, _ = rows_of(number, batch=batch, epochs=epochs, seed=seed)
    weight = new.weight.reshape(epochs, -1)
    assert (np.diff(weight, axis=1) <= 0).all()
    assert (weight.shape[1] - weight.sum(axis=1) < batch).all()


WIDENING = Schedule("all so far", batch_per_task=True)


@given(SHAPES)
def test_steps_that_widen_take_as_many_examples_for_each_task_so_far_and_then_padding_of_their_own(
    shape,
):
    batch, _, number, seed = shape
    made = benchmark_of(batch, steps=3)
    rows, _ = train_rows(made.stream(dataset(), seed), number, made, WIDENING, None, None, seed)
    assert rows.shape == (3, 3 * batch)
    assert not rows[:, (number + 1) * batch :].real.any()
    for step in rows:
        assert set(step.examples.tuples()) == set(real(step))
        assert len(real(step)) > 0


def test_steps_that_widen_use_all_so_far_once_in_an_epoch():
    made = benchmark_of(epochs=1)
    for number in range(3):
        stream = made.stream(dataset(), 0)
        rows, _ = train_rows(stream, number, made, WIDENING, None, None, 0)
        expected = [example for n in range(number + 1) for example in trained_on(stream, n)]
        assert sorted(real(rows)) == sorted(expected)
        assert WIDENING.length(made, len(real(rows)), number + 1) == (1, len(rows))


def test_steps_that_widen_are_as_many_for_every_task():
    made = benchmark_of(batch=2, steps=5)
    assert [WIDENING.length(made, 12 * tasks, tasks)[1] for tasks in (1, 2, 3)] == [5, 5, 5]
    assert [ALL.length(made, 12 * tasks, tasks)[1] for tasks in (1, 2, 3)] == [5, 10, 15]


def test_a_batch_larger_than_the_task_is_one_padded_step():
    new, _, _ = rows_of(0, batch=50)
    assert new.shape == (1, 50)
    assert len(real(new)) == len(Split(tasks=3).stream(dataset(), 0).experiences[0].row)


def test_every_epoch_and_every_seed_has_an_order_of_its_own():
    epochs = [
        real(epoch) for seed in range(3) for epoch in parts(rows_of(1, epochs=3, seed=seed)[0], 3)
    ]
    assert len(set(map(tuple, epochs))) == 9


def test_tasks_of_one_size_are_shuffled_differently():
    made, data = benchmark_of(), dataset(sizes=(6,) * 6)
    stream = made.stream(data, 0)
    rows = [real(train_rows(stream, n, made, Schedule(), None, None, 0)[0]) for n in range(3)]
    orders = [tuple(np.argsort([row for row, *_ in task])) for task in rows]
    assert len(set(orders)) == 3


@pytest.mark.parametrize("schedule", [Schedule(), ALL])
@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_incoming_examples_come_in_the_same_order_with_and_without_a_memory(policy, schedule):
    for number in range(3):
        plain, _, _ = rows_of(number, epochs=2, schedule=schedule)
        beside, replayed, _ = rows_of(
            number, epochs=2, schedule=schedule, memory=POLICIES[policy](12, 5)
        )
        assert plain.examples.tuples() == beside.examples.tuples()
        assert np.array_equal(plain.weight, beside.weight)
        assert replayed.shape == (len(plain), 5)


def test_the_incoming_examples_of_a_task_do_not_depend_on_the_earlier_tasks_having_been_scheduled():
    made = benchmark_of()
    alone, _ = train_rows(made.stream(dataset(), 5), 2, made, Schedule(), None, None, 5)
    assert alone.tuples() == rows_of(2, seed=5)[0].tuples()


def test_the_scenario_changes_neither_order_nor_rows():
    by_class, by_domain = (rows_of(1, scenario=scenario)[0] for scenario in ("class", "domain"))
    for name in ("row", "task", "weight"):
        assert np.array_equal(getattr(by_class, name), getattr(by_domain, name))
    assert not np.array_equal(by_class.y, by_domain.y)


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_only_the_first_epoch_adds_to_the_memory(policy):
    once, thrice = (
        rows_of(1, epochs=epochs, memory=POLICIES[policy](8, 3))[2] for epochs in (1, 3)
    )
    stream = Split(tasks=3).stream(dataset(), 0)
    arrived = sum(len(experience.row) for experience in stream.experiences[:2])
    assert once.seen == thrice.seen
    assert once.seen.total() == arrived


def test_a_large_memory_stores_the_examples_of_the_first_epoch():
    new, _, held = rows_of(0, epochs=3, memory=Reservoir(1000, 2))
    assert held.examples[held.filled].tuples() == real(parts(new, 3)[0])


@given(SHAPES, st.sampled_from(sorted(POLICIES)))
def test_replayed_examples_were_incoming_in_an_earlier_step(shape, policy):
    batch, epochs, number, seed = shape
    new, replayed, _ = rows_of(
        number, batch=batch, epochs=epochs, seed=seed, memory=POLICIES[policy](9, 4)
    )
    past = {
        example for n in range(number) for example in real(rows_of(n, batch=batch, seed=seed)[0])
    }
    for incoming, old in zip(new, replayed, strict=True):
        assert set(real(old)) <= past
        past |= set(real(incoming))


@pytest.mark.parametrize("size", [2, 5, 100])
def test_a_repeated_memory_takes_as_many_rows_as_it_fits_into_the_incoming_ones(size):
    rehearsal = Schedule("incoming and memory", repeat_memory=True)
    memory = ClassBalanced(size, 0, at_end=True)
    stored = rows_of(0, schedule=rehearsal, memory=memory)[2]
    incoming = Counter(trained_on(benchmark_of().stream(dataset(), 0), 1))
    times = max(1, incoming.total() // len(stored.filled))
    epoch = incoming + Counter(stored.examples[stored.filled].tuples() * times)
    rows, _, held = rows_of(1, epochs=3, schedule=rehearsal, memory=memory)
    assert Counter(real(rows)) == epoch + epoch + epoch
    assert set(held.examples[held.filled].tuples()) <= set(incoming) | set(
        trained_on(benchmark_of().stream(dataset(), 0), 0)
    )
    assert held.seen.total() == stored.seen.total() + incoming.total()
    # They are mixed: the memory does not come last.
    last = len(incoming)
    assert set(real(rows)[:last]) - set(incoming)


def test_later_epochs_replay_from_the_whole_of_the_task():
    new, replayed, held = rows_of(0, epochs=40, memory=Reservoir(1000, 3))
    later = {example for step in replayed[len(new) // 40 :] for example in real(step)}
    assert later == {*held.examples[held.filled].tuples()}


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_the_rows_of_a_seed_are_the_same_whichever_other_seeds_were_scheduled(policy):
    alone = rows_of(2, seed=3, memory=POLICIES[policy](9, 4))
    others = [rows_of(2, seed=seed, memory=POLICIES[policy](9, 4)) for seed in (2, 3, 4)]
    for mine, again in zip(alone[:2], others[1][:2], strict=True):
        assert mine.tuples() == again.tuples()
    assert all(alone[0].tuples() != other[0].tuples() for other in (others[0], others[2]))


def test_test_rows_are_the_tests_of_all_tasks_in_order():
    stream = benchmark_of().stream(dataset(), 1)
    rows = test_rows(stream)
    assert real(rows) == [
        example for n, task in enumerate(stream.tasks) for example in examples_of(task.test, n)
    ]
    assert rows.shape == (12,)


@pytest.mark.parametrize("number", range(3))
def test_all_rows_are_the_training_examples_of_one_task_in_order(number):
    stream = benchmark_of().stream(dataset(), 1)
    rows = all_rows(stream, number)
    assert real(rows) == trained_on(stream, number)
    assert len(rows) == len(stream.experiences[number].row)


def test_an_example_that_is_stored_again_is_in_its_new_slot():
    stream = benchmark_of().stream(dataset(), 1)
    example, other = all_rows(stream, 0)[:2].examples
    before = MemoryState(Rows.stack([other, example, other]), np.array([0, 1]), Counter())
    after = before._replace(examples=Rows.stack([example, example, other]))
    assert all_rows(stream, 0, after, before).slot[:2].tolist() == [0, 3]
    assert all_rows(stream, 0, before, before).slot[:2].tolist() == [1, 0]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_replicates_side_by_side_keep_their_rows_and_end_in_padding(steps):
    rows = [
        Rows(np.random.default_rng(n).integers(1, 9, (count, 3, 5)))
        for n, count in enumerate(steps)
    ]
    copies = [replicate.tuples() for replicate in rows]
    stacked = stack_replicates(rows)
    assert stacked.shape == (max(steps), len(steps), 3)
    for number, (count, before) in enumerate(zip(steps, copies, strict=True)):
        assert stacked[:count, number].tuples() == before
        assert not stacked[count:, number].real.any()
        assert rows[number].tuples() == before


def test_padding_names_rows_that_exist():
    short, long = (rows_of(number)[0] for number in (0, 2))
    assert len(short) != len(long)
    stacked = stack_replicates([short, long])
    assert ((stacked.row >= 0) & (stacked.row < len(dataset().y_train))).all()
    assert not stacked[len(short) :, 0].real.any()


@given(st.integers(1, 20), st.integers(1, 8))
def test_chunks_hold_every_row_once_in_order_and_pad_only_the_last(count, size):
    rows = Rows(np.arange(4 * count).reshape(count, 4)).weighted(np.ones(count, dtype=bool))
    before = rows.tuples()
    cut = chunks(rows, size)
    assert cut.shape == (-(-count // size), size)
    assert cut.reshape(-1)[:count].tuples() == before
    assert not cut.reshape(-1)[count:].real.any()
    assert rows.tuples() == before


def weighted(rows):
    """The examples of rows with their weights, in order."""
    return rows.examples.weighted(rows.real).tuples()


@pytest.mark.parametrize("memory", [None, Reservoir(5, 3)])
def test_every_batch_is_trained_on_as_often_as_there_are_updates(memory):
    made, glanced = (benchmark_of(4, 2, updates_per_batch=updates) for updates in (1, 3))
    once, again = (
        train_rows(
            made_.stream(dataset(), 0), 0, made_, Schedule(), memory, memory and memory.empty(), 0
        )[0][:, :4]
        for made_ in (made, glanced)
    )
    assert len(again) == 3 * len(once)
    # Without the slots, which are written at the last update.
    assert weighted(again[::3]) == weighted(once)
    for update in (1, 2):
        for other, first in zip(again[update::3], once, strict=True):
            assert sorted(weighted(other)) == sorted(weighted(first))
    assert weighted(again[1::3]) != weighted(once)


def test_nothing_is_replayed_before_the_last_update_on_it():
    made = benchmark_of(4, updates_per_batch=3)
    rows, _ = train_rows(
        made.stream(dataset(), 0),
        0,
        made,
        Schedule(),
        Reservoir(50, 2),
        Reservoir(50, 2).empty(),
        0,
    )
    for step in range(len(rows)):
        seen = set(rows[: step // 3 * 3, :4].examples.tuples())
        assert set(real(rows[step, 4:])) <= seen
    assert rows[3, 4:].real.all()


def test_a_strategy_may_set_the_pace_itself():
    made = benchmark_of(4, updates_per_batch=3)
    rows, _ = train_rows(
        made.stream(dataset(), 0),
        0,
        made,
        Schedule(batch_size=1, updates_per_batch=2),
        None,
        None,
        0,
    )
    assert rows.shape[1:] == (1,)
    assert rows[::2].tuples() == rows[1::2].tuples()


@given(SHAPES, st.integers(1, 3), st.sampled_from(sorted(POLICIES)))
def test_what_lies_beside_the_slots_is_what_was_written_for_the_examples_replayed(
    shape, updates, policy
):
    """As DER does it: every step first reads at the replayed slots, then writes at the incoming ones."""
    batch, epochs, _, seed = shape
    memory, made = POLICIES[policy](9, 4), benchmark_of(batch, epochs, updates_per_batch=updates)
    stream, held, beside = made.stream(dataset(), seed), memory.empty(), np.full(10, -1)
    for number in range(3):
        rows, held = train_rows(stream, number, made, Schedule(), memory, held, seed)
        for step in rows:
            new, old = step[:batch], step[batch:]
            assert (beside[old.slot] == old.row)[old.real].all()
            beside[new.slot] = new.row
        finished = all_rows(stream, number, held)
        stored = finished[finished.slot < 9]
        beside[stored.slot] = stored.row
    assert np.array_equal(beside[held.filled], held.examples.row[held.filled])


def test_no_two_incoming_examples_of_a_step_are_written_to_one_slot():
    rows, _, _ = rows_of(0, batch=13, memory=Reservoir(3, 1))
    written = rows.slot[rows.slot < 3]
    assert len(set(written.tolist())) == len(written) == 3


@pytest.mark.parametrize("number", [0, 2])
def test_a_task_may_take_a_number_of_steps_whatever_its_examples(number):
    made = benchmark_of(4, 1, steps=7)
    stream = made.stream(dataset(), 0)
    rows, _ = train_rows(stream, number, made, Schedule(), None, None, 0)
    joint, _ = train_rows(stream, number, made, ALL, None, None, 0)
    assert (len(rows), len(joint)) == (7, 7 * (number + 1))
    whole, _ = train_rows(stream, number, benchmark_of(4, 3), Schedule(), None, None, 0)
    assert rows.tuples() == whole[:7].tuples()


def test_what_was_not_trained_on_does_not_enter_the_memory():
    made, memory = benchmark_of(4, 1, steps=2), Reservoir(50, 1)
    rows, held = train_rows(
        made.stream(dataset(), 0), 0, made, Schedule(), memory, memory.empty(), 0
    )
    assert sorted(held.examples[held.filled].tuples()) == sorted(real(rows[:, :4]))


def test_a_memory_alone_is_trained_on_in_so_many_epochs():
    alone = Schedule("memory", batch_size=3, epochs=2)
    rows, _, held = rows_of(2, batch=3, schedule=alone, memory=POLICIES["balanced"](8, 0))
    kept = sorted(held.examples[held.filled].tuples())
    assert [sorted(real(epoch)) for epoch in parts(rows, 2)] == [kept] * 2
    assert len(kept) == 8


def test_incoming_examples_may_be_mixed_with_the_memory():
    memory, made = ExemplarMemory(6, 0), benchmark_of(4)
    stream = made.stream(dataset(), 0)
    first, second, _ = (
        Rows.of(experience.row, experience.task, experience.y) for experience in stream.experiences
    )
    held = memory.store_ranked(memory.empty(), first, np.arange(len(first)).astype(float))
    rows, after = train_rows(stream, 1, made, Schedule("incoming and memory"), memory, held, 0)
    kept = held.examples[held.filled]
    assert sorted(real(rows)) == sorted(second.tuples() + kept.tuples())
    assert after.examples.tuples() == held.examples.tuples()


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_the_rows_of_a_finished_task_have_the_slots_of_its_examples(policy):
    held = rows_of(1, memory=POLICIES[policy](8, 2))[2]
    stream = benchmark_of().stream(dataset(), 0)
    rows = Rows.concat([all_rows(stream, number, held) for number in range(2)])
    inside = rows[rows.slot < 8]
    assert sorted(inside.slot.tolist()) == sorted(held.filled.tolist())
    assert inside.examples.tuples() == held.examples[inside.slot].tuples()
    slots = memory_rows(held)
    assert np.array_equal(slots.slot[slots.real], np.sort(held.filled))


HOLDING = Schedule("incoming and memory", held_out=0.25)


def held_out_of(number, held, seed=0):
    stream = benchmark_of().stream(dataset(), seed)
    return held_out_rows(stream, number, HOLDING, held, seed)


@given(seed=st.integers(0, 50), epochs=st.integers(1, 2))
def test_examples_that_are_held_out_are_those_that_no_step_trains_on(seed, epochs):
    memory, made = ExemplarMemory(6, 0), benchmark_of(4, epochs)
    stream = made.stream(dataset(), seed)
    first, second, _ = (
        Rows.of(experience.row, experience.task, experience.y) for experience in stream.experiences
    )
    held = memory.store_ranked(memory.empty(), first, np.arange(len(first)).astype(float))
    rows, _ = train_rows(stream, 1, made, HOLDING, memory, held, seed)
    out = held_out_of(1, held, seed)
    candidates = Rows.concat([second, held.examples[held.filled]])
    trained = Counter(real(rows))
    assert {*out.examples.tuples()}.isdisjoint(trained)
    assert {*out.examples.tuples(), *trained} == {*candidates.tuples()}
    assert {*trained.values()} == {epochs}
    assert len(out) == len(candidates) // 4
    for unit, count in Counter(candidates.y.tolist()).items():
        assert abs((out.y == unit).sum() - count / 4) < 1.6
    length, steps = HOLDING.length(made, len(candidates), 2)
    assert (length, steps) == (epochs, len(rows))


def test_an_example_that_was_held_out_before_is_held_out_first():
    memory = ExemplarMemory(12, 0)
    before = held_out_of(0, memory.empty()).examples
    stream = benchmark_of().stream(dataset(), 0)
    first = stream.experiences[0]
    rows = Rows.of(first.row, first.task, first.y)
    # The memory keeps every example of the first experience.
    held = memory.store_ranked(memory.empty(), rows, np.zeros(len(rows)))
    again = held_out_of(1, held).examples
    assert len(before) == 3
    assert {*before.tuples()} <= {*again.tuples()}


def test_only_examples_that_are_trained_on_enter_a_memory_along_the_way():
    memory, made = Reservoir(50, 1), benchmark_of(4)
    schedule = Schedule(held_out=0.25)
    stream = made.stream(dataset(), 0)
    rows, after = train_rows(stream, 0, made, schedule, memory, memory.empty(), 0)
    out = held_out_rows(stream, 0, schedule, None, 0).examples
    stored = {*after.examples[after.filled].tuples()}
    assert stored == {*real(rows[:, :4])}
    assert len(out) == 3
    assert stored.isdisjoint(out.tuples())
