"""Scores of regression, by hand and by their laws."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from retrograde.metrics.errors import ERRORS, learning_mse, mse, mse_forgetting, stream_mse
from retrograde.metrics.matrix import acc, forgetting, la

M = np.array(
    [
        [5.0, 6.0, 7.0],  # before training
        [1.0, 8.0, 9.0],
        [0.5, 2.0, 4.0],
        [3.0, 1.0, 0.25],
    ]
)
IN_ORDER = np.arange(3)


def test_scores_by_hand():
    assert mse(M) == pytest.approx((3 + 1 + 0.25) / 3)
    assert learning_mse(M, IN_ORDER) == pytest.approx((1 + 2 + 0.25) / 3)
    # The lowest earlier errors are 0.5 and 2: task 1 is forgotten by 2.5, task 2 gains 1.
    assert mse_forgetting(M, IN_ORDER) == pytest.approx((2.5 - 1) / 2)
    assert stream_mse(M, IN_ORDER) == pytest.approx((1 + (0.5 + 2) / 2 + 4.25 / 3) / 3)


def test_where_tasks_come_elsewhere_scores_look_at_their_experiences():
    # Task 3 comes with task 1, and counts as learned after the last experience.
    assert stream_mse(M, np.array([0, 1, 0])) == pytest.approx((10 / 2 + 6.5 / 3 + 4.25 / 3) / 3)
    assert learning_mse(M, np.array([1, 1, 2])) == pytest.approx((0.5 + 2 + 0.25) / 3)
    assert mse_forgetting(M, np.array([2, 1, 2])) == pytest.approx(1 - 2)
    assert np.isnan(mse_forgetting(M, np.array([2, 2, 2])))


def test_one_experience_has_no_forgetting():
    assert np.isnan(mse_forgetting(M[:2, :1], np.array([0])))


@given(arrays(float, (2, 4, 3), elements=st.floats(0, 1)))
def test_errors_that_are_one_less_accuracies_mirror_the_scores_of_accuracy(r):
    assert np.allclose(mse(1 - r), 1 - acc(r))
    assert np.allclose(learning_mse(1 - r, IN_ORDER), 1 - la(r, IN_ORDER))
    assert np.allclose(mse_forgetting(1 - r, IN_ORDER), forgetting(r, IN_ORDER))


def test_every_score_takes_a_stack_and_is_better_if_lower():
    inputs = {"MSE": np.stack([M, 2 * M]), "first": IN_ORDER, "learned": IN_ORDER}
    for metric in ERRORS:
        one, twice = metric.of(*(inputs[name] for name in metric.needs))
        assert twice == pytest.approx(2 * one)
        assert not metric.higher_is_better
        assert not metric.percent
