"""Correct answers by class: what a record with them says, and the inconsistencies found."""

import re
from dataclasses import replace
from itertools import chain

import pytest
from hypothesis import given, strategies as st

from retrograde.records.class_counts import ClassCounts
from retrograde.records.record import Damaged, Record

TESTS = [10, 5]
CORRECT = [[3, 0], [9, 1], [6, 4]]
# The first task has two classes, the second task one of its own.
TWO = ClassCounts(
    task=[0, 0, 1],
    output=[0, 2, 1],
    examples=[6, 4, 5],
    first=[0, 0, 1],
    correct=[[3, 0, 0], [5, 4, 1], [4, 2, 4]],
    predicted=[[15, 0, 0], [7, 1, 7], [5, 8, 2]],
)


@pytest.fixture
def counted(make_record):
    return replace(make_record(correct=CORRECT, classes=TWO), test_examples=TESTS)


def test_a_record_with_counts_by_class_comes_back_as_it_was(counted):
    assert Record.from_json(counted.to_json()) == counted


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"output": [0, 2]}, "numbers of pairs"),
        ({"first": []}, "numbers of pairs"),
        ({"correct": [[3, 0, 0], [5, 4, 1], [4, 2]]}, "numbers of pairs"),
        ({"output": [2, 0, 1]}, "not in order"),
        ({"output": [0, 0, 1]}, "not in order"),
        ({"first": [0, 0, 3]}, "2 experiences"),
        ({"examples": [5, 4, 5]}, "not those of the tasks"),
        ({"task": [0, 0, 0], "output": [0, 1, 2]}, "not those of the tasks"),
        ({"correct": [[3, 0, 0], [5, 4, 1], [4, 3, 4]]}, "not those on the tasks"),
        ({"correct": [[3, 0, 0], [5, 4, 1]]}, "not those on the tasks"),
        ({"correct": [[3, 0, 0], [4, 5, 1], [4, 2, 4]]}, "above the number"),
        ({"predicted": [[15, 0, 0]] * 2}, "rows or of output units"),
        ({"predicted": [[13, 2]] * 3}, "rows or of output units"),
        ({"predicted": [[14, 0, 0]] * 3}, "as many as the test"),
    ],
    ids=str,
)
def test_inconsistent_counts_by_class_say_why(counted, change, fault):
    record = replace(counted, classes=replace(TWO, **change))
    with pytest.raises(Damaged, match=rf"^classes.*{fault}"):
        Record.from_json(record.to_json())


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=3), min_size=1, max_size=4))
def test_a_class_that_never_comes_in_training_is_first_seen_after_all_experiences(sizes):
    pairs = [(task, unit) for task, of_task in enumerate(sizes) for unit in range(len(of_task))]
    task, output = map(list, zip(*pairs, strict=True))
    examples = [*chain(*sizes)]
    tests = [*map(sum, sizes)]
    counts = ClassCounts(task, output, examples, [len(sizes)] * len(task), [examples], [])
    assert counts.inconsistency(tests, [tests], len(sizes)) == ""
    assert re.search("experiences", counts.inconsistency(tests, [tests], len(sizes) - 1))
