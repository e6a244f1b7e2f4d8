"""The experiences of a stream: which tasks are seen, and the inconsistencies found."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from retrograde.records.experiences import Experiences
from retrograde.records.record import Damaged, Record
from retrograde.records.statistics import Statistics
from retrograde.records.validation import Validation

# Four experiences of three tasks: the second task comes back, the third comes last.
REPEATING = Experiences(4, [0, 1, 1], [0, 3, 2])
COUNTS = ((1, 0, 0), (7, 1, 0), (6, 5, 1), (5, 4, 7), (4, 6, 5))


@pytest.fixture
def repeating(make_record):
    return make_record(correct=COUNTS, of=7, experiences=REPEATING)


def test_the_tasks_seen_so_far_are_those_first_seen_in_an_experience_or_before():
    assert [REPEATING.seen(number) for number in range(4)] == [1, 3, 3, 3]
    assert Experiences.one_per_task(2).seen(0) == 1
    # Task 2 comes before task 1: tasks so far are those without a gap.
    gap = Experiences(3, [0, 2, 1], [2, 2, 2])
    assert [gap.seen(number) for number in range(3)] == [1, 1, 3]


@given(st.integers(1, 9))
def test_with_one_experience_a_task_each_task_is_learned_where_it_is_first_seen(tasks):
    experiences = Experiences.one_per_task(tasks)
    assert experiences.first == experiences.learned == [*range(tasks)]
    assert experiences.complete_tasks
    assert experiences.inconsistency(tasks) == ""
    assert not replace(experiences, count=tasks + 1).complete_tasks


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"first": [0, 1]}, "numbers of tasks"),
        ({"learned": [0, 1, 1, 1]}, "numbers of tasks"),
        ({"first": [1, 1, 1]}, "no task comes in the first"),
        ({"learned": [0, 0, 3]}, "before it is first seen"),
        ({"learned": [0, 3, 4]}, "after the last of 4"),
    ],
    ids=str,
)
def test_inconsistent_experiences_say_why(change, fault):
    assert re.search(fault, replace(REPEATING, **change).inconsistency(3))


def test_a_record_with_experiences_comes_back_with_a_row_for_each_of_them(repeating):
    assert REPEATING.inconsistency(3) == ""
    assert Record.from_json(repeating.to_json()) == repeating
    assert repeating.timeline == REPEATING
    assert repeating.R.shape == (5, 3)


def test_a_record_without_experiences_has_one_for_each_task(make_record):
    assert make_record().timeline == Experiences.one_per_task(2)


@pytest.mark.parametrize("rows", [COUNTS[:4], (*COUNTS, COUNTS[0])], ids=len)
@pytest.mark.parametrize("name", ["correct", "correct_given_task"])
def test_a_record_that_is_done_has_a_row_before_training_and_after_each_experience(
    repeating, name, rows
):
    record = replace(repeating, **{name: [*map(list, rows)]})
    with pytest.raises(Damaged, match=f"^{name}: .* evaluations, 5"):
        Record.from_json(record.to_json())


def test_a_record_with_impossible_experiences_is_damaged(repeating):
    record = replace(repeating, experiences=replace(REPEATING, learned=[0, 3, 4]))
    with pytest.raises(Damaged, match=r"experiences\.learned"):
        Record.from_json(record.to_json())


def test_gradients_are_of_streams_in_which_each_experience_trains_one_task(make_record, make_probe):
    probed = make_record(gradients=[make_probe(0, [[1, 0], [0, 1]])])
    same = replace(probed, experiences=Experiences.one_per_task(2))
    assert Record.from_json(same.to_json()) == same
    together = replace(probed, experiences=Experiences(2, [0, 0], [1, 1]))
    with pytest.raises(Damaged, match="gradients or accounts"):
        Record.from_json(together.to_json())


def test_statistics_are_of_experiences_and_validation_has_a_row_for_each(repeating):
    statistics = Statistics([0, 1, 2, 3], [1, 2, 3, 4], {"penalty": [0.5] * 4})
    validation = Validation([7] * 3, [*map(list, COUNTS)], [])
    whole = replace(repeating, statistics=statistics, validation=validation)
    assert Record.from_json(whole.to_json()) == whole
    late = replace(statistics, experience=[0, 1, 2, 4])
    short = replace(validation, correct=validation.correct[:4])
    for change, fault in (
        ({"statistics": late}, "windows of its statistics"),
        ({"validation": short}, r"validation\.correct: 4 rows for 4 experiences"),
    ):
        with pytest.raises(Damaged, match=fault):
            Record.from_json(replace(whole, **change).to_json())
