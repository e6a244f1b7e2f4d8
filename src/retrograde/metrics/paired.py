"""Rivals compared on replicates that share seed, class order and data order: paired tests, and who leads."""

from collections.abc import Hashable, Mapping
from functools import cache
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from retrograde.metrics.intervals import LEVEL, BySeed

K = TypeVar("K", bound=Hashable)
ALPHA = 1 - LEVEL
FEWEST = 5
"""Pairs below which nothing is said: a t-test of two or three differences rests on a spread that is hardly known."""
ROUNDING = 1e-12
"""Differences up to this come from rounding; of means above 1, up to so much of their size."""
EVERY = 16
"""Pairs up to which the sign-flip test takes every pattern of signs."""
PATTERNS = 10_000
"""Patterns of signs that the test takes beyond."""
BLOCK = 10**6
"""Pairs of rivals tested at once, for the memory's sake."""
BOLD = (
    "Bold: the best mean of a column and every strategy that is not told from it, where at least one is; told apart is p < "
    "0.05 of a paired t-test on the shared seeds after Holm's correction over all pairs of a column, from five replicates on "
    "(where all differences are equal, p is the least that a sign-flip test can reach). "
    "Upper bounds (†) and strategies with fewer replicates than another do not compete."
)
"""What a table says of its bold numbers: those that `leaders` finds among the rivals that compete."""


def paired_p(differences: Float[np.ndarray, "*tests seeds"]) -> Float[np.ndarray, "*tests"]:
    """The two-sided p-values of paired t-tests, without the seeds that are NaN.

    1 where all pairs are equal, NaN where there are fewer than two. Where all differ by the same amount, p is the least that
    a sign-flip test of as many pairs can reach: scores are counts, so equal differences are common near the ceiling, and a
    t-test would take their lack of spread for certainty.
    """
    from scipy.special import stdtr

    there = ~np.isnan(differences)
    n = there.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(there, differences, 0).sum(axis=-1) / n
        spread = np.sqrt(
            (np.where(there, differences - mean[..., None], 0) ** 2).sum(axis=-1) / (n - 1)
        )
        p = 2 * stdtr(n - 1, -abs(mean) / (spread / np.sqrt(n)))
    without_spread = spread <= ROUNDING * np.maximum(abs(mean), 1)
    p = np.where(without_spread, np.where(abs(mean) <= ROUNDING, 1, _least_p(np.asarray(n))), p)
    return np.where(n < 2, np.nan, p)


def sign_flip_p(differences: Float[np.ndarray, "tests n"]) -> Float[np.ndarray, " tests"]:
    """The two-sided p-values of paired sign-flip tests: the share of patterns of signs whose mean is as far from 0.

    They suppose only that a difference is as likely as its opposite. NaN where there are no pairs.
    """
    tests, n = differences.shape
    if n == 0:
        return np.full(tests, np.nan)
    signs, found = _signs(n), np.empty(tests)
    size = max(1, 10 * BLOCK // len(signs))
    for start in range(0, tests, size):
        block = differences[start : start + size]
        sums = abs(block @ signs.T)  # the first pattern is the differences as they are
        least = sums[:, :1] - n * ROUNDING * np.maximum(abs(block).max(axis=1, keepdims=True), 1)
        found[start : start + size] = np.mean(sums >= least, axis=1)
    return found


@cache
def _signs(n: int) -> Float[np.ndarray, "patterns n"]:
    """Every pattern of signs that begins with +, the others being their opposites; of many pairs, 9 999 by chance and all +."""
    if n > EVERY:
        by_chance = np.random.default_rng(0).choice([-1.0, 1.0], size=(PATTERNS - 1, n))
        return np.concatenate([np.ones((1, n)), by_chance])
    return np.asarray(1.0 - 2 * (np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1))


def least_p(n: int) -> float:
    """The smallest p-value that a sign-flip test of n pairs can reach; NaN where there are none."""
    return float(_least_p(np.array(n)))


def _least_p(n: Int[np.ndarray, "*tests"]) -> Float[np.ndarray, "*tests"]:
    least = np.where(n <= EVERY, 2.0 ** (1 - n), 1 / PATTERNS)
    return np.where(n == 0, np.nan, least)


def holm(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """P-values corrected for their number (Holm 1979); a NaN is no test."""
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return adjusted


def p_text(p: float) -> str:
    """A p-value as a table has it."""
    if np.isnan(p):
        return "–"
    return f"{p:.3g}" if p >= 1e-4 else "< 0.0001"


class Pairs(NamedTuple):
    """Every pair of rivals, by their places, with the p-value of the paired t-test, plain and corrected for all pairs."""

    first: Int[np.ndarray, " pairs"]
    second: Int[np.ndarray, " pairs"]
    ahead: Float[
        np.ndarray, " pairs"
    ]  # by how much the mean of the first is above that of the second
    p: Float[np.ndarray, " pairs"]
    corrected: Float[np.ndarray, " pairs"]

    def above(self, higher_is_better: bool) -> Bool[np.ndarray, "rivals rivals"]:
        """Whether one rival is told from another, and better."""
        rivals = int(self.second.max(initial=0)) + 1
        better, told = np.zeros((rivals, rivals), dtype=bool), self.corrected < ALPHA
        first = (self.ahead > 0) == higher_is_better
        better[self.first, self.second], better[self.second, self.first] = (
            told & first,
            told & ~first,
        )
        return better


def all_pairs(scores: Float[np.ndarray, "rivals seeds"]) -> Pairs:
    """Every rival tested against every other on the seeds that both have; there is no test on fewer than `FEWEST`."""
    first, second = np.triu_indices(len(scores), 1)
    ahead, p = np.full((2, len(first)), np.nan)
    for start in range(0, len(first) if scores.shape[1] >= FEWEST else 0, BLOCK):
        block = slice(start, start + BLOCK)
        differences = scores[first[block]] - scores[second[block]]
        n = (~np.isnan(differences)).sum(axis=-1)
        ahead[block] = np.nansum(differences, axis=-1) / np.maximum(n, 1)
        p[block] = np.where(n >= FEWEST, paired_p(differences), np.nan)
    return Pairs(first, second, ahead, p, holm(p))


def whole(values: Mapping[K, BySeed]) -> dict[K, BySeed]:
    """Those with as many seeds as the one with most: if another lost some, its mean would be of those that went well."""
    most = max(map(len, values.values()), default=0)
    return {key: value for key, value in values.items() if len(value) == most}


def by_seed(values: Mapping[K, BySeed]) -> Float[np.ndarray, "rivals seeds"]:
    """The values as rows, one column a seed; NaN where there is none."""
    seeds = sorted(set().union(*values.values()))
    scores = [[value.get(seed, np.nan) for seed in seeds] for value in values.values()]
    return np.array(scores, dtype=float).reshape(len(values), len(seeds))


def leaders(values: Mapping[K, BySeed], higher_is_better: bool) -> set[K]:
    """Of whole rivals with a value for each seed, the best mean and all that are not told from it, if some rival is.

    Told apart: p < 0.05 of a paired t-test after Holm's correction over all pairs. Where rivals are equal and their scores
    normal, any leads with a probability of at most 5 %. Simulated stores of scores that are counts of few errors keep to that,
    if there are six rivals or more; of two rivals one leads in up to 5.4 %.
    """
    rivals = whole(values)
    keys, scores = list(rivals), by_seed(rivals)
    if len(keys) < 2 or scores.shape[1] < FEWEST:
        return set()
    means = np.nanmean(scores, axis=1) * (1 if higher_is_better else -1)
    best, pairs = int(means.argmax()), all_pairs(scores)
    worse = pairs.above(higher_is_better)[best]
    lacking = np.isnan(pairs.p)  # no seeds in common
    untested = {
        *pairs.second[lacking & (pairs.first == best)],
        *pairs.first[lacking & (pairs.second == best)],
    }
    return (
        {key for i, key in enumerate(keys) if not worse[i] and i not in untested}
        if worse.any()
        else set()
    )
