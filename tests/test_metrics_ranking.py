import itertools

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import friedmanchisquare

from retrograde.metrics.ranking import critical_difference, friedman, ranks, tied_groups


def test_average_ranks_are_the_published_ones(demsar):
    assert ranks(-demsar).tolist() == demsar.tolist()
    assert ranks(-demsar).mean(axis=0) == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)


def test_friedmans_statistic_is_the_published_one_but_for_its_correction_for_ties(demsar):
    """He does not correct; the correction divides by 1 less the share of ties: sum t^3 - t over N k (k^2 - 1)."""
    ties = (3 * (2**3 - 2) + (4**3 - 4)) / (14 * 4 * 15)
    uncorrected = friedman(-demsar).chi2 * (1 - ties)
    assert uncorrected == pytest.approx(9.28, abs=0.005)
    assert 13 * uncorrected / (14 * 3 - uncorrected) == pytest.approx(3.69, abs=0.005)  # his F_F


def rankings(*orders):
    """Scores with these ranks."""
    return -np.array(orders, dtype=float)


def orders_as_far(scores):
    """The share of all orders of all benchmarks whose chi-squared is as large, by plain enumeration."""
    found = friedmanchisquare(*scores.T).statistic
    every = itertools.product(*(itertools.permutations(row) for row in scores))
    return np.mean(
        [friedmanchisquare(*np.array(rows).T).statistic >= found - 1e-9 for rows in every]
    )


@pytest.mark.parametrize(
    ("orders", "p"),
    [
        ([[1, 2, 3, 4, 5, 6]] * 2, 1 / 720),
        ([[1, 2, 3]] * 3, 1 / 36),
        ([[1, 2, 3, 4]] * 3, 1 / 576),
        ([[1, 2, 3]] * 3 + [[1, 3, 2]], 0.042),  # chi-squared 6.5
        ([[1, 2, 3, 4], [1, 2, 3, 4], [2, 1, 4, 3]], 0.033),  # 7.4
        ([[1, 2, 3, 4], [2, 1, 3, 4]], 0.167),  # 5.4
    ],
)
def test_the_p_value_of_few_benchmarks_is_that_of_friedmans_tables(orders, p):
    found = friedman(rankings(*orders))
    assert found.draws == 0
    assert found.p == pytest.approx(p, abs=6e-4 if p > 0.01 else 1e-12)


@settings(max_examples=15)
@given(
    st.sampled_from([(2, 3), (3, 3), (2, 4)]).flatmap(
        lambda shape: arrays(float, shape, elements=st.integers(0, 4))
    )
)
def test_the_p_value_counts_every_order_with_ties_as_they_are(scores):
    if np.all(np.ptp(scores, axis=1) == 0):
        assert np.isnan(friedman(scores).p)
    else:
        assert friedman(scores).p == pytest.approx(orders_as_far(scores))


@pytest.mark.parametrize(
    ("benchmarks", "strategies", "exact"),
    [(14, 4, True), (2, 9, True), (2, 10, False), (12, 8, False)],
)
def test_many_orders_are_counted_where_they_can_be_and_drawn_beyond(benchmarks, strategies, exact):
    scores = np.random.default_rng(5).normal(size=(benchmarks, strategies)) + np.linspace(
        0, 0.6, strategies
    )
    found, by_chance = friedman(scores), np.random.default_rng(6)
    limit = friedmanchisquare(*scores.T).statistic
    others = by_chance.permuted(np.broadcast_to(scores, (1000, *scores.shape)), axis=2)
    share = np.mean([friedmanchisquare(*other.T).statistic >= limit - 1e-9 for other in others])
    assert (found.draws == 0) == exact
    assert found.p == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 1000) + 1e-3)
    assert friedman(scores) == found


def test_equal_strategies_differ_by_ranks_in_5_percent_of_stores_at_most():
    draw = np.random.default_rng(0)
    p = np.array([friedman(draw.normal(size=(2, 6))).p for _ in range(400)])
    assert np.mean(p < 0.05) <= 0.05 + 2.33 * np.sqrt(0.05 * 0.95 / 400)
    assert np.mean(p < 0.05) > 0.01  # two benchmarks can tell six strategies apart


@pytest.mark.parametrize(("level", "q", "cd"), [(0.95, 2.569, 1.25), (0.90, 2.291, 1.12)])
def test_the_critical_difference_is_the_published_one(level, q, cd):
    assert critical_difference(4, 14, level) == pytest.approx(cd, abs=0.005)
    assert critical_difference(4, 14, level) == pytest.approx(
        q * np.sqrt(4 * 5 / (6 * 14)), abs=5e-4
    )


@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_critical_values_are_those_of_his_table_5(k, q):
    assert critical_difference(k, 7) / np.sqrt(k * (k + 1) / 42) == pytest.approx(q, abs=1e-3)


def test_the_bars_of_the_published_diagram_join_all_at_5_percent_and_two_groups_at_10(demsar):
    average = ranks(-demsar).mean(axis=0)
    assert np.array(tied_groups(average, 1.25)) == pytest.approx(
        np.array([[1.964, 3.143]]), abs=5e-4
    )
    assert np.array(tied_groups(average, 1.12)) == pytest.approx(
        np.array([[1.964, 2.893], [2.893, 3.143]]), abs=5e-4
    )


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
        assert any(low <= min(a, b) and max(a, b) <= high for low, high in bars) == (
            abs(a - b) < critical
        )


@pytest.mark.parametrize(
    "scores",
    [np.ones((3, 3)), np.eye(3)[:1], np.eye(3)[:, :2], np.empty((0, 0))],
    ids=["equal", "one", "two", "none"],
)
def test_there_is_no_test_of_equal_scores_one_benchmark_or_two_strategies(scores):
    assert np.isnan(friedman(scores)[:2]).all()
    assert friedman(scores).significance == "no p"


def test_scores_that_differ_by_rounding_alone_share_a_rank():
    assert ranks(np.array([[0.1 + 0.2, 0.3, 0.5]])).tolist() == [[2.5, 2.5, 1]]
