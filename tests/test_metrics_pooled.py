"""Scores pooled over test examples, and of incoming examples: by hand, and the laws they keep."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from retrograde.metrics import pooled
from retrograde.metrics.frames import cell_labels, score_frame
from retrograde.metrics.pooled import POOLED
from retrograde.records.class_counts import ClassCounts
from retrograde.records.experiences import Experiences
from retrograde.records.online_accuracy import OnlineAccuracy
from retrograde.records.prequential import Prequential

PAIR = Experiences.one_per_task(2)
CORRECT = [[3, 0], [9, 1], [6, 4]]
TESTS = [10, 5]
# Unit 2 belongs to the first task and comes in the second experience; unit 3 never comes.
COUNTS = ClassCounts(
    task=[0, 0, 1, 1],
    output=[0, 2, 1, 3],
    examples=[6, 4, 3, 2],
    first=[0, 1, 1, 2],
    correct=[[3, 0, 0, 0], [5, 4, 1, 0], [4, 2, 3, 1]],
    predicted=[[15, 0, 0, 0], [7, 1, 7, 0], [3, 6, 4, 2]],
)


@pytest.fixture
def counted(make_record):
    return replace(make_record(correct=CORRECT), test_examples=TESTS)


def scores(*records):
    frame = score_frame(records, cell_labels(records), POOLED)
    return frame.set_index("metric").value.to_dict()


def test_an_old_record_is_pooled_over_the_tasks_seen_so_far(counted):
    expected = {"AIA": (9 / 10 + 10 / 15) / 2, "ACC_pooled": 10 / 15}
    assert scores(counted) == pytest.approx(expected)


def test_a_record_with_counts_by_class_is_pooled_over_the_classes_seen_so_far(counted):
    record = replace(counted, classes=COUNTS)
    found = scores(record)
    assert found["AIA"] == pytest.approx((5 / 6 + 9 / 13) / 2)
    assert found["ACC_pooled"] == pytest.approx(10 / 15)


def test_recency_bias_is_the_share_of_predictions_less_that_of_tests_among_classes_seen():
    expected = (6 + 4) / (3 + 6 + 4) - (4 + 3) / (6 + 4 + 3)
    assert pooled.recency_bias(COUNTS, PAIR) == pytest.approx(expected)


def test_a_model_that_predicts_the_newest_classes_alone_has_the_largest_bias():
    newest = replace(COUNTS, predicted=[[0, 10, 5, 0]])
    assert pooled.recency_bias(newest, PAIR) == pytest.approx(1 - 7 / 13)
    oldest = replace(COUNTS, predicted=[[15, 0, 0, 0]])
    assert pooled.recency_bias(oldest, PAIR) == pytest.approx(-7 / 13)


@pytest.mark.parametrize(
    "change", [{"predicted": []}, {"first": [0, 0, 0, 0]}, {"predicted": [[0, 0, 0, 15]]}]
)
def test_without_predictions_of_classes_seen_or_newest_classes_there_is_no_recency_bias(change):
    assert math.isnan(pooled.recency_bias(replace(COUNTS, **change), PAIR))


def test_the_area_under_the_curve_is_that_of_its_trapezoids():
    history = OnlineAccuracy([10, 30], [0, 0, 1, 1], [0, 2, 6, 8], [[1], [9, 5], [8, 20], [6, 30]])
    # The accuracies are 0.1, 0.9, 0.7 and 0.9: a task that was not seen does not count.
    expected = (2 * 0.5 + 4 * 0.8 + 2 * 0.8) / 8
    assert pooled.area_under_curve(history, PAIR) == pytest.approx(expected)
    both = Experiences(2, [0, 0], [1, 1])
    prefixed = replace(history, correct=[[1, 0], [9, 5], [8, 20], [6, 30]])
    others = (2 * (0.025 + 0.35) / 2 + 4 * (0.35 + 0.7) / 2 + 2 * 0.8) / 8
    assert pooled.area_under_curve(prefixed, both) == pytest.approx(others)


def test_a_stream_of_one_experience_has_no_newest_classes_and_no_recency_bias():
    whole = replace(COUNTS, first=[0, 0, 0, 1], correct=COUNTS.correct[:2])
    assert math.isnan(pooled.recency_bias(whole, Experiences(1, [0, 0], [0, 0])))


@given(st.integers(0, 10), st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_the_area_under_a_level_curve_is_its_level(right, gaps):
    step = np.cumsum([0, *gaps]).tolist()
    n = len(step)
    history = OnlineAccuracy([10], [0] * n, step, [[right]] * n)
    area = pooled.area_under_curve(history, Experiences.one_per_task(1))
    assert area == pytest.approx(right / 10)


def test_online_accuracy_counts_every_incoming_example_alike(make_record):
    record = make_record(prequential=Prequential([3, 40], [10, 90]))
    assert scores(record)["online_ACC"] == pytest.approx(0.43)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 9), st.randoms())
def test_classes_of_any_order_and_size_give_the_pooled_accuracy_of_their_sum(sizes, seed, random):
    draw = np.random.default_rng(seed)
    correct = draw.integers(0, np.array(sizes) + 1, (3, len(sizes)))
    first = draw.integers(0, 2, len(sizes))
    order = random.sample(range(len(sizes)), len(sizes))
    examples = np.array(sizes)
    found = pooled.accuracy_so_far(correct, examples, first)
    again = pooled.accuracy_so_far(correct[:, order], examples[order], first[order])
    assert np.array_equal(found, again, equal_nan=True)
    assert found[-1] == pytest.approx(correct[-1].sum() / sum(sizes))


@given(st.integers(1, 5), st.integers(0, 99))
def test_with_tasks_of_one_size_the_pooled_accuracy_is_the_mean_over_tasks(tasks, seed):
    r = np.random.default_rng(seed).integers(0, 11, (tasks + 1, tasks)) / 10
    assert pooled.pooled_acc(r, np.full(tasks, 10)) == pytest.approx(r[-1].mean())


def test_every_score_has_a_name_of_its_own_a_meaning_and_a_source_with_its_year():
    assert len({metric.name for metric in POOLED}) == len(POOLED) == 5
    assert all(metric.what and metric.source[-4:].isdigit() for metric in POOLED)


def test_only_the_bias_is_better_when_lower():
    lower = {metric.name for metric in POOLED if not metric.higher_is_better}
    assert lower == {"recency_bias"}
