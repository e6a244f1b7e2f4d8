import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrograde.ranks import critical_difference, friedman, ranks, tied_groups


def test_average_ranks_are_the_published_ones(demsar):
    assert ranks(-demsar).tolist() == demsar.tolist()
    assert ranks(-demsar).mean(axis=0) == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)


def test_friedmans_statistic_is_the_published_one_but_for_its_correction_for_ties(demsar):
    """He does not correct; the correction divides by 1 less the share of ties: sum t^3 - t over N k (k^2 - 1)."""
    ties = (3 * (2**3 - 2) + (4**3 - 4)) / (14 * 4 * 15)
    uncorrected = friedman(-demsar).chi2 * (1 - ties)
    assert uncorrected == pytest.approx(9.28, abs=0.005)
    assert 13 * uncorrected / (14 * 3 - uncorrected) == pytest.approx(3.69, abs=0.005)  # his F_F


@pytest.mark.parametrize(("level", "q", "cd"), [(0.95, 2.569, 1.25), (0.90, 2.291, 1.12)])
def test_the_critical_difference_is_the_published_one(level, q, cd):
    assert critical_difference(4, 14, level) == pytest.approx(cd, abs=0.005)
    assert critical_difference(4, 14, level) == pytest.approx(q * np.sqrt(4 * 5 / (6 * 14)), abs=5e-4)


@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_critical_values_are_those_of_his_table_5(k, q):
    assert critical_difference(k, 7) / np.sqrt(k * (k + 1) / 42) == pytest.approx(q, abs=1e-3)


def test_the_bars_of_the_published_diagram_join_all_at_5_percent_and_two_groups_at_10(demsar):
    average = ranks(-demsar).mean(axis=0)
    assert np.array(tied_groups(average, 1.25)) == pytest.approx(np.array([[1.964, 3.143]]), abs=5e-4)
    assert np.array(tied_groups(average, 1.12)) == pytest.approx(np.array([[1.964, 2.893], [2.893, 3.143]]), abs=5e-4)


@pytest.mark.parametrize(
    ("average", "critical", "expected"),
    [
        ([1, 2, 3], 0.5, []),
        ([1, 2, 3], 1.0, []),  # a difference as large as the critical one tells apart
        ([1, 2, 3], 1.5, [(1, 2), (2, 3)]),
        ([3, 1, 2], 2.5, [(1, 3)]),
        ([1, 1, 3], 0.5, [(1, 1)]),
        ([1, 1.2, 3, 3.3], 0.5, [(1, 1.2), (3, 3.3)]),
        ([], 1.0, []),
    ],
)
def test_bars_join_the_largest_groups_that_are_close(average, critical, expected):
    assert tied_groups(np.array(average, dtype=float), critical) == expected


@given(st.integers(2, 9), st.floats(0.1, 5), st.integers(0, 99))
def test_two_strategies_are_under_one_bar_just_where_they_are_close(k, critical, draw):
    average = np.random.default_rng(draw).uniform(1, k, size=k)
    bars = tied_groups(average, critical)
    for a, b in ((a, b) for i, a in enumerate(average) for b in average[:i]):
        assert any(low <= min(a, b) and max(a, b) <= high for low, high in bars) == (abs(a - b) < critical)


@pytest.mark.parametrize(
    "scores", [np.ones((3, 3)), np.eye(3)[:1], np.eye(3)[:, :2], np.empty((0, 0))], ids=["equal", "one", "two", "none"]
)
def test_there_is_no_test_of_equal_scores_one_benchmark_or_two_strategies(scores):
    assert np.isnan(friedman(scores)).all()
    assert friedman(scores).significance == "no p"


def test_scores_that_differ_by_rounding_alone_share_a_rank():
    assert ranks(np.array([[0.1 + 0.2, 0.3, 0.5]])).tolist() == [[2.5, 2.5, 1]]
