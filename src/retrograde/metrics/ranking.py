"""Rankings of strategies over several benchmarks: average ranks, Friedman's and Nemenyi's tests."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from retrograde.metrics.frames import Label, by_strategy, competing
from retrograde.metrics.intervals import LEVEL, BySeed, over_seeds, significance
from retrograde.metrics.paired import MIN_SEEDS, all_pairs, by_seed, complete_runs

DIGITS = 12
"""Decimal places in which scores agree that share a rank; the rest is rounding."""


MAX_STATES = 500_000
"""Largest number of sums of ranks in one step of the exact p-value of Friedman's test.

Beyond it, orders are drawn by chance.
"""


MAX_DRAWS = 10_000
"""Orders of every benchmark that are drawn where there are too many to count."""


MAX_WORK = 100_000_000
"""Ranks that are drawn in all, which takes some seconds.

With very many ranks fewer orders are drawn, at least a tenth of `MAX_DRAWS`.
"""


Scores = Float[np.ndarray, "benchmarks strategies"]


Sums = Int[np.ndarray, "states strategies"]


class Friedman(NamedTuple):
    """Friedman's chi-squared, corrected for ties, and its p-value; NaN where there is no test."""

    chi2: float
    p: float
    draws: int = 0  # the number of orders drawn by chance; 0 where p is over all orders

    @property
    def significance(self) -> str:
        """The p-value in words."""
        return significance(self.p)

    @property
    def method(self) -> str:
        """The orders that p is a share of, in words."""
        if self.draws:
            return f"over {self.draws} orders of the ranks by chance"
        return "exact, over all orders of the ranks"


def ranks(scores: Scores) -> Scores:
    """Ranks on each benchmark, 1 for the highest score; equal scores share their mean rank."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-scores.round(DIGITS), axis=1))


def friedman(scores: Scores) -> Friedman:
    """Test if average ranks differ more than by chance.

    There is a test from three strategies and two benchmarks on. The p-value is the share of orders
    whose rank sums differ as much, when every order of each benchmark's ranks, ties included, is as
    likely as any other. It counts all orders where that is feasible. Else it draws `MAX_DRAWS` of
    them, or fewer where there are very many ranks. The approximation by a chi-squared distribution,
    poor for few benchmarks, is not used.
    """
    from scipy.stats import friedmanchisquare

    rounded = scores.round(DIGITS)
    benchmarks, strategies = rounded.shape
    if strategies < 3 or benchmarks < 2 or np.all(np.ptp(rounded, axis=1) == 0):
        return Friedman(float("nan"), float("nan"))
    # shared ranks are halves, and integers are compared without rounding
    doubled = (2 * ranks(scores)).astype(int)
    chi2 = float(friedmanchisquare(*rounded.T).statistic)
    exact = _exact_p(doubled)
    if exact is not None:
        return Friedman(chi2, exact)
    draws = int(np.clip(MAX_WORK // doubled.size, MAX_DRAWS // 10, MAX_DRAWS))
    return Friedman(chi2, _drawn_p(doubled, draws), draws)


def _exact_p(doubled: Int[np.ndarray, "benchmarks strategies"]) -> float | None:
    """The p-value over every order, counted benchmark by benchmark; None where that is too much.

    Only the set of the strategies' rank sums matters, not which strategy has which. So equal sets
    of sums are one state, and the first benchmark's order is fixed.
    """
    strategies = doubled.shape[1]
    states = np.sort(doubled[:1], axis=1)
    share = np.ones(1)
    orders = math.factorial(strategies)
    most = 2 * strategies * len(doubled)
    # the code of a state in `_merged` has to fit into an integer
    codable = (most + 1) ** strategies <= np.iinfo(int).max
    for row in doubled[1:]:
        if len(states) * orders > MAX_STATES or not codable:
            return None
        permuted = np.array(list(itertools.permutations(row)))
        sums = (states[:, None] + permuted).reshape(-1, strategies)
        states, share = _merged(sums, np.repeat(share / orders, orders), most)
    as_far = _spread(states) >= _spread(doubled.sum(axis=0))
    return float(share[as_far].sum())


def _merged(
    sums: Sums,
    share: Float[np.ndarray, " states"],
    most: int,
) -> tuple[Int[np.ndarray, "merged strategies"], Float[np.ndarray, " merged"]]:
    """The distinct sets of sums, none above `most`, each with the share of all that have it."""
    ordered = np.sort(sums, axis=1)
    # one number for each set: far faster than unique rows
    code = ordered @ (most + 1) ** np.arange(sums.shape[1])
    _, first, place = np.unique(code, return_index=True, return_inverse=True)
    return ordered[first], np.bincount(place, weights=share)


def _drawn_p(doubled: Int[np.ndarray, "benchmarks strategies"], draws: int) -> float:
    """The p-value over the observed order and others drawn by chance, always the same."""
    random = np.random.default_rng(0)
    sums = np.zeros((draws - 1, doubled.shape[1]), dtype=int)
    for row in doubled:
        sums += random.permuted(np.broadcast_to(row, sums.shape), axis=1)
    as_far = _spread(sums) >= _spread(doubled.sum(axis=0))
    return float((1 + as_far.sum()) / draws)


def _spread(sums: Int[np.ndarray, "*states strategies"]) -> Int[np.ndarray, "*states"]:
    """The sum of squares of rank sums.

    Friedman's statistic grows with it, since their total and the ties are given.
    """
    return np.asarray((sums**2).sum(axis=-1))


@cache
def critical_difference(strategies: int, benchmarks: int, level: float = LEVEL) -> float:
    """The least significant difference of two average ranks, over all pairs (Nemenyi 1963)."""
    from scipy.stats import studentized_range

    q = studentized_range.ppf(level, strategies, np.inf) / np.sqrt(2)
    error = np.sqrt(strategies * (strategies + 1) / (6 * benchmarks))
    return float(q * error)


def tied_groups(
    average: Float[np.ndarray, " strategies"],
    critical: float,
) -> list[tuple[float, float]]:
    """The largest groups of average ranks that are closer than the critical difference.

    Returns:
        The first and last rank of each group of two and more.
    """
    ordered = np.sort(average)
    groups = []
    end_before = -np.inf
    for place, first in enumerate(ordered):
        end = float(ordered[ordered - first < critical].max())
        size = (ordered[place:] <= end).sum()
        # a group with the end of the one before lies within that one
        if size > 1 and end_before < end:
            groups.append((float(first), end))
        end_before = end
    return groups


Competitions = Mapping[str, Mapping[str, BySeed]]
"""For each benchmark, one score of each strategy that competes there, by seed."""


def display_names(labels: Iterable[Label]) -> dict[tuple[str, str], str]:
    """The display names of strategies over benchmarks, by name and settings.

    A strategy is shown by its name alone where no benchmark has it twice, so that one tuned for
    each benchmark is one strategy. Else its settings follow the name.
    """
    settings_of = defaultdict(set)
    for label in labels:
        settings_of[label.strategy, label.benchmark].add(label.settings)
    twice = {strategy for (strategy, _), settings in settings_of.items() if len(settings) > 1}
    shown = {}
    for (name, _), of_benchmark in settings_of.items():
        for settings in of_benchmark:
            full = f"{name} {settings}".strip()
            shown[name, settings] = full if name in twice else name
    return shown


def competitions(frame: pd.DataFrame, called: Mapping[tuple[str, str], str]) -> Competitions:
    """The strategies that compete on each benchmark, with their scores.

    Upper bounds do not compete, nor do strategies that lack a replicate on the benchmark.

    Args:
        frame: rows of one metric.
        called: display names by name and settings, as `names` gives them.
    """
    found = {}
    for benchmark, rows in frame.groupby("benchmark", sort=True):
        strategies = competing(by_strategy(rows))
        scores = {called[key[1:]]: values for key, values in strategies.items()}
        found[str(benchmark)] = complete_runs(scores)
    return found


@dataclass(frozen=True, eq=False)
class Ranking:
    """The strategies that compete on every benchmark where any two do, and their mean scores."""

    strategies: tuple[str, ...]
    benchmarks: tuple[str, ...]
    means: Scores

    @cached_property
    def average(self) -> dict[str, float]:
        """Average ranks over the benchmarks."""
        average = ranks(self.means).mean(axis=0) if self.strategies else ()
        return dict(zip(self.strategies, map(float, average), strict=True))

    @property
    def tested(self) -> bool:
        """True if there are enough strategies and benchmarks for a test of ranks."""
        return len(self.strategies) > 2 and len(self.benchmarks) > 1

    @cached_property
    def friedman(self) -> Friedman:
        """Friedman's test; NaN where there is none."""
        return friedman(self.means)

    @property
    def critical(self) -> float:
        """The critical difference between two average ranks."""
        return critical_difference(len(self.strategies), len(self.benchmarks))

    @property
    def says_something(self) -> bool:
        """True if some average ranks could differ by the critical difference.

        Friedman's test may be significant where they cannot.
        """
        return self.tested and self.critical <= len(self.strategies) - 1


def rank_strategies(found: Competitions) -> Ranking:
    """Rank the strategies that compete on all benchmarks with two or more strategies.

    The ranking is empty with fewer than two such strategies or benchmarks.
    """
    shared = {benchmark: values for benchmark, values in sorted(found.items()) if len(values) > 1}
    everywhere = sorted(set.intersection(*map(set, shared.values()))) if shared else []
    if len(shared) < 2 or len(everywhere) < 2:
        nothing = np.empty((len(shared), 0))
        return Ranking((), tuple(shared), nothing)
    means = [[over_seeds(values[name]).mean for name in everywhere] for values in shared.values()]
    return Ranking(tuple(everywhere), tuple(shared), np.array(means))


class Tally(NamedTuple):
    """The number of rivals that a strategy wins against, is tied with and loses to.

    A rival counts once on every benchmark.
    """

    win: int = 0
    tie: int = 0
    loss: int = 0


def tallies(found: Competitions) -> dict[str, Tally]:
    """Wins, ties and losses of each strategy, by the test that decides bold numbers.

    Benchmarks with fewer than two strategies or too few replicates for the test are left out.
    """
    total: defaultdict[str, Tally] = defaultdict(Tally)
    for values in found.values():
        scores = by_seed(values)
        if len(values) < 2 or scores.shape[1] < MIN_SEEDS:
            continue
        above = all_pairs(scores).better_than(higher_is_better=True)
        wins = above.sum(axis=1).tolist()
        losses = above.sum(axis=0).tolist()
        for name, win, loss in zip(values, wins, losses, strict=True):
            tie = len(values) - 1 - win - loss
            before = total[name]
            total[name] = Tally(before.win + win, before.tie + tie, before.loss + loss)
    return dict(total)
