"""Every published number that a cell of ours stands beside, and whether the two agree."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from retrograde.frame import Label, adaptation_frame, labels, row_title, score_frame
from retrograde.published import Published, finder, published
from retrograde.record import Cell, Record
from retrograde.result import Entry, Result, Section, Table, outcomes
from retrograde.stats import Interval, difference, t_interval

MARGIN = 3.0
"""Points of a percentage within which a number counts as reproduced, whatever the intervals say."""
COLUMNS = ("strategy", "published", "metric", "theirs", "ours", "n", "difference", f"within {MARGIN:g}", "verdict")
TIDY = [
    *("benchmark", "strategy", "settings", "metric", "method", "paper", "table", "protocol", "definition", "checked"),
    *("theirs", "spread", "spread_is", "runs", "mean", "ci_low", "ci_high", "n"),
    *("difference", "difference_low", "difference_high", "verdict", "reason"),
]
Values = Float[np.ndarray, " n"]
SPREADS = {"standard deviation": "s.d.", "standard error": "s.e.", "95 % interval": "95 %"}


class Beside(NamedTuple):
    """One published number and ours; accuracies are in percent."""

    label: Label
    upper_bound: bool
    statuses: Sequence[str]  # of our replicates
    entry: Published
    metric: str
    ours: Interval
    less: Interval  # ours less theirs
    reason: str  # why the two are not comparable; nothing where they are

    @property
    def in_percent(self) -> bool:
        return not _is_loss(self.metric)


@dataclass(frozen=True)
class AgainstPublished(Result):
    """The literature's numbers beside ours: their difference, and whether they agree, differ or are not comparable."""

    def table(self, records: Sequence[Record]) -> Table:
        label = labels(records)
        pairs = sorted(_pairs(records, label), key=lambda pair: (pair.label.benchmark, pair.upper_bound, pair.label))
        by_benchmark = defaultdict(list)
        for pair in pairs:
            by_benchmark[pair.label.benchmark].append(_row(pair))
        sections = tuple(Section(name, COLUMNS, tuple(rows)) for name, rows in by_benchmark.items())
        tidy = [_tidy(pair) for pair in pairs if pair.ours.n]
        return Table("Published numbers", (_NUMBERS, _VERDICT), sections, pd.DataFrame(tidy, columns=TIDY))


_NUMBERS = (
    "Theirs: as printed, in percent unless a loss; in brackets what its ± is (s.d.: standard deviation, s.e.: standard error "
    "of the mean, 95 %: interval over the test tasks of one run) and the number of runs. Unverified: never read in the source "
    "or a copy of it. Ours: the mean over n replicates ± half of the 95 % t-interval."
)
_VERDICT = (
    "Difference: ours less theirs ± half of its 95 % interval: Welch's; where the source gives no spread over its runs, these "
    "(one, if it does not say how many) are taken to scatter as ours. Agrees: the interval, widened by half a unit of the last "
    "digit printed, holds 0; differs: it does not, as one in twenty does by chance. An interval wider than "
    f"± {MARGIN:g} says little. Within {MARGIN:g}: the means are at most {MARGIN:g} points apart. Protocols and the sources' "
    "definitions are in the CSV."
)


def _pairs(records: Sequence[Record], label: Mapping[Cell, Label]) -> Iterator[Beside]:
    """Every number beside a cell, those beside one cell in the order of the file."""
    cells, beside = defaultdict(list), finder(published())
    for record in records:
        cells[record.cell].append(record)
    known = {cell: found for cell in cells if (found := beside(cell))}
    measured = _measured(records, label) if known else {}
    for cell, entries in known.items():
        replicates = cells[cell]
        bound, statuses = replicates[0].upper_bound, [record.status for record in replicates]
        for entry in entries:
            for metric in entry.row.values:
                values = measured.get((*label[cell], metric), np.empty(0))
                numbers = t_interval(values), _less(values, entry, metric)
                reason = entry.differs(cell) or _lacking(statuses, len(values))
                yield Beside(label[cell], bound, statuses, entry, metric, *numbers, reason)


def _is_loss(metric: str) -> bool:
    return metric.startswith("loss")


def _measured(records: Sequence[Record], label: Mapping[Cell, Label]) -> dict[tuple[str, ...], Values]:
    """What replicates have, by benchmark, strategy, settings and metric, such as "accuracy@3" after three inner steps."""
    adapted = adaptation_frame(records, label)
    adapted = adapted.assign(metric=[f"{metric}@{step}" for metric, step in zip(adapted.metric, adapted.step, strict=True)])
    found = defaultdict(list)
    for frame in (score_frame(records, label), adapted):
        columns = (frame[name].tolist() for name in ("benchmark", "strategy", "settings", "metric", "value"))
        for *key, value in zip(*columns, strict=True):
            found[tuple(key)].append(value if _is_loss(key[-1]) else 100 * value)
    return {key: np.array(values) for key, values in found.items()}


def _less(values: Values, entry: Published, metric: str) -> Interval:
    value, error, _ = entry.number(metric)
    if len(values) > 1:
        return difference(values, value, error, entry.source.n or 1)
    return Interval(t_interval(values).mean - value, float("nan"), float("nan"), len(values))


def _lacking(statuses: Sequence[str], n: int) -> str:
    """What our replicates lack for a comparison; nothing where that is nothing."""
    if lost := len(statuses) - statuses.count("done"):
        return f"{lost} of our replicates diverged or failed"
    return "" if n > 1 else ("we have no such number", "a single replicate of ours")[n]


def _verdict(pair: Beside) -> tuple[str, str]:
    """The verdict, and what is to be said of it."""
    if pair.reason:
        return "not comparable", pair.reason
    rounding = pair.entry.number(pair.metric).rounding
    holds = pair.less.low - rounding <= 0 <= pair.less.high + rounding
    wide = pair.in_percent and pair.less.high - pair.less.mean > MARGIN
    return "agrees" if holds else "differs", "the interval is wide" if wide else ""


def _row(pair: Beside) -> tuple[Entry, ...]:
    source = pair.entry.source
    about = ", ".join(filter(None, [SPREADS.get(source.spread, ""), f"n = {source.n}" if source.n else ""]))
    theirs = pair.entry.text(pair.metric) + (f" ({about})" if about else "")
    close = ("yes" if abs(pair.less.mean) <= MARGIN else "no") if pair.in_percent and pair.ours.n else ""
    texts = (
        *(row_title((pair.upper_bound, *pair.label[1:])), pair.entry.where, pair.metric, theirs),
        *(_number(pair.ours), outcomes(pair.statuses), _number(pair.less, "+"), close, ": ".join(filter(None, _verdict(pair)))),
    )
    return tuple(map(Entry, texts))


def _number(interval: Interval, sign: str = "") -> str:
    mean, half = interval.mean, interval.high - interval.mean
    if np.isnan(mean):
        return "–"
    if abs(mean) >= 1000:
        return f"{mean:{sign}.2g}"  # of a strategy that all but diverged
    return f"{round(mean, 2) + 0.0:{sign}.2f}" + ("" if np.isnan(half) else f" ± {half:.2f}")


def _tidy(pair: Beside) -> tuple[object, ...]:
    source = pair.entry.source
    value, _, spread = pair.entry.text(pair.metric).partition(" ± ")
    told = (source.paper, source.table, source.protocol, source.metrics[pair.metric], source.checked)
    theirs = (value, spread, source.spread, str(source.n or ""))
    return (*pair.label, pair.metric, pair.entry.row.method, *told, *theirs, *pair.ours, *pair.less[:3], *_verdict(pair))
