"""Intervals and paired tests over replicates."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

LEVEL = 0.95
ROUNDING = 1e-12
"""Differences up to this come from rounding."""


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
