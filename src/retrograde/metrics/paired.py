"""Paired tests between strategies on replicates that share seed, class order and data order."""

from collections.abc import Hashable, Mapping
from functools import cache
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from retrograde.metrics.intervals import LEVEL, BySeed

K = TypeVar("K", bound=Hashable)
ALPHA = 1 - LEVEL
MIN_SEEDS = 5
"""Pairs below which there is no test: the spread of two or three differences is hardly known."""
ROUNDING = 1e-12
"""Differences up to this come from rounding; for means above 1, up to this share of their size."""
MAX_EXACT_PAIRS = 16
"""Largest number of pairs for which the sign-flip test takes every pattern of signs."""
PATTERNS = 10_000
"""Patterns of signs that the test takes for more pairs."""
SIGN_BLOCK = 10**6
"""Pairs of rivals tested at once, which limits the memory needed."""
BOLD = (
    "Bold: the best mean of a column and every strategy that is not significantly different from "
    "it (paired t-test on the shared seeds, p < 0.05 after Holm's correction over all pairs of a "
    "column, from five replicates on; where all differences are equal, p is the least that a "
    "sign-flip test can reach). Nothing is bold if no difference is significant. "
    "Upper bounds (†) and strategies with fewer replicates than another do not compete."
)
"""The note of a table on its bold numbers, which `leading_group` finds among those that compete."""


def paired_p(differences: Float[np.ndarray, "*tests seeds"]) -> Float[np.ndarray, "*tests"]:
    """The two-sided p-values of paired t-tests.

    Args:
        differences: the difference of each pair; NaN for a seed that is missing.

    Returns:
        One p-value for each test: 1 where all pairs are equal, NaN where there are fewer than two.
        Where all pairs differ by the same amount, p is the least that a sign-flip test of as many
        pairs can reach.
    """
    from scipy.special import stdtr

    there = ~np.isnan(differences)
    n = there.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(there, differences, 0).sum(axis=-1) / n
        deviations = np.where(there, differences - mean[..., None], 0)
        spread = np.sqrt((deviations**2).sum(axis=-1) / (n - 1))
        p = 2 * stdtr(n - 1, -abs(mean) / (spread / np.sqrt(n)))
    # Scores are counts, so equal differences are common near the ceiling. A t-test would take
    # their lack of spread for certainty.
    without_spread = spread <= ROUNDING * np.maximum(abs(mean), 1)
    substitute = np.where(abs(mean) <= ROUNDING, 1, _least_p(np.asarray(n)))
    p = np.where(without_spread, substitute, p)
    return np.where(n < 2, np.nan, p)


def sign_flip_p(differences: Float[np.ndarray, "tests n"]) -> Float[np.ndarray, " tests"]:
    """The two-sided p-values of paired sign-flip tests; NaN where there are no pairs.

    A p-value is the share of patterns of signs whose mean is as far from 0. The test supposes only
    that a difference is as likely as its opposite.
    """
    tests, n = differences.shape
    if n == 0:
        return np.full(tests, np.nan)
    signs = _signs(n)
    p = np.empty(tests)
    size = max(1, 10 * SIGN_BLOCK // len(signs))
    for start in range(0, tests, size):
        block = differences[start : start + size]
        sums = abs(block @ signs.T)
        largest = abs(block).max(axis=1, keepdims=True)
        # the first pattern is the differences as they are
        least = sums[:, :1] - n * ROUNDING * np.maximum(largest, 1)
        p[start : start + size] = np.mean(sums >= least, axis=1)
    return p


@cache
def _signs(n: int) -> Float[np.ndarray, "patterns n"]:
    """Patterns of signs, all + first.

    Up to `MAX_EXACT_PAIRS` pairs these are all that have one sign fixed; the others are their
    opposites. For more pairs they are drawn by chance, always the same.
    """
    if n > MAX_EXACT_PAIRS:
        random = np.random.default_rng(0)
        by_chance = random.choice([-1.0, 1.0], size=(PATTERNS - 1, n))
        return np.concatenate([np.ones((1, n)), by_chance])
    # bit i of a pattern's number is 1 where sign i is -
    numbers = np.arange(2 ** (n - 1))[:, None]
    bits = numbers >> np.arange(n) & 1
    return np.asarray(1.0 - 2 * bits)


def least_p(n: int) -> float:
    """The smallest p-value that a sign-flip test of n pairs can reach; NaN for no pairs."""
    return float(_least_p(np.array(n)))


def _least_p(n: Int[np.ndarray, "*tests"]) -> Float[np.ndarray, "*tests"]:
    least = np.where(n <= MAX_EXACT_PAIRS, 2.0 ** (1 - n), 1 / PATTERNS)
    return np.where(n == 0, np.nan, least)


def holm(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """P-values corrected for their number (Holm 1979); a NaN is no test."""
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    adjusted = np.full(len(p), np.nan)
    remaining = np.arange(len(order), 0, -1)
    # a larger p-value is not corrected to less than a smaller one
    increasing = np.maximum.accumulate(p[order] * remaining)
    adjusted[order] = np.minimum(increasing, 1)
    return adjusted


def p_text(p: float) -> str:
    """The text of a p-value in a table."""
    if np.isnan(p):
        return "–"
    return f"{p:.3g}" if p >= 1e-4 else "< 0.0001"


class Pairs(NamedTuple):
    """Every pair of rivals with the p-value of its paired t-test.

    first, second: the places of the two rivals.
    ahead: the mean of the first less the mean of the second.
    p: the plain p-value; NaN where there is no test.
    corrected: the p-value after Holm's correction over all pairs.
    """

    first: Int[np.ndarray, " pairs"]
    second: Int[np.ndarray, " pairs"]
    ahead: Float[np.ndarray, " pairs"]
    p: Float[np.ndarray, " pairs"]
    corrected: Float[np.ndarray, " pairs"]

    def better_than(self, higher_is_better: bool) -> Bool[np.ndarray, "rivals rivals"]:
        """True where the rival of a row is significantly better than that of a column."""
        rivals = int(self.second.max(initial=0)) + 1
        significant = self.corrected < ALPHA
        # each pair stands once in the list, so that it is entered in both directions
        first = (self.ahead > 0) == higher_is_better
        better = np.zeros((rivals, rivals), dtype=bool)
        better[self.first, self.second] = significant & first
        better[self.second, self.first] = significant & ~first
        return better


def all_pairs(scores: Float[np.ndarray, "rivals seeds"]) -> Pairs:
    """Test every rival against every other on the seeds that both have.

    There is no test on fewer than `MIN_SEEDS` seeds.

    Args:
        scores: one row for each rival; NaN for a seed that is missing.
    """
    first, second = np.triu_indices(len(scores), 1)
    ahead, p = np.full((2, len(first)), np.nan)
    tested = len(first) if scores.shape[1] >= MIN_SEEDS else 0
    for start in range(0, tested, SIGN_BLOCK):
        block = slice(start, start + SIGN_BLOCK)
        differences = scores[first[block]] - scores[second[block]]
        n = (~np.isnan(differences)).sum(axis=-1)
        ahead[block] = np.nansum(differences, axis=-1) / np.maximum(n, 1)
        p[block] = np.where(n >= MIN_SEEDS, paired_p(differences), np.nan)
    return Pairs(first, second, ahead, p, holm(p))


def complete_runs(values: Mapping[K, BySeed]) -> dict[K, BySeed]:
    """The rivals with as many seeds as the one with most.

    The mean of a rival that lost some seeds would be over those that went well.
    """
    most = max(map(len, values.values()), default=0)
    return {key: value for key, value in values.items() if len(value) == most}


def by_seed(values: Mapping[K, BySeed]) -> Float[np.ndarray, "rivals seeds"]:
    """The values as an array, a row for each rival, a column for each seed; NaN for no value."""
    seeds = sorted(set().union(*values.values()))
    scores = [[value.get(seed, np.nan) for seed in seeds] for value in values.values()]
    # the shape is given because there may be no rival
    return np.array(scores, dtype=float).reshape(len(values), len(seeds))


def leading_group(values: Mapping[K, BySeed], higher_is_better: bool) -> set[K]:
    """The rival with the best mean and all that do not differ significantly from it.

    Rivals compete if they are whole (see `complete_runs`). Two differ significantly if p < 0.05 in
    a paired t-test after Holm's correction over all pairs. If no rival is significantly worse than
    the best, there are no leaders.

    Where rivals are equal and their scores normal, there are leaders with a probability of at most
    5 %. Simulated stores of scores that are counts of few errors keep to that with six rivals or
    more; with two rivals, one leads in up to 5.4 %.
    """
    rivals = complete_runs(values)
    keys = list(rivals)
    scores = by_seed(rivals)
    if len(keys) < 2 or scores.shape[1] < MIN_SEEDS:
        return set()
    means = np.nanmean(scores, axis=1) * (1 if higher_is_better else -1)
    best = int(means.argmax())
    pairs = all_pairs(scores)
    worse = pairs.better_than(higher_is_better)[best]
    if not worse.any():
        return set()
    excluded = {*np.flatnonzero(worse), *_untested(pairs, best)}
    return {key for place, key in enumerate(keys) if place not in excluded}


def _untested(pairs: Pairs, rival: int) -> set[int]:
    """The places of rivals that share too few seeds with one rival for a test."""
    lacking = np.isnan(pairs.p)
    after = pairs.second[lacking & (pairs.first == rival)]
    before = pairs.first[lacking & (pairs.second == rival)]
    return {*before.tolist(), *after.tolist()}
