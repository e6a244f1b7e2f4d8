"""Gradient alignment at the ends of tasks, with accuracy, forgetting and the ceilings of noise."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from retrograde import CellSpec, Record, TableResult
from retrograde.metrics import (
    CEILING,
    ERRORS,
    BySeed,
    Key,
    Label,
    by_strategy,
    cell_labels,
    examples,
    layer_frame,
    of_benchmarks,
    over_seeds,
    replicate_alignment,
    score_frame,
    t_interval,
)
from retrograde.reporting import NOTHING, Entry, Section, Table, outcomes_of, row_title

PERCENT = ("ACC", "forgetting", "conflict_rate")
COLUMNS = {
    "ACC": "ACC %",
    "forgetting": "forgetting %",
    "MSE": "MSE",
    "MSE_forgetting": "MSE forgetting",
    "next_task_cosine": "cos next task",
    "ceiling_next": "ceiling, next task",
    "conflict_rate": "conflict %",
    "mean_pairwise_cosine": "cos among seen",
    "ceiling": "ceiling, among seen",
}
ACCURACY = ("ACC", "forgetting")
ERROR = ("MSE", "MSE_forgetting")
"""The columns of regression, in place of `ACCURACY`."""


@dataclass(frozen=True)
class Alignment(TableResult):
    """Cosines between the gradients of tasks at task ends, and the ceilings set by noise."""

    regression: ClassVar[bool] = True

    def table(self, records: Sequence[Record]) -> Table:
        label = cell_labels(records)
        frame = _frame(records, label)
        by_benchmark = defaultdict(list)
        for record in records:
            by_benchmark[label[record.cell].benchmark].append(record)
        sections = [
            _section(group, by_benchmark[name], label) for name, group in of_benchmarks(frame)
        ]
        layers = layer_frame(records, label)
        sections += [_layers(group) for _, group in of_benchmarks(layers)]
        notes = (*NOTES, _REGRESSION) if _errors(records) else NOTES
        return Table("Alignment", notes, tuple(sections), _tidy(frame))


def _errors(records: Sequence[Record]) -> bool:
    return any(record.squared_errors for record in records)


def _frame(records: Sequence[Record], label: dict[CellSpec, Label]) -> pd.DataFrame:
    """The alignment of replicates, with their accuracy and forgetting on the same benchmarks."""
    probed = replicate_alignment(records, label)
    # without gradient probes, accuracies alone say nothing of alignment
    if not len(probed):
        return probed
    scores = [score_frame(records, label)]
    if _errors(records):
        scores.append(score_frame(records, label, ERRORS))
    frames = []
    for frame in scores:
        shown = frame.metric.isin([*ACCURACY, *ERROR]) & frame.benchmark.isin(probed.benchmark)
        frames.append(frame[shown])
    return pd.concat([*frames, probed])


_REGRESSION = "Of benchmarks with mean squared errors, gradients are of the squared error."
NOTES = (
    "Mean over n replicates of the mean over task ends, ± half of the 95 % t-interval over "
    "replicates. Gradients are of the cross-entropy of the model's outputs, over all parameters "
    "together, on as many test examples of each task as the heading says: the same at every "
    "task's end, drawn once for each replicate, in two halves.",
    "cos next task: the cosine between the gradient of the next task, before it is trained, and "
    "the mean gradient of the tasks so far. conflict: the percentage of these whose gradient has "
    "a negative inner product with the next task's. cos among seen: the mean cosine over all "
    "pairs of tasks, at the end of the stream. Inner products are taken between different halves "
    "of the examples, so that sampling noise adds to none of them. ceiling: the cosine between "
    "the gradients on the two halves of the same task's examples, of the next task, or of the "
    "tasks so far at the end of the stream: as large as a cosine that does not allow for noise "
    f"could get. Where it is below {CEILING}, a task's cosines are n/a, and means are over the "
    "others.",
    "A learner that has forgotten has one large gradient that its old tasks share, and one that "
    "has not has small and noisy ones: compare methods by the account, not by these cosines.",
)


def _section(
    frame: pd.DataFrame, records: Sequence[Record], label: dict[CellSpec, Label]
) -> Section:
    without = ACCURACY if _errors(records) else ERROR
    columns = {metric: title for metric, title in COLUMNS.items() if metric not in without}
    values = {metric: by_strategy(frame[frame.metric == metric]) for metric in columns}
    rows = []
    for key, n in outcomes_of(records, label).items():
        numbers = (_entry(values[metric], key, metric) for metric in columns)
        rows.append((Entry(row_title(key)), *numbers, Entry(n)))
    heading = f"{label[records[0].cell].benchmark} — gradients on {examples(records)} of each task"
    return Section(heading, ("strategy", *columns.values(), "n"), tuple(rows))


def _layers(frame: pd.DataFrame) -> Section:
    names = list(dict.fromkeys(frame.metric))
    values = {layer: by_strategy(frame[frame.metric == layer]) for layer in names}
    rows = []
    for key in sorted(set().union(*values.values())):
        numbers = [_entry(values[layer], key, "mean_pairwise_cosine") for layer in names]
        rows.append((Entry(row_title(key)), *numbers))
    heading = f"{frame.benchmark.iloc[0]} — cos among seen, of each layer alone"
    return Section(heading, ("strategy", *names), tuple(rows))


def _entry(values: dict[Key, BySeed], key: Key, metric: str) -> Entry:
    """The mean over the replicates that have a number, with its interval.

    n/a means that noise hides the number of every replicate.
    """
    if key not in values:
        return NOTHING
    known = {seed: value for seed, value in values[key].items() if np.isfinite(value)}
    if not known:
        return Entry("n/a")
    mean, low, _, n = over_seeds(known)
    text = _number(mean, metric)
    if n > 1:
        text += f" ± {_number(mean - low, metric)}"
    return Entry(text if n == len(values[key]) else f"{text} (n = {n})")


def _number(value: float, metric: str) -> str:
    # adding 0 turns -0.0 into 0.0
    if metric in PERCENT:
        return f"{round(100 * value, 2) + 0.0:.2f}"
    return f"{round(value, 3) + 0.0:.3f}"


def _tidy(frame: pd.DataFrame) -> pd.DataFrame:
    """The mean of each cell over the replicates that have a number."""
    columns = ["benchmark", "strategy", "settings", "metric"]
    known = frame[frame.value.notna()]
    rows = []
    for key, group in known.groupby(columns, sort=True):
        span = t_interval(group.value.to_numpy(float))
        rows.append((*key, *span))
    # metrics in the order of the columns, not of the alphabet
    order = {metric: place for place, metric in enumerate(COLUMNS)}
    rows.sort(key=lambda row: (*map(str, row[:3]), order[str(row[3])]))
    return pd.DataFrame(rows, columns=[*columns, "mean", "ci_low", "ci_high", "n"])
