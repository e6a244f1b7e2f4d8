"""Significant differences: every strategy against the best of its benchmark."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from retrograde import Record, TableResult
from retrograde.metrics import (
    ALPHA,
    END_METRICS,
    MIN_SEEDS,
    BySeed,
    Interval,
    Key,
    Pairs,
    all_pairs,
    bootstrap_interval,
    by_seed,
    by_strategy,
    cell_labels,
    competing,
    complete_runs,
    end_frame,
    least_p,
    over_seeds,
    p_text,
    sign_flip_p,
    t_intervals,
)
from retrograde.reporting import Entry, Section, Table, format_score, row_title

MAX_FOR_ALL_PAIRS = 20
"""Largest number of rivals with every pair in the CSV; above it, each against the best."""
MAX_ROWS = 100
"""Largest number of rivals with a row in a section, the best first; the CSV has all."""
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
    "bootstrap_low",
    "bootstrap_high",
    "p_t",
    "p_holm",
    "p_sign_flip",
    "least_p_sign_flip",
    "verdict",
]

Scores = Float[np.ndarray, "rivals seeds"]


class Comparison(NamedTuple):
    """The difference of one strategy's scores from those of another, paired by seed."""

    strategy: Key
    than: Key
    difference: Interval
    bootstrap: tuple[float, float]
    p: float
    corrected: float
    sign_flip: float

    def verdict(self, higher_is_better: bool) -> str:
        """The result of the corrected test in words."""
        if np.isnan(self.corrected):
            return "too few replicates to say"
        if self.corrected >= ALPHA:
            return "tied"
        better = (self.difference.mean > 0) == higher_is_better
        return "better" if better else "worse"


class Contest(NamedTuple):
    """All strategies that compete for one metric on one benchmark, the best first.

    Strategies that lost replicates are counted in `left_out`.
    """

    means: dict[Key, float]
    against_best: list[Comparison]
    others: list[Comparison]
    left_out: dict[Key, int]
    replicates: int


@dataclass(frozen=True)
class Significance(TableResult):
    """Each strategy against the best: paired difference and interval, t-test, sign-flip test."""

    regression: ClassVar[bool] = True

    def table(self, records: Sequence[Record]) -> Table:
        frame = end_frame(records, cell_labels(records))
        sections = []
        rows = []
        most = 0
        for benchmark, metric, contest in _contests(frame):
            # a single strategy has nothing to be compared with
            if len(contest.means) + len(contest.left_out) > 1:
                sections.append(_section(f"{benchmark} — {metric}", contest, metric))
                most = max(most, len(contest.means))
            comparisons = (*contest.against_best, *contest.others)
            rows += [_tidy(benchmark, metric, comparison) for comparison in comparisons]
        notes = (_TESTS, _VERDICT, *([_CUT] if most > MAX_ROWS else []))
        return Table("Significance", notes, tuple(sections), pd.DataFrame(rows, columns=TIDY))


def _contests(frame: pd.DataFrame) -> Iterator[tuple[str, str, Contest]]:
    """The contest for each metric on each benchmark that has it."""
    for benchmark, group in frame.groupby("benchmark", sort=True):
        for metric, higher_is_better in END_METRICS.items():
            scores = group[group.metric == metric]
            if not scores.empty:
                competitors = competing(by_strategy(scores))
                yield str(benchmark), metric, _contest(competitors, higher_is_better)


_TESTS = (
    "Each strategy against the one with the best mean of its benchmark (the first row), on the "
    "replicates that share seed, class order, data order and initial weights: the mean difference "
    "± half of its 95 % t-interval, in points of a percentage unless a loss; the p-value of the "
    "paired t-test, plain and after Holm's correction over all pairs of the section; that of the "
    "sign-flip test (exact up to 16 replicates), which supposes no normal distribution, with "
    "the least that it can reach with n replicates (with five 0.0625, so that it never falls "
    "below 0.05). Where all differences are equal, the t-test has that least p too. Few-shot: "
    "accuracy or loss after a strategy's last inner step."
)
_VERDICT = (
    f"Verdict: worse where p (Holm) < 0.05, else tied; below {MIN_SEEDS} replicates nothing is "
    "tested. Tied means no significant difference, which is not the same as equal. Upper bounds "
    f"are not here. The CSV has every pair (above {MAX_FOR_ALL_PAIRS} strategies each against the "
    "best) and, for the eye, the percentile bootstrap interval of the difference, too narrow with "
    "few replicates."
)
_CUT = (
    f"Of more than {MAX_ROWS} strategies the best {MAX_ROWS} have a row here, and the CSV has all."
)


def _contest(values: dict[Key, BySeed], higher_is_better: bool) -> Contest:
    rivals = complete_runs(values)
    means = {key: over_seeds(of_rival).mean for key, of_rival in rivals.items()}
    sign = -1 if higher_is_better else 1
    order = sorted(rivals, key=lambda key: (sign * means[key], key))
    scores = by_seed({key: rivals[key] for key in order})
    pairs = all_pairs(scores)
    # the pairs of the best come first; those of all others would be too many for a long list
    shown = np.flatnonzero((pairs.first == 0) | (len(order) <= MAX_FOR_ALL_PAIRS))
    comparisons = list(_comparisons(scores, order, pairs, shown))
    of_best = max(len(order) - 1, 0)
    return Contest(
        means={key: means[key] for key in order},
        against_best=comparisons[:of_best],
        others=comparisons[of_best:],
        left_out={key: len(lost) for key, lost in sorted(values.items()) if key not in rivals},
        replicates=max(map(len, values.values()), default=0),
    )


def _comparisons(
    scores: Scores, order: list[Key], pairs: Pairs, shown: Int[np.ndarray, " pairs"]
) -> Iterator[Comparison]:
    """The comparisons of some pairs, each of the lesser mean against the other."""
    first = pairs.first[shown]
    second = pairs.second[shown]
    differences = scores[second] - scores[first]
    shared = ~np.isnan(differences)
    n = shared.sum(axis=1)
    means, lows, highs = t_intervals(differences[shared], n).tolist()
    low, high, sign_flip = _free_of_normality(differences).tolist()
    # reading a list is faster than reading an array number by number
    counts = n.tolist()
    p = pairs.p[shown].tolist()
    corrected = pairs.corrected[shown].tolist()
    for i in range(len(shown)):
        yield Comparison(
            strategy=order[second[i]],
            than=order[first[i]],
            difference=Interval(means[i], lows[i], highs[i], counts[i]),
            bootstrap=(low[i], high[i]),
            p=p[i],
            corrected=corrected[i],
            sign_flip=sign_flip[i],
        )


def _free_of_normality(differences: Scores) -> Float[np.ndarray, "numbers=3 pairs"]:
    """The bootstrap bounds and the sign-flip p-value of each row; a row may lack some seeds."""
    numbers = np.full((3, len(differences)), np.nan)
    n = (~np.isnan(differences)).sum(axis=1)
    # rows with as many seeds are one array
    for count in np.unique(n):
        rows = differences[n == count]
        values = rows[~np.isnan(rows)].reshape(len(rows), count)
        numbers[:, n == count] = [*bootstrap_interval(values), sign_flip_p(values)]
    return numbers


def _section(heading: str, contest: Contest, metric: str) -> Section:
    (best, mean), *_ = contest.means.items()
    n = str(contest.replicates)
    none = ["–"] * 5
    rows = [_words(row_title(best), format_score(mean, metric), *none, n, "best mean")]
    shown = contest.against_best[: MAX_ROWS - 1]
    rows += [_row(rival, contest.means[rival.strategy], metric) for rival in shown]
    for key, done in contest.left_out.items():
        reason = f"left out: {done} of {n} replicates"
        rows.append(_words(row_title(key), "–", *none, str(done), reason))
    return Section(heading, COLUMNS, tuple(rows))


def _words(*texts: str) -> tuple[Entry, ...]:
    return tuple(map(Entry, texts))


def _row(comparison: Comparison, mean: float, metric: str) -> tuple[Entry, ...]:
    difference, low, _, n = comparison.difference
    signed = format_score(difference, metric, "+") if n else "–"
    half = "" if np.isnan(low) else f" ± {format_score(difference - low, metric)}"
    return _words(
        row_title(comparison.strategy),
        format_score(mean, metric),
        signed + half,
        *map(p_text, _p_values(comparison)),
        str(n),
        comparison.verdict(END_METRICS[metric]),
    )


def _p_values(comparison: Comparison) -> tuple[float, float, float, float]:
    least = least_p(comparison.difference.n)
    return comparison.p, comparison.corrected, comparison.sign_flip, least


def _tidy(benchmark: str, metric: str, comparison: Comparison) -> tuple[object, ...]:
    mean, low, high, n = comparison.difference
    return (
        benchmark,
        metric,
        *comparison.strategy[1:],
        *comparison.than[1:],
        n,
        mean,
        low,
        high,
        *comparison.bootstrap,
        *_p_values(comparison),
        comparison.verdict(END_METRICS[metric]),
    )
