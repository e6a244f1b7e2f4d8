"""Strategies over several benchmarks: average ranks, Friedman's test and Nemenyi's critical difference (Demšar 2006)."""

from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from retrograde.stats import LEVEL, significance

DIGITS = 12
"""Scores that agree so far share a rank; the rest is rounding."""
Scores = Float[np.ndarray, "benchmarks strategies"]


class Friedman(NamedTuple):
    """Friedman's chi-squared, corrected for ties, and its p-value; NaN where there is no test."""

    chi2: float
    p: float

    @property
    def significance(self) -> str:
        """The p-value in words."""
        return significance(self.p)


def ranks(scores: Scores) -> Scores:
    """Ranks on each benchmark, 1 for the highest score; equal scores share the mean of theirs."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-scores.round(DIGITS), axis=1))


def friedman(scores: Scores) -> Friedman:
    """Whether average ranks differ more than by chance: from three strategies and two benchmarks on."""
    from scipy.stats import friedmanchisquare

    rounded = scores.round(DIGITS)
    benchmarks, strategies = rounded.shape
    if strategies < 3 or benchmarks < 2 or np.all(np.ptp(rounded, axis=1) == 0):
        return Friedman(float("nan"), float("nan"))
    return Friedman(*map(float, friedmanchisquare(*rounded.T)))


@cache
def critical_difference(strategies: int, benchmarks: int, level: float = LEVEL) -> float:
    """The difference from which on two average ranks are told apart, at 5 % over all pairs (Nemenyi 1963)."""
    from scipy.stats import studentized_range

    q = studentized_range.ppf(level, strategies, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(strategies * (strategies + 1) / (6 * benchmarks)))


def tied_groups(average: Float[np.ndarray, " strategies"], critical: float) -> list[tuple[float, float]]:
    """The largest groups of two and more average ranks that are closer than the critical difference, as first and last rank."""
    ordered = np.sort(average)
    last = [float(ordered[ordered - rank < critical].max()) for rank in ordered]
    spans = list(zip(map(float, ordered), last, strict=True))
    return [
        span for i, span in enumerate(spans)
        if (ordered <= span[1])[i:].sum() > 1 and (i == 0 or spans[i - 1][1] < span[1])
    ]  # fmt: skip
