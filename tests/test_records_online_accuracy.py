"""Online accuracy: its numbers, and the inconsistencies that it finds."""

import re
from dataclasses import replace

import numpy as np
import pytest

from retrograde.records.experiences import Experiences
from retrograde.records.online_accuracy import OnlineAccuracy

STREAM = [20, 30]  # test examples of each task
TWO = OnlineAccuracy(
    [10, 20], [0, 0, 0, 1, 1, 1], [0, 2, 4, 6, 8, 9], [[1], [5], [9, 4], [6, 8], [4, 14], [8, 18]]
)
NONE = float("nan")
PAIR = Experiences.one_per_task(2)
# Two tasks from the start on, in three experiences.
BLURRY = OnlineAccuracy(
    [10, 20], [0, 0, 1, 2, 2], [0, 4, 6, 7, 9], [[1, 0], [9, 4], [6, 8], [4, 14], [8, 18]]
)
THREE = Experiences(3, [0, 0], [0, 2])


def test_accuracies_are_quotients_where_a_task_was_tested_and_missing_elsewhere():
    expected = [[0.1, NONE], [0.5, NONE], [0.9, 0.2], [0.6, 0.4], [0.4, 0.7], [0.8, 0.9]]
    assert np.array_equal(TWO.accuracy, expected, equal_nan=True)


def test_an_experience_ends_at_its_last_test():
    assert TWO.ends.tolist() == [2, 5]
    assert TWO.inconsistency(STREAM, PAIR) == ""
    assert BLURRY.ends.tolist() == [1, 2, 4]
    assert BLURRY.inconsistency(STREAM, THREE) == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"test_examples": [10]}, "not among those"),
        ({"test_examples": [10, 31]}, "not among those"),
        ({"test_examples": [0, 20]}, "not among those"),
        ({"task": [0, 0, 0, 1, 1]}, "do not fit its experiences"),
        ({"task": [0] * 6}, "do not fit its experiences"),
        ({"task": [0, 0, 0, 1, 1, 2]}, "do not fit its experiences"),
        ({"step": [0, 2, 4, 6, 8]}, "do not fit its experiences"),
        ({"correct": TWO.correct[1:]}, "do not fit its experiences"),
        ({"task": [0, 1, 0, 1, 1, 1]}, "not in order"),
        ({"step": [0, 4, 2, 6, 8, 9]}, "not in order"),
        ({"step": [1, 2, 4, 6, 8, 9]}, "not in order"),
        ({"correct": [*TWO.correct[:3], [6], *TWO.correct[4:]]}, "number of tasks"),
        ({"correct": [*TWO.correct[:5], [8, 18, 1]]}, "number of tasks"),
        ({"correct": [[-1], *TWO.correct[1:]]}, "below 0"),
        ({"correct": [[11], *TWO.correct[1:]]}, "above the number"),
    ],
    ids=str,
)
def test_an_inconsistent_history_says_why(change, reason):
    assert re.search(reason, replace(TWO, **change).inconsistency(STREAM, PAIR))


def test_an_evaluation_covers_the_tasks_seen_so_far():
    later = Experiences(3, [0, 2], [0, 2])
    assert "number of tasks" in BLURRY.inconsistency(STREAM, later)
    prefixes = replace(BLURRY, correct=[[1], [9], [6, 8], [4, 14], [8, 18]])
    assert prefixes.inconsistency(STREAM, later) == ""
    assert "number of tasks" in prefixes.inconsistency(STREAM, THREE)
