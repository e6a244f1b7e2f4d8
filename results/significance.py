"""What differs by more than chance: every strategy against the best of its benchmark."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from retrograde import Record, Result
from retrograde.metrics import (
    ALPHA,
    ENDS,
    FEWEST,
    BySeed,
    Interval,
    Key,
    Pairs,
    all_pairs,
    bootstrap_interval,
    by_seed,
    by_strategy,
    competing,
    end_frame,
    labels,
    least_p,
    over_seeds,
    p_text,
    sign_flip_p,
    t_intervals,
    whole,
)
from retrograde.reporting import Entry, Section, Table, number, row_title

MANY = 20
"""Rivals up to which the CSV has every pair; of more, it has each against the best."""
SHOWN = 100
"""Rivals that have a row for people, the best of a benchmark; the CSV has all."""
COLUMNS = (
    "strategy",
    "mean",
    "difference from the best",
    "p (t)",
    "p (Holm)",
    "p (sign flip)",
    "least p",
    "n",
    "verdict",
)
TIDY = [
    *(
        "benchmark",
        "metric",
        "strategy",
        "settings",
        "than_strategy",
        "than_settings",
        "n",
        "difference",
        "ci_low",
        "ci_high",
    ),
    *(
        "bootstrap_low",
        "bootstrap_high",
        "p_t",
        "p_holm",
        "p_sign_flip",
        "least_p_sign_flip",
        "verdict",
    ),
]

Scores = Float[np.ndarray, "rivals seeds"]


class Comparison(NamedTuple):
    """One strategy against another: the difference of its scores from the other's, paired by seed."""

    strategy: Key
    than: Key
    difference: Interval
    bootstrap: tuple[float, float]
    p: float
    corrected: float
    sign_flip: float

    def verdict(self, higher_is_better: bool) -> str:
        """The test in words."""
        if np.isnan(self.corrected):
            return "too few replicates to say"
        return (
            "tied"
            if self.corrected >= ALPHA
            else "better"
            if (self.difference.mean > 0) == higher_is_better
            else "worse"
        )


class Contest(NamedTuple):
    """All strategies that compete for one metric on one benchmark, the best first, and those that lost replicates."""

    means: dict[Key, float]
    against_best: list[Comparison]
    others: list[Comparison]
    left_out: dict[Key, int]
    replicates: int


@dataclass(frozen=True)
class Significance(Result):
    """Each strategy against the best: the paired difference with its interval, t-test, sign-flip test and a verdict."""

    def table(self, records: Sequence[Record]) -> Table:
        frame = end_frame(records, labels(records))
        sections, rows, most = [], [], 0
        for benchmark, on in frame.groupby("benchmark", sort=True):
            for metric in (metric for metric in ENDS if (on.metric == metric).any()):
                contest = _contest(competing(by_strategy(on[on.metric == metric])), ENDS[metric])
                if len(contest.means) + len(contest.left_out) > 1:
                    sections.append(_section(f"{benchmark} — {metric}", contest, metric))
                    most = max(most, len(contest.means))
                rows += [
                    _tidy(str(benchmark), metric, c)
                    for c in (*contest.against_best, *contest.others)
                ]
        notes = (_TESTS, _VERDICT, *([_CUT] if most > SHOWN else []))
        return Table("Significance", notes, tuple(sections), pd.DataFrame(rows, columns=TIDY))


_TESTS = (
    "Each strategy against the one with the best mean of its benchmark (the first row), on the "
    "replicates that share seed, class order, data order and initial weights: the mean difference "
    "± half of its 95 % t-interval, in points of a percentage unless a loss; the p-value of the "
    "paired t-test, plain and after Holm's correction over all pairs of the section; that of the "
    "sign-flip test (exact up to 16 replicates), which supposes no normal distribution, beside "
    "the least that it can reach with n replicates (with five 0.0625, so that it never falls "
    "below 0.05). Where all differences are equal, the t-test has that least p too. Few-shot: "
    "accuracy or loss after a strategy's last inner step."
)
_VERDICT = (
    f"Verdict: worse where p (Holm) < 0.05, else tied; below {FEWEST} replicates nothing is said. "
    "Tied means not told apart, which is not the same as equal. Upper bounds are not here. The "
    f"CSV has every pair (above {MANY} strategies each against the best) and, for the eye, the "
    "percentile bootstrap interval of the difference, too narrow with few replicates."
)
_CUT = f"Of more than {SHOWN} strategies the best {SHOWN} have a row here, and the CSV has all."


def _contest(values: dict[Key, BySeed], higher_is_better: bool) -> Contest:
    rivals = whole(values)
    sign = 1 if higher_is_better else -1
    means = {key: over_seeds(rivals[key]).mean for key in rivals}
    order = sorted(rivals, key=lambda key: (-sign * means[key], key))
    scores = by_seed({key: rivals[key] for key in order})
    pairs = all_pairs(scores)
    shown = np.flatnonzero((pairs.first == 0) | (len(order) <= MANY))
    found = list(_comparisons(scores, order, pairs, shown))
    best = max(len(order) - 1, 0)
    lost = {key: len(value) for key, value in sorted(values.items()) if key not in rivals}
    return Contest(
        {key: means[key] for key in order},
        found[:best],
        found[best:],
        lost,
        max(map(len, values.values()), default=0),
    )


def _comparisons(
    scores: Scores, order: list[Key], pairs: Pairs, shown: Int[np.ndarray, " pairs"]
) -> Iterator[Comparison]:
    """The pairs at some places, each as the one with the lesser mean against the other."""
    first, second = pairs.first[shown], pairs.second[shown]
    differences = scores[second] - scores[first]
    shared = ~np.isnan(differences)
    n = shared.sum(axis=1)
    intervals = map(Interval, *t_intervals(differences[shared], n).tolist(), n.tolist())
    low, high, sign_flip = _free_of_normality(differences).tolist()
    names = zip((order[place] for place in second), (order[place] for place in first), strict=True)
    tests = zip(pairs.p[shown].tolist(), pairs.corrected[shown].tolist(), sign_flip, strict=True)
    for pair, interval, bootstrap, p in zip(
        names, intervals, zip(low, high, strict=True), tests, strict=True
    ):
        yield Comparison(*pair, interval, bootstrap, *p)


def _free_of_normality(differences: Scores) -> Float[np.ndarray, "numbers=3 pairs"]:
    """The bootstrap bounds and the sign-flip p-values of rows that may lack a seed, those with as many seeds at once."""
    found, n = np.full((3, len(differences)), np.nan), (~np.isnan(differences)).sum(axis=1)
    for count in np.unique(n):
        rows = differences[n == count]
        values = rows[~np.isnan(rows)].reshape(len(rows), count)
        found[:, n == count] = [*bootstrap_interval(values), sign_flip_p(values)]
    return found


def _section(heading: str, contest: Contest, metric: str) -> Section:
    (best, mean), *_ = contest.means.items()
    rows = [
        _words(
            row_title(best), number(mean, metric), *["–"] * 5, str(contest.replicates), "best mean"
        )
    ]
    rows += [
        _row(comparison, contest.means[comparison.strategy], metric)
        for comparison in contest.against_best[: SHOWN - 1]
    ]
    rows += [
        _words(
            row_title(key), *["–"] * 6, str(n), f"left out: {n} of {contest.replicates} replicates"
        )
        for key, n in contest.left_out.items()
    ]
    return Section(heading, COLUMNS, tuple(rows))


def _words(*texts: str) -> tuple[Entry, ...]:
    return tuple(map(Entry, texts))


def _row(found: Comparison, mean: float, metric: str) -> tuple[Entry, ...]:
    difference, low, _, n = found.difference
    half = "" if np.isnan(low) else f" ± {number(difference - low, metric)}"
    tests = map(p_text, (found.p, found.corrected, found.sign_flip, least_p(n)))
    shown = number(mean, metric), (number(difference, metric, "+") if n else "–") + half
    return _words(row_title(found.strategy), *shown, *tests, str(n), found.verdict(ENDS[metric]))


def _tidy(benchmark: str, metric: str, found: Comparison) -> tuple[object, ...]:
    mean, low, high, n = found.difference
    names, tests = (
        (*found.strategy[1:], *found.than[1:]),
        (found.p, found.corrected, found.sign_flip, least_p(n)),
    )
    return (
        benchmark,
        metric,
        *names,
        n,
        mean,
        low,
        high,
        *found.bootstrap,
        *tests,
        found.verdict(ENDS[metric]),
    )
