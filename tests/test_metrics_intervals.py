from itertools import chain

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr, ttest_1samp, ttest_ind

from retrograde.metrics.intervals import (
    bootstrap_interval,
    difference,
    rank_correlation,
    t_interval,
    t_intervals,
)

SCORE = st.integers(-1000, 1000).map(lambda k: k / 1000)
SAMPLES = st.integers(2, 12).flatmap(lambda n: arrays(float, n, elements=SCORE))


@given(SAMPLES)
def test_the_interval_is_that_of_scipy(values):
    assume(values.std() > 1e-6)
    low, high = ttest_1samp(values, 0).confidence_interval()
    assert t_interval(values) == pytest.approx(
        (values.mean(), low, high, len(values)), rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], (np.nan, np.nan, np.nan, 0)),
        ([0.3], (0.3, np.nan, np.nan, 1)),
        ([0.3] * 3, (0.3, 0.3, 0.3, 3)),
    ],
    ids=["none", "one", "three alike"],
)
def test_an_interval_has_bounds_from_two_values_on_and_no_width_where_all_are_equal(
    values, expected
):
    assert t_interval(np.array(values, dtype=float)) == pytest.approx(
        expected, abs=1e-12, nan_ok=True
    )


@given(st.lists(st.lists(SCORE, max_size=20), max_size=9))
def test_many_intervals_at_once_are_the_very_ones_of_each_alone(groups):
    values, n = np.array([*chain(*groups)], dtype=float), np.array([*map(len, groups)], dtype=int)
    alone = [t_interval(np.array(group, dtype=float))[:3] for group in groups]
    assert np.array_equal(t_intervals(values, n).T, np.array(alone).reshape(-1, 3), equal_nan=True)


@given(SAMPLES, SAMPLES)
def test_the_interval_of_a_difference_from_a_mean_of_known_error_is_welchs(a, b):
    assume(min(a.std(), b.std()) > 1e-6)
    low, high = ttest_ind(a, b, equal_var=False).confidence_interval()
    found = difference(a, b.mean(), b.std(ddof=1) / np.sqrt(len(b)), len(b))
    assert found == pytest.approx((a.mean() - b.mean(), low, high, len(a)), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("m", [1, 4])
def test_nineteen_of_twenty_intervals_of_a_difference_hold_it_where_the_other_runs_scatter_alike(m):
    ours, theirs = (
        np.random.default_rng(seed).normal(scale=0.05, size=(2000, n))
        for seed, n in ((7, 5), (8, m))
    )
    intervals = [
        difference(a + 0.3, b.mean(), np.nan, m) for a, b in zip(ours, theirs, strict=True)
    ]
    assert np.mean(
        [interval.low <= 0.3 <= interval.high for interval in intervals]
    ) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("error", [0.0, np.nan])
def test_a_difference_of_what_does_not_scatter_has_no_width(error):
    assert difference(np.full(3, 0.5), 0.2, error, 3) == pytest.approx((0.3, 0.3, 0.3, 3))


@pytest.mark.parametrize("n", [3, 5])
def test_nineteen_of_twenty_intervals_hold_the_true_mean(n):
    samples = np.random.default_rng(7).normal(loc=0.7, scale=0.05, size=(2000, n))
    held = [interval.low <= 0.7 <= interval.high for interval in map(t_interval, samples)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(
    ("a", "b", "rho", "p"),
    [
        ([1, 2], [3, 4], np.nan, np.nan),
        ([1, 1, 1, 1], [1, 2, 3, 4], np.nan, np.nan),
        ([1, 2, 9], [3, 4, 5], 1.0, np.nan),
        ([1, 2, 3, 4], [9, 7, 5, 2], -1.0, 2 / 24),
        ([1, 2, 3, 4], [1, 2, 4, 3], 0.8, 8 / 24),
        ([1, 1, 2, 2], [1, 1, 2, 2], 1.0, 8 / 24),  # ties: 4 of the 24 orders give 1, 4 give -1
    ],
)
def test_a_rank_correlation_is_that_computed_by_hand(a, b, rho, p):
    found = rank_correlation(np.array(a, dtype=float), np.array(b, dtype=float))
    assert found == pytest.approx((rho, p, len(a)), nan_ok=True)


def test_a_rank_correlation_of_many_pairs_is_that_of_scipy():
    a, b = np.random.default_rng(0).normal(size=(2, 12))
    assert rank_correlation(a, b)[:2] == pytest.approx(tuple(spearmanr(a, b)))


def test_the_significance_of_a_correlation_is_put_in_words():
    line = np.arange(20.0)
    assert [rank_correlation(line[:n], line[:n]).significance for n in (3, 4, 20)] == [
        "no p",
        "p = 0.083",
        "p < 0.001",
    ]


def test_the_bootstrap_bounds_of_two_values_are_these_and_of_one_there_are_none():
    """A quarter of the resamples is twice the one value, a quarter twice the other."""
    assert bootstrap_interval(np.array([[0.2, 0.4]])).ravel() == pytest.approx([0.2, 0.4])
    assert np.isnan(bootstrap_interval(np.array([[0.2]]))).all()
    assert bootstrap_interval(np.empty((0, 5))).shape == (2, 0)


@given(SAMPLES)
def test_bootstrap_bounds_of_a_row_do_not_depend_on_the_rows_beside_it_nor_on_chance(values):
    beside = np.stack([values, np.zeros_like(values), values + 1])
    low, high = bootstrap_interval(beside)
    assert bootstrap_interval(values[None]).ravel() == pytest.approx([low[0], high[0]], abs=1e-12)
    assert (low[2], high[2]) == pytest.approx((low[0] + 1, high[0] + 1), abs=1e-9)
    assert (low[1], high[1]) == (0, 0)
    assert values.min() - 1e-9 <= low[0] <= high[0] + 1e-9 <= values.max() + 2e-9


def test_the_bootstrap_interval_of_many_values_is_students():
    values = np.random.default_rng(0).normal(size=(1, 400))
    assert bootstrap_interval(values).ravel() == pytest.approx(t_interval(values[0])[1:3], abs=0.02)


def test_the_bootstrap_interval_of_five_values_holds_the_mean_in_five_of_six_cases():
    low, high = bootstrap_interval(np.random.default_rng(7).normal(size=(2000, 5)))
    assert np.mean((low <= 0) & (high >= 0)) == pytest.approx(0.84, abs=0.02)
