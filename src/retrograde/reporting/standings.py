"""Standings on each benchmark: the best strategy, its lead, and the answer in words."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from retrograde.metrics.errors import ERRORS
from retrograde.metrics.frames import (
    END_METRICS,
    Key,
    Label,
    by_strategy,
    competing,
    end_frame,
    score_frame,
)
from retrograde.metrics.intervals import BySeed, over_seeds, significance
from retrograde.metrics.matrix import METRICS
from retrograde.metrics.paired import ALPHA, MIN_SEEDS, all_pairs, by_seed, complete_runs
from retrograde.metrics.ranking import display_names
from retrograde.records.cell import CellSpec
from retrograde.records.record import Record
from retrograde.reporting.cells import NO_SHARES, format_percent, row_title

if TYPE_CHECKING:
    import pandas as pd

FIRST = ("ACC", "MSE", "accuracy", "loss")
"""The first score of a benchmark: it has one of these."""
FORGETTING = ("forgetting", "MSE_forgetting")
"""The forgetting on a benchmark: it has one of these, or none."""
MAX_NAMED = 4
"""Largest number of benchmarks that the answer names; of more it counts."""
CLEARLY = 0.05
"""Difference in accuracy from which a strategy has clearly learned less than others."""


class Standing(NamedTuple):
    """The strategies on one benchmark by its first score.

    Attributes:
        benchmark: its title.
        metric: its first score; empty if no replicate is done.
        values: the scores by seed: of competitors, best first; of strategies with fewer replicates;
            of upper bounds.
        competitors: the number of competitors, which are the first of `values`.
        incomplete: the number of strategies that do not compete, since others have more replicates.
        p: the p-value of the paired t-test of the best and the next, after Holm's correction over
            all pairs, as in the table of significance; NaN where there is no test.
        forgetting: the forgetting of each strategy by seed; empty where there is none.
    """

    benchmark: str
    metric: str = ""
    values: Mapping[Key, BySeed] = MappingProxyType({})
    competitors: int = 0
    incomplete: int = 0
    p: float = float("nan")
    forgetting: Mapping[Key, BySeed] = MappingProxyType({})

    @property
    def best(self) -> Key:
        """The strategy with the best mean, if any competes."""
        return next(iter(self.values))

    @property
    def percent(self) -> bool:
        """True if the score is a share, which is shown in percent."""
        return self.metric not in NO_SHARES


def standings(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> list[Standing]:
    """The standing on every benchmark, in order of titles."""
    frame = end_frame(records, label)
    groups = dict(iter(frame[frame.metric.isin(FIRST)].groupby(["benchmark", "metric"])))
    entered: defaultdict[str, set[Label]] = defaultdict(set)
    for record in records:
        if not record.upper_bound:
            # those without a finished replicate are not in the frame
            entered[label[record.cell].benchmark].add(label[record.cell])
    found = {
        str(name): _standing(str(name), str(on), rows, len(entered[str(name)]))
        for (name, on), rows in groups.items()
    }
    forgotten = dict(iter(frame[frame.metric.isin(FORGETTING)].groupby("benchmark")))
    for name in found.keys() & forgotten.keys():
        found[name] = found[name]._replace(forgetting=by_strategy(forgotten[name]))
    names = sorted({each.benchmark for each in label.values()})
    return [found.get(name, Standing(name)) for name in names]


def _standing(benchmark: str, metric: str, rows: "pd.DataFrame", entered: int) -> Standing:
    sign = -1 if END_METRICS[metric] else 1
    values = by_strategy(rows)
    whole = complete_runs(competing(values))

    def place(key: Key) -> tuple[bool, bool, float, Key]:
        return key[0], key not in whole, sign * over_seeds(values[key]).mean, key

    ranked = {key: values[key] for key in sorted(values, key=place)}
    rivals = {key: of for key, of in ranked.items() if key in whole}
    pairs = all_pairs(by_seed(rivals))
    # the pair of the best and the next is the first of all pairs
    p = float(pairs.corrected[0]) if len(rivals) > 1 else float("nan")
    return Standing(benchmark, metric, ranked, len(rivals), entered - len(rivals), p)


class Statement(NamedTuple):
    """A part of the answer: the name of a strategy, and what is said of it."""

    strategy: str
    said: str


def answer(found: Sequence[Standing], label: Mapping[CellSpec, Label]) -> list[Statement]:
    """The best strategy of every benchmark, with its score, its seeds and its lead over the next.

    The statements are one sentence, without the marks between them.
    """
    called = display_names(label.values())
    won: defaultdict[str, list[Standing]] = defaultdict(list)
    alone: defaultdict[str, list[Standing]] = defaultdict(list)
    without = []
    for standing in found:
        if standing.competitors:
            groups = won if standing.competitors > 1 else alone
            groups[called[standing.best[1:]]].append(standing)
        else:
            without.append(standing.benchmark)
    if len(found) > MAX_NAMED:
        return _counted(won, len(found))
    none = "no strategy that competes has a finished replicate"
    nothing = [Statement("", f"{none} on {' or '.join(without)}")] if without else []
    if not found:
        return [Statement("", none)]
    return [
        *(Statement(name, f" is best on {_on_each(on)}") for name, on in won.items()),
        *(
            Statement(name, f" is the only competitor on {_on_each(on)}")
            for name, on in alone.items()
        ),
        *nothing,
    ]


def _on_each(on: Sequence[Standing]) -> str:
    *others, last = [f"{standing.benchmark} ({'; '.join(_said(standing))})" for standing in on]
    return f"{', on '.join(others)} and on {last}" if others else last


def _counted(won: Mapping[str, Sequence[Standing]], total: int) -> list[Statement]:
    """The answer where there are too many benchmarks to name."""
    if not won:
        return [Statement("", f"no two strategies compete on any of {total} benchmarks")]
    (first, on_first), *others = sorted(won.items(), key=lambda each: (-len(each[1]), each[0]))
    statements = [
        Statement(first, f" is best on {len(on_first)} of {total} benchmarks"),
        *(Statement(name, f" on {len(on)}") for name, on in others),
    ]
    compared = [standing for on in won.values() for standing in on]
    if len(compared) < total:
        several = f"on {total - len(compared)} no two strategies compete"
        statements.append(Statement("", several))
    leads = sum(standing.p < ALPHA for standing in compared)
    return [*statements, Statement("", f"the lead over the next is significant on {leads}")]


def lead_in_words(standing: Standing) -> str:
    """The best strategy of a benchmark, with its score, its seeds and its lead over the next."""
    if not standing.competitors:
        return ""
    name = row_title(standing.best)
    verb = "is best" if standing.competitors > 1 else "is the only competitor"
    return f"{name} {verb}: {'; '.join(_said(standing))}."


def _said(standing: Standing) -> Iterator[str]:
    """The score of the best strategy, its lead, and the number of those that do not compete."""
    best, *others = list(standing.values)[: standing.competitors]
    n = len(standing.values[best])
    seeds = "a single seed" if n == 1 else f"{n} seeds"
    order = "" if END_METRICS[standing.metric] else ", lower is better"
    yield f"{standing.metric} {_score_text(standing, best)} over {seeds}{order}"
    for following in others[:1]:
        lead = f"lead over {row_title(following)}"
        if np.isnan(standing.p):
            yield f"{lead} not tested, which takes {MIN_SEEDS} shared seeds"
        else:
            verdict = "" if standing.p < ALPHA else "not "
            yield f"{lead} {verdict}significant, {significance(standing.p)}"
    if standing.incomplete:
        noun = "strategy" if standing.incomplete == 1 else "strategies"
        yield f"{standing.incomplete} {noun} with fewer replicates left out"


def _score_text(standing: Standing, key: Key) -> str:
    values = standing.values[key]
    return f"{format_percent(values)} %" if standing.percent else format_plain(values)


def format_plain(values: BySeed) -> str:
    """The mean of some replicates that are no shares, and half of its 95 % t-interval."""
    mean, low, _, n = over_seeds(values)
    return f"{mean:.4g} ± {mean - low:.2g}" if n > 1 else f"{mean:.4g}"


def notes_on_learning(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> dict[str, str]:
    """A note for each benchmark on which the strategy that forgets least has learned clearly less.

    The strategy with the least mean forgetting is noted if its mean LA is at least `CLEARLY` below
    the median of the others. Upper bounds and strategies with fewer replicates than another are
    left out.
    """
    scores = score_frame(records, label, (*METRICS, *ERRORS))
    shown = scores[scores.metric.isin(["forgetting", "LA"])]
    notes: dict[str, str] = {}
    for benchmark, rows in shown.groupby("benchmark"):
        means = {
            str(metric): _means(by_strategy(of_metric))
            for metric, of_metric in rows.groupby("metric")
        }
        note = _note(means["forgetting"], means["LA"]) if len(means) == 2 else ""
        if note:
            notes[str(benchmark)] = note
    return notes


def _means(values: Mapping[Key, BySeed]) -> dict[Key, float]:
    rivals = complete_runs(competing(values))
    return {key: over_seeds(of_rival).mean for key, of_rival in rivals.items()}


def _note(forgetting: Mapping[Key, float], learning: Mapping[Key, float]) -> str:
    """The note on one benchmark; empty if there is nothing to note."""
    both = [key for key in forgetting if key in learning]
    if len(both) < 2:
        return ""
    least = min(both, key=forgetting.__getitem__)
    median = float(np.median([learning[key] for key in both if key != least]))
    # rounding does not decide
    if learning[least] > median - CLEARLY + 1e-9:
        return ""
    return (
        f"{row_title(least)} forgets least ({100 * forgetting[least]:.2f} %), but has also learned "
        f"less: its accuracy right after learning (LA) is {100 * learning[least]:.2f} %, "
        f"{100 * (median - learning[least]):.2f} points below the median of the other strategies. "
        "What was not learned cannot be forgotten; ACC counts both. (Noted if the strategy with "
        f"the least mean forgetting is {100 * CLEARLY:.0f} points or more below that median, "
        "without upper bounds and strategies with fewer replicates than another.)"
    )
