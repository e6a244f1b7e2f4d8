"""Intervals over replicates; correlations over cells."""

import itertools
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

LEVEL = 0.95
RESAMPLES = 2000
EXACT = 8
"""Pairs up to which the p-value of a rank correlation counts every order; the approximation gives 0 for four in one order."""


BySeed = Mapping[int, float]
"""One number of each replicate, by its seed."""


class Interval(NamedTuple):
    """A mean with its two-sided 95 % t-interval over n replicates; NaN bounds where n < 2."""

    mean: float
    low: float
    high: float
    n: int


def t_interval(values: Float[np.ndarray, " n"]) -> Interval:
    """Student's t-interval of the mean."""
    n, nan = len(values), float("nan")
    if n < 2:
        return Interval(float(values[0]) if n else nan, nan, nan, n)
    mean, half = map(float, _mean_and_half(values))
    return Interval(mean, mean - half, mean + half, n)


def t_intervals(
    values: Float[np.ndarray, " values"], n: Int[np.ndarray, " groups"]
) -> Float[np.ndarray, "numbers=3 groups"]:
    """Student's t-interval of each of many means: of the first n[0] values, of the next n[1], and so on."""
    first, found = n.cumsum() - n, np.empty((3, len(n)))
    for size in np.unique(n):
        alike = n == size
        mean, half = _mean_and_half(values[first[alike, None] + np.arange(size)])
        found[:, alike] = mean, mean - half, mean + half
    return found


def _mean_and_half(
    values: Float[np.ndarray, "*groups n"],
) -> tuple[Float[np.ndarray, "*groups"], Float[np.ndarray, "*groups"]]:
    """Means, and half of their intervals."""
    groups, n = values.shape[:-1], values.shape[-1]
    mean = values.mean(axis=-1) if n else np.full(groups, np.nan)
    half = (
        _quantile(n - 1) * values.std(axis=-1, ddof=1) / np.sqrt(n)
        if n > 1
        else np.full(groups, np.nan)
    )
    return np.asarray(mean), np.asarray(half)


@cache
def _quantile(freedom: int) -> float:
    """Student's t that 95 % stay below in size; a report asks for the same few again and again."""
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, freedom))


def over_seeds(values: BySeed) -> Interval:
    """The mean over replicates and its t-interval."""
    return t_interval(np.array([*values.values()]))


def bootstrap_interval(values: Float[np.ndarray, "rows n"]) -> Float[np.ndarray, "bounds=2 rows"]:
    """The 95 % percentile bootstrap interval of each row's mean; NaN below two values.

    The resamples are always the same, so that a row's bounds depend on that row alone. Of five normal values such an interval
    holds the mean in 84 % of cases, not 95: it is for the eye, beside the t-interval, and decides nothing.
    """
    from scipy.stats import bootstrap

    rows, n = values.shape
    if n < 2 or rows == 0:
        return np.full((2, rows), np.nan)
    found = bootstrap(
        (values,), np.mean, axis=-1, n_resamples=RESAMPLES, batch=max(1, 10**7 // values.size), confidence_level=LEVEL,
        method="percentile", rng=np.random.default_rng(0),
    )  # fmt: skip
    return np.stack(found.confidence_interval)


def difference(
    values: Float[np.ndarray, " n"], other: float, error: float, m: int, level: float = LEVEL
) -> Interval:
    """The mean of two or more values less another mean, with its two-sided interval (Welch 1947), of 95 % unless told.

    `error` is the standard error of the other mean, over m values; where it is NaN, those are taken to scatter as these do.
    """
    from scipy.stats import t

    n, variance, known = len(values), float(values.var(ddof=1)), not np.isnan(error)
    own, others = variance / n, error**2 if known else variance / m
    freedom: float = n - 1
    if known and own + others:
        freedom = (own + others) ** 2 / (own**2 / (n - 1) + others**2 / (m - 1))
    mean, half = (
        float(values.mean()) - other,
        float(t.ppf((1 + level) / 2, freedom) * np.sqrt(own + others)),
    )
    return Interval(mean, mean - half, mean + half, n)


def significance(p: float) -> str:
    """A p-value in words."""
    if np.isnan(p):
        return "no p"
    return f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"


class Correlation(NamedTuple):
    """Spearman's rank correlation of n pairs with its two-sided p-value; NaN where there is none."""

    rho: float
    p: float
    n: int

    @property
    def significance(self) -> str:
        """The p-value in words."""
        return significance(self.p)


def rank_correlation(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> Correlation:
    """Spearman's rho, from three pairs on, and p, from four on: of three, a perfect order comes by chance once in three times.

    There is no rho where all values of one side are equal. Up to `EXACT` pairs p is the share of orders with such a rho.
    """
    from scipy.stats import rankdata, spearmanr

    n, nan = len(a), float("nan")
    if n < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return Correlation(nan, nan, n)
    rho, p = map(float, spearmanr(a, b))
    if n <= EXACT:
        x, y = (ranks - ranks.mean() for ranks in (rankdata(a), rankdata(b)))
        p = float(np.mean(abs(np.array(list(itertools.permutations(x))) @ y) >= abs(x @ y) - 1e-9))
    return Correlation(rho, p if n > 3 else nan, n)
