"""Correlations within runs, against analyses of covariance by least squares."""

import numpy as np
import pytest
from scipy.stats import pearsonr, ttest_1samp

from retrograde.metrics.repeated_measures import repeated_measures, residuals


def drawn(seeds=4, methods=2, points=7, slope=-0.8, noise=0.5):
    """Runs of several methods on several seeds, whose levels rise with the method while y falls with x in each."""
    draw = np.random.default_rng(3)
    seed, run = np.repeat(
        [[s, s * methods + m] for s in range(seeds) for m in range(methods)], points, axis=0
    ).T
    x = draw.normal(size=len(run)) + 3 * (run % methods)
    y = slope * (x - 3 * (run % methods)) + 5 * (run % methods) + noise * draw.normal(size=len(run))
    return x, y, run, seed


def by_ancova(x, y, run, given=None):
    """The correlation of Bakdash and Marusich: from sums of squares with a dummy, and covariates, for each run."""
    dummies = (run[:, None] == np.unique(run)).astype(float)
    blocks = (
        [dummies]
        if given is None
        else [dummies, *(dummies * column[:, None] for column in given.T)]
    )
    without = np.column_stack(blocks)
    whole = np.column_stack([without, x])
    fitted = np.linalg.lstsq(whole, y, rcond=None)[0]
    left = ((y - whole @ fitted) ** 2).sum()
    before = ((y - without @ np.linalg.lstsq(without, y, rcond=None)[0]) ** 2).sum()
    return np.sign(fitted[-1]) * np.sqrt((before - left) / before)


def test_the_correlation_is_that_of_an_analysis_of_covariance():
    data = drawn()
    assert repeated_measures(*data).r == pytest.approx(by_ancova(*data[:3]))


def test_given_covariates_the_correlation_is_that_with_them_in_every_run():
    x, y, run, seed = drawn()
    given = np.random.default_rng(1).normal(size=(len(x), 2)) + x[:, None]
    assert repeated_measures(x, y, run, seed, given).r == pytest.approx(by_ancova(x, y, run, given))


def test_one_run_has_the_plain_correlation_and_no_interval():
    x, y, *_ = drawn(seeds=1, methods=1)
    found = repeated_measures(x, y, np.zeros(len(x), int), np.zeros(len(x), int))
    assert found.r == pytest.approx(pearsonr(x, y)[0])
    assert np.isnan([found.low, found.high, found.p]).all()
    assert (found.seeds, found.runs, found.significance) == (1, 1, "no p")


def test_the_sign_within_runs_is_found_where_that_between_them_is_the_opposite():
    x, y, run, seed = drawn()
    assert pearsonr(x, y)[0] > 0.3
    found = repeated_measures(x, y, run, seed)
    assert found.high < -0.5
    assert (found.seeds, found.runs, found.negative) == (4, 8, 8)


def test_interval_and_p_are_those_of_a_t_test_over_seeds():
    x, y, run, seed = drawn()
    z = [np.arctanh(by_ancova(x[seed == s], y[seed == s], run[seed == s])) for s in range(4)]
    expected = ttest_1samp(z, 0)
    bounds = np.tanh(expected.confidence_interval(0.95))
    found = repeated_measures(x, y, run, seed)
    assert (found.low, found.high, found.p) == pytest.approx((*bounds, expected.pvalue))


def test_copies_of_a_run_under_one_seed_do_not_make_it_surer():
    x, y, run, seed = drawn(methods=1)
    twice = (np.tile(x, 2), np.tile(y, 2), np.concatenate([run, run + 100]), np.tile(seed, 2))
    assert repeated_measures(*twice)[:4] == pytest.approx(repeated_measures(x, y, run, seed)[:4])


def test_without_an_effect_p_is_below_5_percent_in_about_5_percent_of_cases():
    draw = np.random.default_rng(0)
    run = np.repeat(np.arange(10), 8)
    found = [repeated_measures(*draw.normal(size=(2, 80)), run, run % 5).p for _ in range(400)]
    assert 0.02 < np.mean(np.array(found) < 0.05) < 0.09


def test_points_that_are_not_known_are_left_out_and_short_runs_with_them():
    x, y, run, seed = drawn()
    holed = np.where((run == 0) | (np.arange(len(x)) % 7 == 3), np.nan, x)
    keep = ~np.isnan(holed)
    found = repeated_measures(holed, y, run, seed)
    assert found == pytest.approx(repeated_measures(x[keep], y[keep], run[keep], seed[keep]))
    assert found.runs == 7


@pytest.mark.parametrize("points", [0, 1, 2])
def test_too_few_points_have_no_correlation(points):
    ones = np.ones(points, int)
    assert np.isnan(
        repeated_measures(np.arange(points) * 1.0, np.arange(points) * 2.0, ones, ones).r
    )


def test_a_side_that_never_varies_within_runs_has_no_correlation():
    _, y, run, seed = drawn()
    assert np.isnan(repeated_measures(run * 0.1, y, run, seed).r)


def test_perfect_runs_stay_finite():
    x, _, run, seed = drawn()
    found = repeated_measures(x, 2 * x, run, seed)
    assert found.r == pytest.approx(1)
    assert found.low == pytest.approx(1)


def test_residuals_do_not_depend_on_the_covariates_scale_and_survive_copies_of_them():
    x, y, *_ = drawn(seeds=1, methods=1)
    one = residuals(y, x[:, None])
    assert residuals(y, np.column_stack([1e6 * x + 5, x])) == pytest.approx(one)
    assert one @ x == pytest.approx(0, abs=1e-9)


def test_runs_of_two_points_are_counted_by_their_sign_and_runs_without_a_residual_are_not():
    x, y = np.tile([0.0, 1.0], 15), np.tile([1.0, 0.0], 15)
    run = np.repeat(np.arange(15), 2)
    found = repeated_measures(x, y, run, run // 3)
    assert (found.r, found.runs, found.negative, found.points) == (pytest.approx(-1), 15, 15, 30)
    given = np.tile([0.0, 1.0], 15)[:, None]
    found = repeated_measures(x, y, run, run // 3, given)
    assert (found.runs, found.negative, found.points) == (0, 0, 0)
