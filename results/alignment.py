"""Gradient alignment along streams, beside accuracy and forgetting, and how far it goes with forgetting over cells."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from retrograde.alignment import EXPLAINING, MEASURES, OUTCOMES, correlations, examples, layer_frame, replicate_frame
from retrograde.frame import Label, by_strategy, labels, outcomes_of, row_title
from retrograde.record import Cell, Record
from retrograde.result import Entry, Result, Section, Table
from retrograde.stats import BySeed, Correlation, over_seeds, t_interval

COLUMNS = {
    "ACC": "ACC %",
    "forgetting": "forgetting %",
    "arriving": "cos arriving",
    "conflict": "conflict %",
    "among": "cos among",
    "update": "update",
    "predicted": "predicted change",
    "real": "real change",
}


@dataclass(frozen=True)
class Alignment(Result):
    """Cosines between the gradients of tasks, and with the step taken, along streams; their correlation with forgetting."""

    def table(self, records: Sequence[Record]) -> Table:
        label = labels(records)
        frame, layers = replicate_frame(records, label), layer_frame(records, label)
        by_benchmark = defaultdict(list)
        for record in records:
            by_benchmark[label[record.cell].benchmark].append(record)
        probed = sorted(set(frame.benchmark))
        sections = [_section(frame[frame.benchmark == name], by_benchmark[name], label) for name in probed]
        sections += [_layers(layers[layers.benchmark == name]) for name in sorted(set(layers.benchmark))]
        related = correlations(frame)
        if related:
            sections.append(_correlations(related))
        return Table("Alignment", (_MEASURED, _COLUMNS, _UPDATES, _CORRELATED), tuple(sections), _tidy(frame, related))


_MEASURED = (
    "Mean over n replicates of the mean over task ends, ± half of the 95 % t-interval over replicates. Gradients are of the "
    "cross-entropy of the model's outputs, over all parameters together, on as many test examples of each task as the heading "
    "says: the same at every look, drawn once for each replicate."
)
_COLUMNS = (
    "cos arriving: the cosine between the gradient of the next task, before it is trained, and the mean gradient of the tasks "
    "so far. conflict: the percentage of these whose gradient has a negative inner product with the next task's. cos among: "
    "the mean cosine over all pairs of tasks, at the end of the stream. Published cosines are as small as 0.002 to 0.023."
)
_UPDATES = (
    "update: minus the cosine between the step that was really taken and the gradient of an earlier task, mean over earlier "
    "tasks and over the looks, at task ends and amid tasks; where it is above 0, their loss falls to first order. predicted "
    "change: that step times that gradient; real change: how their loss did change; both per task trained. The step leads from "
    "one look to the next: the longer, the less first order holds. Of strategies that start from fresh weights at each task "
    "(such as upper bounds, †), it leads from the old weights to the new."
)
_CORRELATED = (
    "The last section has Spearman's rank correlation between a measure and forgetting over cells: a cell is one strategy with "
    "its settings on one benchmark, and stands there with its means; upper bounds are left out. Few cells say little. Up to 8 "
    "of them p is exact: 4 cannot give less than 0.083, and with 3 even a perfect order comes by chance once in three times, "
    "so that fewer than 4 have no p. Nothing is corrected for many comparisons. All benchmarks together also show in what "
    "these differ. The update is of the very steps that made a strategy forget; arriving and conflict look ahead of them."
)


def _section(frame: pd.DataFrame, here: Sequence[Record], label: dict[Cell, Label]) -> Section:
    values = {metric: by_strategy(frame[frame.metric == metric]) for metric in COLUMNS}
    rows = []
    for key, n in outcomes_of(here, label).items():
        numbers = (Entry(_interval(values[metric].get(key), metric)) for metric in COLUMNS)
        rows.append((Entry(row_title(key)), *numbers, Entry(n)))
    heading = f"{label[here[0].cell].benchmark} — gradients on {examples(here)} of each task"
    return Section(heading, ("strategy", *COLUMNS.values(), "n"), tuple(rows))


def _layers(frame: pd.DataFrame) -> Section:
    names = list(dict.fromkeys(frame.metric))
    values = {layer: by_strategy(frame[frame.metric == layer]) for layer in names}
    rows = [
        (Entry(row_title(key)), *(Entry(_interval(values[layer].get(key), "among")) for layer in names))
        for key in sorted(values[names[0]])
    ]
    return Section(f"{frame.benchmark.iloc[0]} — cos among, of each layer alone", ("strategy", *names), tuple(rows))


def _interval(values: BySeed | None, metric: str) -> str:
    if values is None:
        return "–"
    mean, low, _, n = over_seeds(values)
    return _number(mean, metric) + (f" ± {_number(mean - low, metric)}" if n > 1 else "")


def _number(value: float, metric: str) -> str:
    if metric in (*OUTCOMES, "conflict"):
        return f"{round(100 * value, 2) + 0.0:.2f}"
    return f"{round(value, 4) + 0.0:.4f}" if abs(value) < 1000 else f"{value:.2g}"  # of a strategy that all but diverged


def _correlations(related: dict[tuple[str, str], Correlation]) -> Section:
    benchmarks = dict.fromkeys(benchmark for benchmark, _ in related)
    rows = tuple(
        (Entry(benchmark or "all together"), *(Entry(_related(related[benchmark, measure])) for measure in EXPLAINING))
        for benchmark in benchmarks
    )
    heading = "Over cells: rank correlation with forgetting (p, number of cells)"
    return Section(heading, ("benchmark", *(COLUMNS[measure].removesuffix(" %") for measure in EXPLAINING)), rows)


def _related(found: Correlation) -> str:
    if pd.isna(found.rho):
        return f"– (n = {found.n})"
    return f"{round(found.rho, 2) + 0.0:.2f} ({found.significance}, n = {found.n})"


def _tidy(frame: pd.DataFrame, related: dict[tuple[str, str], Correlation]) -> pd.DataFrame:
    """The numbers of cells; then, with no strategy named, the correlations: rho as the mean, with p."""
    columns = ["benchmark", "strategy", "settings", "metric"]
    rows: list[tuple[object, ...]] = []
    for metric in (*OUTCOMES, *MEASURES):
        for key, group in frame[frame.metric == metric].groupby(columns, sort=True):
            mean, low, high, n = t_interval(group.value.to_numpy())
            rows.append((*key, mean, low, high, n, None))
    rows.sort(key=lambda row: tuple(map(str, row[:3])))
    for (benchmark, measure), (rho, p, n) in related.items():
        rows.append((benchmark, "", "", f"rho_{measure}_forgetting", rho, None, None, n, p))
    return pd.DataFrame(rows, columns=[*columns, "mean", "ci_low", "ci_high", "n", "p"])
