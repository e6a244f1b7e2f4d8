"""The scores of every strategy on every benchmark."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from retrograde.frame import Label, labels, score_frame
from retrograde.record import Cell, Record
from retrograde.result import Entry, Result, Section, Table, outcomes
from retrograde.score import METRICS, Metric
from retrograde.stats import leaders, t_interval


@dataclass(frozen=True)
class Scores(Result):
    """Mean and 95 % interval of each metric over replicates; bold: the best, and what is not distinguishable from it."""

    def table(self, records: Sequence[Record]) -> Table:
        frame, label = score_frame(records), labels(records)
        by_benchmark = defaultdict(list)
        for record in records:
            if not record.cell.episodic:
                by_benchmark[label[record.cell].benchmark].append(record)
        sections = tuple(_section(frame[frame.benchmark == b], by_benchmark[b], label) for b in sorted(by_benchmark))
        return Table("Scores", (_compared(), _metrics()), sections, _tidy(frame))


def _compared() -> str:
    return (
        "Percent: the mean over n replicates ± half of the 95 % t-interval. Bold: the best mean, and every strategy "
        "that a paired t-test on the shared seeds does not tell from it (p >= 0.05, not corrected for many comparisons). "
        "Upper bounds (†) and strategies of which a replicate is missing do not compete. Replicates with the same seed share "
        "class order, data order and initial weights."
    )


def _metrics() -> str:
    return " ".join(f"{m.name} (v{m.version}): {m.what} ({m.source})." for m in METRICS)


def _tidy(frame: pd.DataFrame) -> pd.DataFrame:
    columns = ["benchmark", "strategy", "settings", "metric"]
    rows = []
    for key, group in frame.groupby(columns, sort=True):
        mean, low, high, n = t_interval(group.value.to_numpy())
        rows.append((*key, mean, low, high, n))
    return pd.DataFrame(rows, columns=[*columns, "mean", "ci_low", "ci_high", "n"])


def _section(frame: pd.DataFrame, here: Sequence[Record], label: dict[Cell, Label]) -> Section:
    strategies = sorted({(r.upper_bound, *label[r.cell][1:]) for r in here})
    metrics = [metric for metric in METRICS if (frame.metric == metric.name).any()]
    values = {metric: _values(frame, metric) for metric in metrics}
    bold = {metric: leaders(_rivals(values[metric]), metric.higher_is_better) for metric in metrics}
    rows = []
    for strategy in strategies:
        upper, name, settings = strategy
        mine = [r.status for r in here if label[r.cell][1:] == (name, settings)]
        cells = [Entry(_interval(values[metric].get(strategy)), strategy in bold[metric]) for metric in metrics]
        title = f"{name} {settings}".strip() + (" †" if upper else "")
        rows.append((Entry(title), *cells, Entry(outcomes(mine))))
    return Section(label[here[0].cell].benchmark, ("strategy", *(metric.name for metric in metrics), "n"), tuple(rows))


Strategies = dict[tuple[bool, str, str], "pd.Series[float]"]


def _values(frame: pd.DataFrame, metric: Metric) -> Strategies:
    mine = frame[frame.metric == metric.name].set_index("seed")
    return {key: group.value for key, group in mine.groupby(["upper_bound", "strategy", "settings"])}  # type: ignore[misc]


def _rivals(values: Strategies) -> Strategies:
    return {key: value for key, value in sorted(values.items()) if not key[0]}  # upper bounds do not compete


def _interval(values: "pd.Series[float] | None") -> str:
    if values is None:
        return "–"
    mean, low, _, n = t_interval(values.to_numpy())
    return f"{round(100 * mean, 2) + 0.0:.2f}" + (f" ± {100 * (mean - low):.2f}" if n > 1 else "")
