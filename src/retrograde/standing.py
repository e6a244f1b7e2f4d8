"""How strategies stand over several benchmarks: what is one strategy there, who is ranked, and who wins."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from retrograde.frame import Label, by_strategy, competing
from retrograde.paired import FEWEST, all_pairs, by_seed, whole
from retrograde.ranks import Friedman, Scores, critical_difference, friedman, ranks
from retrograde.stats import BySeed, over_seeds

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
        str(benchmark): whole({called[key[1:]]: value for key, value in competing(by_strategy(on)).items()})
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


def ranking(found: Contests) -> Ranking:
    """Rank the strategies that share all benchmarks; none where fewer than two do, or there are fewer than two benchmarks."""
    shared = {benchmark: values for benchmark, values in sorted(found.items()) if len(values) > 1}
    everywhere = sorted(set.intersection(*map(set, shared.values()))) if shared else []
    if len(shared) < 2 or len(everywhere) < 2:
        return Ranking((), tuple(shared), np.empty((len(shared), 0)))
    means = np.array([[over_seeds(values[name]).mean for name in everywhere] for values in shared.values()])
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
