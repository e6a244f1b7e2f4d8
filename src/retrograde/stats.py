"""Intervals and paired tests over replicates; correlations over cells."""

import itertools
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    import pandas as pd

K = TypeVar("K", bound=Hashable)
LEVEL = 0.95
ROUNDING = 1e-12
"""Differences up to this come from rounding."""
EXACT = 8
"""Pairs up to which the p-value of a rank correlation counts every order; the approximation gives 0 for four in one order."""


class Interval(NamedTuple):
    """A mean with its two-sided 95 % t-interval over n replicates; NaN bounds where n < 2."""

    mean: float
    low: float
    high: float
    n: int


def t_interval(values: Float[np.ndarray, " n"]) -> Interval:
    """Student's t-interval of the mean."""
    from scipy.stats import t

    n = len(values)
    if n == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    mean = float(values.mean())
    if n == 1:
        return Interval(mean, float("nan"), float("nan"), 1)
    half = float(t.ppf((1 + LEVEL) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def difference(values: Float[np.ndarray, " n"], other: float, error: float, m: int) -> Interval:
    """The mean of two or more values less another mean, with its 95 % interval (Welch 1947).

    `error` is the standard error of the other mean, over m values; where it is NaN, those are taken to scatter as these do.
    """
    from scipy.stats import t

    n, variance, known = len(values), float(values.var(ddof=1)), not np.isnan(error)
    own, others = variance / n, error**2 if known else variance / m
    freedom: float = n - 1
    if known and own + others:
        freedom = (own + others) ** 2 / (own**2 / (n - 1) + others**2 / (m - 1))
    mean, half = float(values.mean()) - other, float(t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(own + others))
    return Interval(mean, mean - half, mean + half, n)


class Correlation(NamedTuple):
    """Spearman's rank correlation of n pairs with its two-sided p-value; NaN where there is none."""

    rho: float
    p: float
    n: int

    @property
    def significance(self) -> str:
        """The p-value in words."""
        if np.isnan(self.p):
            return "no p"
        return f"p = {self.p:.3f}" if self.p >= 0.001 else "p < 0.001"


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


def paired_p(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """The two-sided p-value of the paired t-test; 1 where all pairs are equal, NaN where there are fewer than two."""
    from scipy.stats import t

    difference = a - b
    n = len(difference)
    if n < 2:
        return float("nan")
    spread = float(difference.std(ddof=1))
    if spread <= ROUNDING:
        return 1.0 if abs(difference.mean()) <= ROUNDING else 0.0
    return float(2 * t.sf(abs(difference.mean()) / (spread / np.sqrt(n)), n - 1))


def leaders(values: "Mapping[K, pd.Series[float]]", higher_is_better: bool) -> set[K]:
    """Of rivals with a value for each seed, the best mean and all that a paired t-test does not tell from it (p >= 0.05).

    A rival with fewer seeds than another has lost some, and does not compete: its mean would be of those that went well. Nobody
    leads where fewer than two have more than one seed.
    """
    sign = 1 if higher_is_better else -1
    whole = max(map(len, values.values()), default=0)
    rivals = {key: value for key, value in values.items() if len(value) == whole > 1}
    if len(rivals) < 2:
        return set()
    best = max(rivals, key=lambda key: sign * rivals[key].mean())
    return {best} | {key for key, value in rivals.items() if _tied(value, rivals[best])}


def _tied(a: "pd.Series[float]", b: "pd.Series[float]") -> bool:
    shared = a.index.intersection(b.index)
    p = paired_p(a[shared].to_numpy(), b[shared].to_numpy())
    return bool(np.isnan(p) or p >= 1 - LEVEL)
