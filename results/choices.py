"""Scores and ranks of strategies by the way in which their settings were chosen."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from retrograde import Record, TableResult
from retrograde.metrics import ALPHA, BySeed, all_pairs, by_seed, over_seeds
from retrograde.reporting import Entry, Section, Table

from ._choices import Way, choices_of

TIDY = ["benchmark", "chosen", "strategy", "ACC", "ci_low", "ci_high", "n", "rank"]


@dataclass(frozen=True)
class Choices(TableResult):
    """Mean ACC and rank of each strategy, for each way in which settings were chosen.

    It shows streams on which the settings of at least two strategies were chosen in several ways.
    """

    def table(self, records: Sequence[Record]) -> Table:
        sections = []
        notes = []
        rows: list[dict[str, object]] = []
        for benchmark, ways in choices_of(records).items():
            sections.append(_section(benchmark, ways))
            notes += [f"{benchmark}: {text}" for text in _agreements(ways)]
            rows += _tidy(benchmark, ways)
        notes = [_NOTE, *notes] if sections else []
        title = "Scores by the way in which settings were chosen"
        return Table(title, tuple(notes), tuple(sections), pd.DataFrame(rows, columns=TIDY))


_NOTE = (
    "ACC in percent: the mean over replicates ± half of the 95 % t-interval, and in brackets the "
    "rank among the strategies of the table. Kendall's tau compares two rankings: 1 for equal "
    "ones, -1 for opposite ones. Two strategies differ significantly if p < 0.05 in a paired "
    "t-test after Holm's correction over all pairs of a column."
)


def _ranks(way: Way) -> dict[str, float]:
    """The rank of each strategy by its mean; 1 for the highest."""
    from scipy.stats import rankdata

    means = [over_seeds(values).mean for values in way.values()]
    return dict(zip(way, rankdata(np.negative(means)).tolist(), strict=True))


def _section(benchmark: str, ways: Mapping[str, Way]) -> Section:
    ranks = {way: _ranks(of_way) for way, of_way in ways.items()}
    first = next(iter(ranks.values()))
    rows = []
    for name in sorted(first, key=first.__getitem__):
        entries = [_entry(of_way[name], ranks[way][name]) for way, of_way in ways.items()]
        rows.append((Entry(name), *entries))
    return Section(benchmark, ("strategy", *ways), tuple(rows))


def _entry(values: BySeed, rank: float) -> Entry:
    mean, low, _, n = over_seeds(values)
    spread = f" ± {100 * (mean - low):.2f}" if n > 1 else ""
    return Entry(f"{100 * mean:.2f}{spread} ({rank:g})")


def _agreements(ways: Mapping[str, Way]) -> Iterator[str]:
    """How far the rankings of each pair of ways agree."""
    from scipy.stats import kendalltau

    for (one, first), (other, second) in combinations(ways.items(), 2):
        tau = kendalltau([*_ranks(first).values()], [*_ranks(second).values()]).statistic
        before, after = _order(first), _order(second)
        turned = int((before.mean * after.mean < 0).sum())
        both = int((before.significant * after.significant < 0).sum())
        yield (
            f"{one} and {other}: tau {tau:.2f}; of {len(before.mean)} pairs of strategies, "
            f"{turned} change their order, and {both} of these differ significantly both times."
        )


class _Order(NamedTuple):
    """For each pair of strategies: 1 if the first is better, -1 if the second is, 0 if neither.

    Attributes:
        mean: by their means.
        significant: 0 too where they do not differ significantly.
    """

    mean: Float[np.ndarray, " pairs"]
    significant: Float[np.ndarray, " pairs"]


def _order(way: Way) -> _Order:
    scores = by_seed(way)
    tests = all_pairs(scores)
    means = np.nanmean(scores, axis=1)
    ahead = np.sign(means[tests.first] - means[tests.second])
    return _Order(ahead, ahead * (tests.corrected < ALPHA))


def _tidy(benchmark: str, ways: Mapping[str, Way]) -> Iterator[dict[str, object]]:
    for way, of_way in ways.items():
        ranks = _ranks(of_way)
        for name, values in of_way.items():
            mean, low, high, n = over_seeds(values)
            numbers = (mean, low, high, n, ranks[name])
            yield dict(zip(TIDY, (benchmark, way, name, *numbers), strict=True))
