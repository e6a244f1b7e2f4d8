"""Memories against a simulation that writes one example at a time, and against the laws of their policies."""

from collections import Counter
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import chi2

from retrograde.errors import UserError
from retrograde.randomness import distinct
from retrograde.streams.memory import (
    POLICIES,
    ClassBalanced,
    ExemplarMemory,
    Groups,
    Reservoir,
    Ring,
    TaskRing,
)
from retrograde.streams.rows import Rows

RARE = 1e-6
TRIALS = 1200
CLASSES = 3


class Life(NamedTuple):
    """The incoming examples: for each task, the output unit of each, in order."""

    policy: str
    spare: int
    draw: int
    batch: int
    epochs: int
    tasks: list[list[int]]
    seed: int

    @property
    def groups(self):
        return Groups(len(self.tasks), CLASSES * len(self.tasks))

    @property
    def memory(self):
        return POLICIES[self.policy](self.groups.pairs + self.spare, self.draw)


class Step(NamedTuple):
    """One step: what the simulated memory holds, what may have been seen, and what was drawn."""

    buffer: dict[int, tuple]
    seen: set[tuple]
    drawn: list[tuple]


UNITS = st.lists(
    st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=25), min_size=1, max_size=3
)
UNEVEN = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=25), min_size=1, max_size=3)
PLENTY = st.lists(st.permutations([0, 1, 2, 3] * 4), min_size=1, max_size=3)
LIVES = st.builds(
    Life,
    policy=st.sampled_from(sorted(POLICIES)),
    spare=st.integers(0, 8),
    draw=st.integers(1, 12),
    batch=st.integers(1, 7),
    epochs=st.integers(1, 2),
    tasks=UNITS,
    seed=st.integers(0, 999),
)


def arrivals_of(tasks):
    """The incoming examples of every task; no row occurs twice."""
    start = np.cumsum([0, *map(len, tasks[:-1])])
    numbered = enumerate(zip(start, tasks, strict=True))
    return [
        Rows.of(first + np.arange(len(units)), n, np.array(units)) for n, (first, units) in numbered
    ]


def lived(life):
    """The steps of each task and the memory at the end, of the memory and of a simulation that writes one by one."""
    memory, held, buffer, steps = life.memory, life.memory.empty(), {}, []
    seen = set()
    for number, arrivals in enumerate(arrivals_of(life.tasks)):
        count = -(-len(arrivals) // life.batch)
        before = np.minimum(np.arange(life.epochs * count) * life.batch, len(arrivals))
        slots = memory.slots_for(
            held, arrivals, life.groups, np.random.default_rng((life.seed, number))
        )
        draws, held = memory.replay(
            held, arrivals, before, life.groups, np.random.default_rng((life.seed, number))
        )
        written = 0
        for upto, examples, real in zip(
            before * (not memory.at_end), draws.examples, draws.real, strict=True
        ):
            written = write(buffer, seen, arrivals, slots, written, upto)
            steps.append(Step(dict(buffer), set(seen), examples[real].tuples()))
        write(buffer, seen, arrivals, slots, written, len(arrivals))
    return steps, held, buffer


def write(buffer, seen, arrivals, slots, start, stop):
    for arrival, slot in zip(
        arrivals[start:stop].tuples(), slots[start:stop].tolist(), strict=True
    ):
        seen.add(arrival)
        if slot >= 0:
            buffer[slot] = arrival
    return int(stop)


def kept(memory, tasks, groups, random):
    """What a memory holds after some tasks, as tuples of row, task, unit and view."""
    held = memory.empty()
    for arrivals in arrivals_of(tasks):
        _, held = memory.replay(
            held, arrivals, np.array([len(arrivals)]), Groups(len(tasks), groups), random
        )
    return held.examples[held.filled].tuples()


@given(LIVES)
def test_what_is_drawn_at_every_step_is_in_the_simulated_memory_at_that_step(life):
    for step in lived(life)[0]:
        assert set(step.drawn) <= set(step.buffer.values()) <= step.seen


@given(LIVES)
def test_draws_are_distinct_and_as_many_as_the_memory_can_give(life):
    for step in lived(life)[0]:
        assert len(step.drawn) == len(set(step.drawn)) == min(life.draw, len(step.buffer))


@given(LIVES)
def test_the_memory_after_the_last_task_is_that_of_the_simulation(life):
    _, held, buffer = lived(life)
    assert (
        dict(zip(held.filled.tolist(), held.examples[held.filled].tuples(), strict=True)) == buffer
    )
    assert len(held.filled) == len(buffer) <= life.memory.size
    assert sum(held.seen.values()) == sum(map(len, life.tasks))


@given(LIVES.filter(lambda life: life.policy not in ("ring", "ring-at-end")))
def test_all_but_a_ring_fill_every_slot_before_they_lose_anything(life):
    for step in lived(life)[0]:
        assert len(step.buffer) == min(life.memory.size, len(step.seen))


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_the_first_step_of_the_first_task_replays_nothing_and_the_first_of_the_second_does(policy):
    steps, _, _ = lived(Life(policy, 4, 5, 4, 1, [[0, 1, 2, 0]] * 2, 0))
    assert [len(step.drawn) for step in steps] == [0, min(5, len(steps[1].buffer))]
    assert {task for _, task, *_ in steps[1].drawn} == {0}


@pytest.mark.parametrize("policy", sorted(policy for policy in POLICIES if "at-end" not in policy))
def test_every_stored_example_is_drawn_equally_often(policy):
    memory, steps = POLICIES[policy](9, 4), 9000
    (arrivals,) = arrivals_of([[0, 1, 2] * 12])
    before = np.full(steps, len(arrivals))
    draws, held = memory.replay(
        memory.empty(), arrivals, before, Groups(1, 3), np.random.default_rng(3)
    )
    count = Counter(draws.examples.row.ravel().tolist())
    assert set(count) == set(held.examples.row.tolist())
    assert fits(np.array([*count.values()]), 4 / 9 * steps, 4 / 9)


def fits(count, expected, probability):
    """A chi-square test with a generous bound: each count is a sum of trials that succeed with that probability."""
    statistic = ((count - expected) ** 2).sum() / (expected * (1 - probability))
    return statistic < chi2.isf(RARE, len(count) - 1) * len(count) / (len(count) - 1)


def times_kept(memory, tasks, groups, trials=TRIALS):
    """How often each row is held at the end."""
    random = np.random.default_rng(5)
    rows = [row for _ in range(trials) for row, *_ in kept(memory, tasks, groups, random)]
    return np.bincount(rows, minlength=sum(map(len, tasks)))


@pytest.mark.parametrize("tasks", [[[0] * 40], [[0] * 25, [1] * 3, [2] * 12]])
def test_a_reservoir_keeps_every_example_with_equal_probability(tasks):
    assert fits(times_kept(Reservoir(10, 1), tasks, 3), TRIALS / 4, 1 / 4)


@pytest.mark.parametrize(("available", "draw"), [(5, 2), (6, 3), (5, 4)])
def test_floyd_sampling_gives_every_subset_with_equal_probability(available, draw):
    ranks, real = distinct(np.full(20_000, available), draw, np.random.default_rng(0))
    count = Counter(map(tuple, np.sort(ranks, axis=1).tolist()))
    subsets = [*combinations(range(available), draw)]
    assert real.all()
    assert set(count) == set(subsets)
    assert fits(np.array([*count.values()]), 20_000 / len(subsets), 1 / len(subsets))


@given(st.lists(st.integers(0, 12), min_size=1, max_size=20), st.integers(0, 9), st.integers(0, 99))
def test_floyd_sampling_gives_different_numbers_that_are_available(available, draw, seed):
    ranks, real = distinct(np.array(available), draw, np.random.default_rng(seed))
    for limit, chosen, true in zip(available, ranks, real, strict=True):
        assert true.sum() == min(limit, draw)
        assert len(set(chosen[true])) == true.sum()
        assert all(0 <= rank < limit for rank in chosen[true])


@given(UNITS, st.integers(0, 20))
def test_a_ring_holds_the_last_examples_of_each_class_of_each_task_in_equal_shares(tasks, spare):
    groups = CLASSES * len(tasks)
    share = (groups + spare) // groups
    expected = []
    for arrivals in arrivals_of(tasks):
        for unit in range(CLASSES):
            expected += arrivals[arrivals.y == unit][-share:].tuples()
    assert sorted(kept(Ring(groups + spare, 1), tasks, groups, np.random.default_rng(0))) == sorted(
        expected
    )


def test_a_ring_goes_on_where_it_was_when_a_class_of_a_task_comes_again():
    memory, held = Ring(6, 1), Ring(6, 1).empty()
    for start, units in ((0, [1, 0, 0, 0]), (4, [1, 1, 1, 0])):
        arrivals = Rows.of(start + np.arange(len(units)), 0, np.array(units))
        _, held = memory.replay(
            held, arrivals, np.array([0]), Groups(1, 2), np.random.default_rng(0)
        )
    found = {
        unit: sorted(row for row, _, u, _ in held.examples.tuples() if u == unit) for unit in (0, 1)
    }
    assert found == {0: [2, 3, 7], 1: [4, 5, 6]}


@pytest.mark.parametrize("size", [1, 5])
def test_a_ring_smaller_than_the_number_of_groups_is_refused(size):
    with pytest.raises(UserError, match=f"here 6; buffer_size={size}"):
        Ring(size, 1).check(Groups(2, 6))


def test_one_slot_is_enough_for_a_reservoir_and_one_per_group_for_a_ring():
    assert [
        memory.check(Groups(2, 6)) for memory in (Reservoir(1, 1), ClassBalanced(1, 1), Ring(6, 1))
    ] == [None] * 3
    assert len(kept(Ring(6, 1), [[0, 1, 2, 0]] * 2, 6, np.random.default_rng(0))) == 6


@given(st.integers(1, 12), PLENTY, st.booleans(), st.integers(0, 99))
def test_balanced_classes_that_offer_plenty_differ_by_at_most_one(size, tasks, blocked, seed):
    tasks = [sorted(units) if blocked else list(units) for units in tasks]
    held = kept(ClassBalanced(size, 1), tasks, 0, np.random.default_rng(seed))
    count = Counter(unit for _, _, unit, _ in held)
    assert max(count.values()) - min(count[unit] for unit in range(4)) <= 1


@given(UNEVEN, st.integers(5, 40), st.integers(0, 99))
def test_a_balanced_memory_keeps_all_of_a_class_that_offers_no_more_than_its_share(
    tasks, size, seed
):
    offered = Counter(unit for units in tasks for unit in units)
    count = Counter(
        unit
        for _, _, unit, _ in kept(ClassBalanced(size, 1), tasks, 0, np.random.default_rng(seed))
    )
    rare = [unit for unit, number in offered.items() if number <= size // len(offered)]
    assert {unit: count[unit] for unit in rare} == {unit: offered[unit] for unit in rare}


@given(UNEVEN, st.integers(1, 30), st.integers(0, 99))
def test_a_full_balanced_memory_stays_full(tasks, size, seed):
    held = kept(ClassBalanced(size, 1), tasks, 0, np.random.default_rng(seed))
    assert len(held) == len(set(held)) == min(size, sum(map(len, tasks)))


@pytest.mark.parametrize(
    "tasks",
    [[[0] * 24 + [1] * 16], [[0, 1] * 8 + [0] * 8 + [1] * 8], [[0] * 8, [1] * 20, [0] * 12]],
)
def test_a_balanced_memory_is_uniform_within_each_class(tasks):
    units = np.concatenate(tasks)
    count = times_kept(ClassBalanced(9, 1), tasks, 0)
    for unit in (0, 1):
        own = count[units == unit]
        assert fits(own, own.mean(), own.mean() / TRIALS)
        assert own.sum() / TRIALS == pytest.approx(4.5, abs=0.51)


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_replaying_leaves_the_earlier_state_of_the_memory_untouched(policy):
    memory = POLICIES[policy](6, 3)
    first, second = arrivals_of([[0, 1, 2] * 4] * 2)
    _, held = memory.replay(
        memory.empty(), first, np.array([0]), Groups(2, 6), np.random.default_rng(0)
    )
    before = held.examples.array.copy(), held.filled.copy(), Counter(held.seen)
    memory.replay(held, second, np.array([0, 6]), Groups(2, 6), np.random.default_rng(1))
    assert np.array_equal(before[0], held.examples.array)
    assert np.array_equal(before[1], held.filled)
    assert held.seen == before[2]


@settings(max_examples=30)
@given(LIVES)
def test_replayed_examples_do_not_depend_on_later_incoming_ones(life):
    first = life.memory.empty()
    (arrivals, *_) = arrivals_of(life.tasks)
    half = len(arrivals) // 2
    later = np.arange(len(arrivals)) >= half
    other = Rows.of(arrivals.row + 1000 * later, arrivals.task, arrivals.y)
    both = [
        life.memory.replay(
            first, a, np.array([0, half]), life.groups, np.random.default_rng(life.seed)
        )[0]
        for a in (arrivals, other)
    ]
    assert np.array_equal(both[0].examples.array, both[1].examples.array)
    assert np.array_equal(both[0].real, both[1].real)


def test_a_memory_that_is_filled_at_ends_replays_earlier_tasks_alone():
    life = Life("ring-at-end", 2, 4, 3, 2, [[0, 1, 2, 0]] * 3, 0)
    tasks = [{task for _, task, *_ in step.drawn} for step in lived(life)[0]]
    assert tasks[:4] == [set()] * 4
    assert all(drawn <= {0} for drawn in tasks[4:8])
    assert set().union(*tasks[8:]) == {0, 1}


@pytest.mark.parametrize("policy", sorted(policy for policy in POLICIES if "at-end" not in policy))
@pytest.mark.parametrize(("draw", "rounds"), [(4, 1), (9, 1), (12, 1), (3, 2)])
def test_every_stored_example_is_equally_likely_at_every_place_of_a_draw(policy, draw, rounds):
    memory, steps, (arrivals,) = (
        POLICIES[policy](9, draw, rounds=rounds),
        6000,
        arrivals_of([[0, 1, 2] * 12]),
    )
    draws, _ = memory.replay(
        memory.empty(), arrivals, np.full(steps, 36), Groups(1, 3), np.random.default_rng(7)
    )
    places = draws.slots[:, draws.real[0]]
    assert places.shape == (steps, min(draw, 9) * rounds)
    for place in places.T:
        assert fits(np.bincount(place, minlength=9), steps / 9, 1 / 9)


def test_what_a_memory_gives_before_it_is_full_comes_in_any_order_and_before_the_padding():
    memory, steps, (arrivals,) = Reservoir(9, 6), 6000, arrivals_of([[0] * 4])
    draws, _ = memory.replay(
        memory.empty(), arrivals, np.full(steps, 4), Groups(1, 1), np.random.default_rng(7)
    )
    assert (draws.real == [True] * 4 + [False] * 2).all()
    for place in draws.slots[:, :4].T:
        assert fits(np.bincount(place, minlength=4), steps / 4, 1 / 4)


@given(st.integers(1, 12), st.integers(1, 3), st.integers(0, 99))
def test_the_order_of_a_draw_leaves_the_sets_as_floyd_sampling_gives_them(draw, rounds, seed):
    memory, (arrivals,) = Reservoir(9, draw, rounds=rounds), arrivals_of([[0] * 20])
    before = np.arange(21)
    draws, _ = memory.replay(
        memory.empty(), arrivals, before, Groups(1, 1), np.random.default_rng(seed)
    )
    random = np.random.default_rng(seed)
    memory.slots_for(memory.empty(), arrivals, Groups(1, 1), random)
    for slot, real in zip(
        np.split(draws.slots, rounds, 1), np.split(draws.real, rounds, 1), strict=True
    ):
        ranks, counts = distinct(np.minimum(before, 9), draw, random)
        assert np.array_equal(counts, real)
        assert np.array_equal(np.sort(np.where(real, ranks, -1)), np.sort(np.where(real, slot, -1)))


def test_rounds_are_drawn_independently():
    memory, (arrivals,) = Reservoir(8, 3, rounds=2), arrivals_of([[0] * 8])
    draws, _ = memory.replay(
        memory.empty(), arrivals, np.full(5000, 8), Groups(1, 1), np.random.default_rng(0)
    )
    first, second = np.split(draws.examples.row, 2, axis=1)
    both = (first[:, :, None] == second[:, None]).sum((1, 2))
    assert all(len(set(row)) == 3 for row in first.tolist() + second.tolist())
    assert both.mean() == pytest.approx(9 / 8, abs=0.05)


@given(LIVES)
def test_a_slot_that_is_drawn_holds_what_is_replayed(life):
    memory, held = life.memory, life.memory.empty()
    for arrivals in arrivals_of(life.tasks):
        before = held.examples
        draws, held = memory.replay(
            held,
            arrivals,
            np.array([0, len(arrivals)]),
            life.groups,
            np.random.default_rng(life.seed),
        )
        first, second = draws.real
        assert draws.examples[0][first].tuples() == before[draws.slots[0][first]].tuples()
        now = before if memory.at_end else held.examples
        assert draws.examples[1][second].tuples() == now[draws.slots[1][second]].tuples()


@pytest.mark.parametrize("at_end", [False, True])
def test_a_memory_that_is_drawn_whole_comes_slot_by_slot_and_by_task(at_end):
    memory, held, found = TaskRing(7, 7, at_end=at_end), TaskRing(7, 7).empty(), []
    for arrivals in arrivals_of([[0, 1, 2, 0], [1, 1], [2, 0, 1, 2]]):
        draws, held = memory.replay(
            held, arrivals, np.array([0, 1]), Groups(3, 9), np.random.default_rng(0)
        )
        found += np.where(draws.real, draws.examples.row, -1).tolist()
    none = [-1] * 7
    assert found[0] == none
    assert found[1] == (none if at_end else [0, *none[1:]])
    assert found[4] == [2, 3, 4, 5, -1, -1, -1]
    assert found[5] == (found[4] if at_end else [2, 3, 4, 5, 6, -1, -1])


def test_exemplars_are_the_first_of_each_class_in_shares_that_shrink():
    memory, held = ExemplarMemory(7, 0), ExemplarMemory(7, 0).empty()
    first, second = arrivals_of([[0, 1] * 4, [2, 2, 2]])
    held = memory.store_ranked(held, first, np.array([3, 0, 2, 1, 1, 2, 0, 3.0]))
    assert held.examples.row[held.filled].tolist() == [6, 4, 2, 1, 3, 5]
    held = memory.store_ranked(held, second, np.array([0.0, 2, 1]))
    assert held.examples.row[held.filled].tolist() == [6, 4, 1, 3, 8, 10]
    assert held.examples[6:].tuples() == [(0, 0, 0, 0)]


def test_exemplars_of_a_class_that_comes_back_are_kept_once():
    memory = ExemplarMemory(8, 0)
    first, more = arrivals_of([[0, 0, 1], [0, 0]])
    held = memory.store_ranked(memory.empty(), first, np.array([1.0, 0, 2]))
    again = Rows.concat([first, more])
    held = memory.store_ranked(held, again, np.array([0.0, 1, 2, 4, 3]))
    assert held.examples.row[held.filled].tolist() == [1, 0, 4, 3, 2]


@given(UNITS, st.integers(0, 5), st.integers(0, 9))
def test_a_task_ring_keeps_the_last_examples_of_each_task_also_of_mixed_experiences(
    mixed, spare, seed
):
    """The numbers stand for tasks here, of which every experience has any."""
    memory = TaskRing(CLASSES + spare, 1)
    held, came = memory.empty(), []
    for number, tasks in enumerate(mixed):
        row = 100 * number + np.arange(len(tasks))
        arrivals = Rows.of(row, np.array(tasks), np.array(tasks) + row % 2)
        came += arrivals.tuples()
        random = np.random.default_rng(seed)
        _, held = memory.replay(held, arrivals, np.array([0]), Groups(CLASSES, 6), random)
    share = memory.size // CLASSES
    of_tasks = [[each for each in came if each[1] == task] for task in range(CLASSES)]
    expected = [each for members in of_tasks for each in members[-share:]]
    assert sorted(held.examples[held.filled].tuples()) == sorted(expected)
