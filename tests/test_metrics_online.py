"""Scores of the whole way along a stream: by hand, and the laws they keep."""

import inspect
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, strategies as st

from retrograde.metrics import online
from retrograde.metrics.online import METRICS
from retrograde.records.experiences import Experiences
from retrograde.records.online_accuracy import OnlineAccuracy

TWO = OnlineAccuracy(
    [10, 10], [0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 4, 5], [[1], [5], [9, 2], [6, 4], [4, 7], [8, 9]]
)
THREE = OnlineAccuracy(
    [10] * 3, [0, 0, 1, 1, 2, 2], [0, 5, 10, 15, 20, 25], [[0], [9, 3], [5, 6], [7, 8, 1], [8, 5, 4], [6, 7, 9]]
)  # fmt: skip
ONE = OnlineAccuracy([10], [0, 0, 0], [0, 10, 20], [[1], [5], [7]])
# Three experiences of two tasks that are both there from the start; the first is learned last.
BLURRY = OnlineAccuracy(
    [10, 10], [0, 0, 1, 1, 2, 2], [0, 2, 4, 6, 8, 10],
    [[1, 2], [6, 4], [3, 5], [5, 7], [7, 3], [9, 6]],
)  # fmt: skip
TOGETHER = Experiences(3, [0, 0], [2, 1])
BY_HAND_BLURRY = [
    (online.average_anytime_accuracy, (0.5 + 0.4 + 0.6 + 0.5 + 0.75) / 5),
    (online.min_acc, 0.3),
    (online.wc_acc, 0.9 / 2 + 0.3 / 2),
    (online.stability_gap, (0.3 + 0 + 0 + 0.4) / 4),
    (online.recovery, (0.2 + 0.3 + 0.4 + 0.3) / 0.7),
    (partial(online.learning_curve_area, beta=2), (0.35 + 0.3) / 2),
]
BY_HAND = [
    (online.average_anytime_accuracy, 0.66, (0.9 + 0.55 + 0.75 + 17 / 30 + 22 / 30) / 5),
    (online.min_acc, 0.4, (0.5 + 0.5) / 2),
    (online.wc_acc, 0.65, 0.9 / 3 + 2 / 3 * 0.5),
    (online.stability_gap, 0.5, (0.4 + 0.1 + 0.3) / 3),
    (online.recovery, 0.4 / 0.5, (0.2 + 0 + 0.2) / (0.4 + 0.1 + 0.3)),
    (partial(online.windowed_forgetting, window=10), 0.25, (0.4 + 0.3 + 0) / 3),
    (partial(online.windowed_forgetting, window=2), 0.15, math.nan),
    (partial(online.windowed_plasticity, window=10), 0.75, (0.9 + 0.3 + 0.5) / 3),
    (partial(online.windowed_plasticity, window=2), 0.35, math.nan),
    (partial(online.learning_curve_area, beta=2), (0.5 + 1.3 / 3) / 2, math.nan),
    (partial(online.learning_curve_area, beta=5), math.nan, (0.45 + 0.45 + 0.25) / 3),
]


def of_tasks(score, history):
    """A score of a history in which each experience trains one task."""
    if "timeline" not in inspect.signature(score).parameters:
        return score(history)
    return score(history, Experiences.one_per_task(len(history.test_examples)))


@st.composite
def histories(draw, least=1):
    """Histories of a few tasks, a test every step, every second one, or at task ends alone."""
    tasks, every, tests = (
        draw(st.integers(least, 4)),
        draw(st.integers(1, 3)),
        draw(st.integers(1, 20)),
    )
    counts = partial(st.lists, st.integers(0, tests))
    task, correct = [0], [draw(counts(min_size=1, max_size=1))]
    for number in range(tasks):
        for last in (*[False] * draw(st.integers(0, 4)), True):
            size = min(number + 1 + last, tasks)
            task.append(number)
            correct.append(draw(counts(min_size=size, max_size=size)))
    return OnlineAccuracy([tests] * tasks, task, [every * n for n in range(len(task))], correct)


def inverted(history):
    """Right answers as wrong ones."""
    return replace(
        history,
        correct=[
            [of - n for n, of in zip(row, history.test_examples, strict=False)]
            for row in history.correct
        ],
    )


@pytest.mark.parametrize(("of", "two", "three"), BY_HAND)
def test_a_score_is_what_its_formula_gives_by_hand_for_two_and_for_three_tasks(of, two, three):
    assert of_tasks(of, TWO) == pytest.approx(two, abs=1e-12, nan_ok=True)
    assert of_tasks(of, THREE) == pytest.approx(three, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize(("of", "expected"), BY_HAND_BLURRY)
def test_a_score_is_what_its_formula_gives_by_hand_where_tasks_come_together(of, expected):
    assert BLURRY.inconsistency([10, 10], TOGETHER) == ""
    assert of(BLURRY, TOGETHER) == pytest.approx(expected, abs=1e-12)


def test_with_one_task_the_worst_case_is_its_accuracy_and_there_is_no_switch():
    assert of_tasks(online.wc_acc, ONE) == 0.7
    assert all(
        math.isnan(of_tasks(of, ONE))
        for of in (online.min_acc, online.stability_gap, online.recovery)
    )


@given(histories())
def test_made_up_histories_are_possible_ones(history):
    each = Experiences.one_per_task(len(history.test_examples))
    assert history.inconsistency(history.test_examples, each) == ""


@given(histories(least=2))
def test_the_worst_case_is_at_most_the_accuracy_at_the_end(history):
    assert of_tasks(online.min_acc, history) <= history.accuracy[-1, :-1].mean() + 1e-12
    assert of_tasks(online.wc_acc, history) <= history.accuracy[-1].mean() + 1e-12


@given(histories(least=2))
def test_gap_and_recovery_are_no_less_than_0_and_differ_by_what_is_lost_for_good(history):
    gap, recovery, ends = (
        of_tasks(online.stability_gap, history),
        of_tasks(online.recovery, history),
        history.accuracy[history.ends],
    )
    lost = [(ends[i] - ends[i + 1])[: i + 1] for i in range(len(ends) - 1)]
    assert gap >= 0
    if gap:
        assert gap * (1 - recovery) == pytest.approx(np.concatenate(lost).mean(), abs=1e-12)
    else:
        assert math.isnan(recovery)


@given(histories(), st.integers(2, 12))
def test_a_wrong_answer_gained_is_a_right_one_lost(history, window):
    fall, rise = (
        online.windowed_forgetting(history, window),
        online.windowed_plasticity(inverted(history), window),
    )
    assert fall == pytest.approx(rise, abs=1e-12, nan_ok=True)


@given(histories(), st.integers(4, 12))
def test_a_wider_window_shows_no_less(history, window):
    for of in (online.windowed_forgetting, online.windowed_plasticity):
        assert of(history, window) <= of(history, window + 1) + 1e-12


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
@given(history=histories(least=2))
def test_a_learner_that_never_changes_has_one_accuracy_at_any_time_and_no_gap(metric, history):
    half = replace(
        history,
        test_examples=[20] * len(history.test_examples),
        correct=[[10] * len(row) for row in history.correct],
    )
    level = 0.5 if metric.name in {"AAA", "min_ACC", "WC_ACC", "LCA10"} else 0.0
    assert of_tasks(metric.of, half) in (pytest.approx(level), pytest.approx(math.nan, nan_ok=True))


@given(histories(least=2), st.data())
def test_tests_of_the_task_in_training_do_not_count_for_the_worst_case_of_the_others(history, data):
    learning = [n for n, task in enumerate(history.task) if n not in history.ends]
    changed = [list(row) for row in history.correct]
    for n in learning:
        changed[n][history.task[n]] = data.draw(st.integers(0, history.test_examples[0]))
    other = replace(history, correct=changed)
    assert of_tasks(online.wc_acc, other) == of_tasks(online.wc_acc, history)


def test_every_score_has_a_name_of_its_own_a_meaning_and_a_source():
    assert len({metric.name for metric in METRICS}) == len(METRICS) == 10
    assert all(
        metric.needs[0] == "online_accuracy" and metric.what and metric.source[-4:].isdigit()
        for metric in METRICS
    )
