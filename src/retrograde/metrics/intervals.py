"""Intervals over replicates; correlations over cells."""

import itertools
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

LEVEL = 0.95
WIDEST = 1.0
"""Width above which an interval of a share says nothing: it would cover everything from 0 to 1."""
RESAMPLES = 2000
MAX_EXACT = 8
"""Pairs up to which the p-value of a rank correlation counts every order.

The usual approximation gives 0 for four pairs in one order.
"""


_NAN = float("nan")

BySeed = Mapping[int, float]
"""One number for each replicate, by its seed."""


class Interval(NamedTuple):
    """A mean with its two-sided 95 % t-interval over n replicates; NaN bounds where n < 2."""

    mean: float
    low: float
    high: float
    n: int


def t_interval(values: Float[np.ndarray, " n"]) -> Interval:
    """Student's t-interval of the mean."""
    n = len(values)
    if n < 2:
        only = float(values[0]) if n else _NAN
        return Interval(only, _NAN, _NAN, n)
    mean, half = map(float, _mean_and_half(values))
    return Interval(mean, mean - half, mean + half, n)


def t_intervals(
    values: Float[np.ndarray, " values"],
    n: Int[np.ndarray, " groups"],
) -> Float[np.ndarray, "numbers=3 groups"]:
    """Student's t-intervals of many means at once.

    Args:
        values: the values of all groups, one group after another.
        n: the number of values in each group.

    Returns:
        Mean, lower and upper bound of each group.
    """
    first = n.cumsum() - n
    intervals = np.empty((3, len(n)))
    # groups of one size are computed together
    for size in np.unique(n):
        alike = n == size
        rows = first[alike, None] + np.arange(size)
        mean, half = _mean_and_half(values[rows])
        intervals[:, alike] = mean, mean - half, mean + half
    return intervals


def _mean_and_half(
    values: Float[np.ndarray, "*groups n"],
) -> tuple[Float[np.ndarray, "*groups"], Float[np.ndarray, "*groups"]]:
    """Means over the last axis, and half of their intervals; NaN where there are too few values."""
    *groups, n = values.shape
    mean = np.full(groups, np.nan)
    half = np.full(groups, np.nan)
    if n:
        mean = np.asarray(values.mean(axis=-1))
    if n > 1:
        spread = values.std(axis=-1, ddof=1)
        half = np.asarray(_quantile(n - 1) * spread / np.sqrt(n))
    return mean, half


@cache
def _quantile(freedom: int) -> float:
    """The two-sided 95 % quantile of Student's t distribution.

    It is cached because a report needs the same few many times.
    """
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, freedom))


def over_seeds(values: BySeed) -> Interval:
    """The mean over replicates and its t-interval."""
    return t_interval(np.array([*values.values()]))


def bootstrap_interval(values: Float[np.ndarray, "rows n"]) -> Float[np.ndarray, "bounds=2 rows"]:
    """The 95 % percentile bootstrap interval of each row's mean; NaN below two values.

    The resamples are always the same, so that a row's bounds depend on that row alone. For five
    normal values such an interval holds the mean in 84 % of cases, not 95. It is shown next to the
    t-interval, and no decision depends on it.
    """
    from scipy.stats import bootstrap

    rows, n = values.shape
    if n < 2 or rows == 0:
        return np.full((2, rows), np.nan)
    result = bootstrap(
        (values,),
        np.mean,
        axis=-1,
        n_resamples=RESAMPLES,
        # at most ten million numbers in memory
        batch=max(1, 10**7 // values.size),
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return np.stack(result.confidence_interval)


def difference(
    values: Float[np.ndarray, " n"],
    other: float,
    error: float,
    m: int,
    level: float = LEVEL,
) -> Interval:
    """The mean of some values less another mean, with its two-sided interval (Welch 1947).

    Args:
        values: two or more values.
        other: the other mean.
        error: the standard error of the other mean. Where it is NaN, the m values are taken to
            scatter as `values` do.
        m: the number of values of the other mean.
        level: the confidence level.
    """
    from scipy.stats import t

    n = len(values)
    variance = float(values.var(ddof=1))
    known = not np.isnan(error)
    own = variance / n
    others = error**2 if known else variance / m
    freedom: float = n - 1
    # Welch's degrees of freedom are 0 / 0 where neither side varies
    if known and own + others:
        freedom = (own + others) ** 2 / (own**2 / (n - 1) + others**2 / (m - 1))
    mean = float(values.mean()) - other
    half = float(t.ppf((1 + level) / 2, freedom) * np.sqrt(own + others))
    return Interval(mean, mean - half, mean + half, n)


def significance(p: float) -> str:
    """A p-value in words."""
    if np.isnan(p):
        return "no p"
    return f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"


class Correlation(NamedTuple):
    """Spearman's rank correlation of n pairs with its two-sided p-value; NaN for no test."""

    rho: float
    p: float
    n: int

    @property
    def significance(self) -> str:
        """The p-value in words."""
        return significance(self.p)


def rank_correlation(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> Correlation:
    """Spearman's rank correlation of pairs.

    There is a rho from three pairs on, unless all values of one side are equal, and a p-value from
    four on: three pairs are in perfect order by chance once in three times. Up to `MAX_EXACT`
    pairs, p is the share of orders whose rho is at least as large in size.
    """
    from scipy.stats import spearmanr

    n = len(a)
    if n < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return Correlation(_NAN, _NAN, n)
    rho, p = map(float, spearmanr(a, b))
    if n <= MAX_EXACT:
        p = _exact_p(a, b)
    return Correlation(rho, p if n > 3 else _NAN, n)


def _exact_p(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """The share of orders of the pairs whose rank correlation is at least as large in size."""
    from scipy.stats import rankdata

    x = rankdata(a)
    y = rankdata(b)
    x = x - x.mean()
    y = y - y.mean()
    orders = np.array(list(itertools.permutations(x)))
    # products that differ by rounding alone count as equal
    as_far = abs(orders @ y) >= abs(x @ y) - 1e-9
    return float(np.mean(as_far))
