"""Strategies over several benchmarks: who is ranked, average ranks, Friedman's test and Nemenyi's critical difference."""

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
from retrograde.metrics.paired import FEWEST, all_pairs, by_seed, whole

DIGITS = 12
"""Scores that agree so far share a rank; the rest is rounding."""


MOST = 500_000
"""Sums of ranks that the exact p-value of Friedman's test looks at in one step; beyond, orders are drawn."""


DRAWN = 10_000
"""Orders of every benchmark that are drawn where they are too many to count."""


WORK = 100_000_000
"""Ranks that are drawn in all, some seconds' work; where there are so many, a tenth of `DRAWN` does at the least."""


Scores = Float[np.ndarray, "benchmarks strategies"]


Sums = Int[np.ndarray, "states strategies"]


class Friedman(NamedTuple):
    """Friedman's chi-squared, corrected for ties, and its p-value; NaN where there is no test."""

    chi2: float
    p: float
    draws: int = 0  # the orders by chance that p is of; 0 where it is of all

    @property
    def significance(self) -> str:
        """The p-value in words."""
        return significance(self.p)

    @property
    def method(self) -> str:
        """The orders that p is a share of, in words."""
        return (
            f"over {self.draws} orders of the ranks by chance"
            if self.draws
            else "exact, over all orders of the ranks"
        )


def ranks(scores: Scores) -> Scores:
    """Ranks on each benchmark, 1 for the highest score; equal scores share the mean of theirs."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-scores.round(DIGITS), axis=1))


def friedman(scores: Scores) -> Friedman:
    """Test whether average ranks differ more than by chance: from three strategies and two benchmarks on.

    The p-value is the share of orders whose rank sums differ as much, when every order of each benchmark's ranks, ties
    included, is as likely as any other. It counts all orders where that is feasible, else it draws `DRAWN` of them, or fewer
    where there are very many ranks. The approximation by a chi-squared distribution, poor for few benchmarks, is not used.
    """
    from scipy.stats import friedmanchisquare

    rounded = scores.round(DIGITS)
    benchmarks, strategies = rounded.shape
    if strategies < 3 or benchmarks < 2 or np.all(np.ptp(rounded, axis=1) == 0):
        return Friedman(float("nan"), float("nan"))
    doubled = (2 * ranks(scores)).astype(int)  # shared ranks are halves
    chi2 = float(friedmanchisquare(*rounded.T).statistic)
    exact = _exact_p(doubled)
    if exact is not None:
        return Friedman(chi2, exact)
    draws = int(np.clip(WORK // doubled.size, DRAWN // 10, DRAWN))
    return Friedman(chi2, _drawn_p(doubled, draws), draws)


def _exact_p(doubled: Int[np.ndarray, "benchmarks strategies"]) -> float | None:
    """Count every order, benchmark by benchmark; None where that is too much.

    Only the sums of each strategy's ranks count, whichever strategy has which. So equal sets of sums are one state, and the
    first benchmark's order may stand as it is.
    """
    strategies = doubled.shape[1]
    states = np.sort(doubled[:1], axis=1)
    share = np.ones(1)
    orders = math.factorial(strategies)
    most = 2 * strategies * len(doubled)
    for row in doubled[1:]:
        if len(states) * orders > MOST or (most + 1) ** strategies > np.iinfo(int).max:
            return None
        sums = states[:, None] + np.array(list(itertools.permutations(row)))
        states, share = _merged(
            sums.reshape(-1, strategies), np.repeat(share / orders, orders), most
        )
    return float(share[_spread(states) >= _spread(doubled.sum(axis=0))].sum())


def _merged(
    sums: Sums, share: Float[np.ndarray, " states"], most: int
) -> tuple[Int[np.ndarray, "merged strategies"], Float[np.ndarray, " merged"]]:
    """The distinct sets of sums, none above `most`, each with the share of all that have it."""
    ordered = np.sort(sums, axis=1)
    code = ordered @ (most + 1) ** np.arange(
        sums.shape[1]
    )  # one number for each set: far faster than whole rows
    _, first, place = np.unique(code, return_index=True, return_inverse=True)
    return ordered[first], np.bincount(place, weights=share)


def _drawn_p(doubled: Int[np.ndarray, "benchmarks strategies"], draws: int) -> float:
    """The share among orders drawn by chance, always the same, and the one that was found."""
    random = np.random.default_rng(0)
    sums = np.zeros((draws - 1, doubled.shape[1]), dtype=int)
    for row in doubled:
        sums += random.permuted(np.broadcast_to(row, sums.shape), axis=1)
    as_far = _spread(sums) >= _spread(doubled.sum(axis=0))
    return float((1 + as_far.sum()) / draws)


def _spread(sums: Int[np.ndarray, "*states strategies"]) -> Int[np.ndarray, "*states"]:
    """The sum of squares of rank sums: Friedman's statistic grows with it, since their total and the ties are given."""
    return np.asarray((sums**2).sum(axis=-1))


@cache
def critical_difference(strategies: int, benchmarks: int, level: float = LEVEL) -> float:
    """The difference from which on two average ranks are told apart, at 5 % over all pairs (Nemenyi 1963)."""
    from scipy.stats import studentized_range

    q = studentized_range.ppf(level, strategies, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(strategies * (strategies + 1) / (6 * benchmarks)))


def tied_groups(
    average: Float[np.ndarray, " strategies"], critical: float
) -> list[tuple[float, float]]:
    """The largest groups of two and more average ranks that are closer than the critical difference, as first and last rank."""
    ordered = np.sort(average)
    last = [float(ordered[ordered - rank < critical].max()) for rank in ordered]
    spans = list(zip(map(float, ordered), last, strict=True))
    return [
        span for i, span in enumerate(spans)
        if (ordered <= span[1])[i:].sum() > 1 and (i == 0 or spans[i - 1][1] < span[1])
    ]  # fmt: skip


Contests = Mapping[str, Mapping[str, BySeed]]
"""For each benchmark, one score of each strategy that competes there, by seed."""


def names(labels: Iterable[Label]) -> dict[tuple[str, str], str]:
    """What strategies with their settings are called over benchmarks.

    By the name alone where no benchmark has it twice, so that one tuned for each benchmark is one; else with the settings.
    """
    found = defaultdict(set)
    for label in labels:
        found[label.strategy, label.benchmark].add(label.settings)
    twice = {strategy for (strategy, _), settings in found.items() if len(settings) > 1}
    return {
        (name, settings): f"{name} {settings}".strip() if name in twice else name
        for (name, _), of_benchmark in found.items()
        for settings in of_benchmark
    }


def contests(frame: pd.DataFrame, called: Mapping[tuple[str, str], str]) -> Contests:
    """Who competes on each benchmark, from a frame of one metric: no upper bound, and none that lacks a replicate there."""
    return {
        str(benchmark): whole(
            {called[key[1:]]: value for key, value in competing(by_strategy(on)).items()}
        )
        for benchmark, on in frame.groupby("benchmark", sort=True)
    }


@dataclass(frozen=True, eq=False)
class Ranking:
    """The strategies that compete on every benchmark where any two do, and their mean scores there."""

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
        """True if some average ranks could differ by the critical difference; Friedman's test may speak where they cannot."""
        return self.tested and self.critical <= len(self.strategies) - 1


def rank_strategies(found: Contests) -> Ranking:
    """Rank the strategies that share all benchmarks; none where fewer than two do, or there are fewer than two benchmarks."""
    shared = {benchmark: values for benchmark, values in sorted(found.items()) if len(values) > 1}
    everywhere = sorted(set.intersection(*map(set, shared.values()))) if shared else []
    if len(shared) < 2 or len(everywhere) < 2:
        return Ranking((), tuple(shared), np.empty((len(shared), 0)))
    means = np.array(
        [[over_seeds(values[name]).mean for name in everywhere] for values in shared.values()]
    )
    return Ranking(tuple(everywhere), tuple(shared), means)


class Tally(NamedTuple):
    """Against how many rivals, counted on every benchmark, a strategy wins, is tied and loses."""

    win: int = 0
    tie: int = 0
    loss: int = 0


def tallies(found: Contests) -> dict[str, Tally]:
    """Wins, ties and losses, told apart as bold numbers are; no entry where nothing has enough replicates to say."""
    total: defaultdict[str, Tally] = defaultdict(Tally)
    for values in found.values():
        scores = by_seed(values)
        if len(values) < 2 or scores.shape[1] < FEWEST:
            continue
        above = all_pairs(scores).above(higher_is_better=True)
        for name, win, loss in zip(values, above.sum(axis=1), above.sum(axis=0), strict=True):
            more = int(win), len(values) - 1 - int(win) - int(loss), int(loss)
            total[name] = Tally(*map(sum, zip(total[name], more, strict=True)))
    return dict(total)
