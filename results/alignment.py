"""Gradient alignment at the ends of tasks, beside accuracy and forgetting, with the ceilings that noise sets."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from retrograde import CEILING, Cell, Record, Result
from retrograde.metrics import (
    BySeed,
    Key,
    Label,
    by_strategy,
    examples,
    labels,
    layer_frame,
    of_benchmarks,
    over_seeds,
    replicate_alignment,
    score_frame,
    t_interval,
)
from retrograde.reporting import NOTHING, Entry, Section, Table, outcomes_of, row_title

PERCENT = ("ACC", "forgetting", "conflict")
COLUMNS = {
    "ACC": "ACC %",
    "forgetting": "forgetting %",
    "arriving": "cos arriving",
    "ceiling_next": "ceiling, arriving",
    "conflict": "conflict %",
    "among": "cos among",
    "ceiling": "ceiling, among",
}


@dataclass(frozen=True)
class Alignment(Result):
    """Cosines between the gradients of tasks at the ends of tasks, and the ceilings that noise sets them."""

    def table(self, records: Sequence[Record]) -> Table:
        label = labels(records)
        probed, layers = replicate_alignment(records, label), layer_frame(records, label)
        scores = score_frame(records, label)
        beside = scores[
            scores.metric.isin(["ACC", "forgetting"]) & scores.benchmark.isin(probed.benchmark)
        ]
        frame = pd.concat([beside, probed]) if len(probed) else probed
        by_benchmark = defaultdict(list)
        for record in records:
            by_benchmark[label[record.cell].benchmark].append(record)
        sections = [
            _section(mine, by_benchmark[name], label) for name, mine in of_benchmarks(frame)
        ]
        sections += [_layers(mine) for _, mine in of_benchmarks(layers)]
        return Table("Alignment", NOTES, tuple(sections), _tidy(frame))


NOTES = (
    "Mean over n replicates of the mean over task ends, ± half of the 95 % t-interval over "
    "replicates. Gradients are of the cross-entropy of the model's outputs, over all parameters "
    "together, on as many test examples of each task as the heading says: the same at every "
    "task's end, drawn once for each replicate, in two halves.",
    "cos arriving: the cosine between the gradient of the next task, before it is trained, and "
    "the mean gradient of the tasks so far. conflict: the percentage of these whose gradient has "
    "a negative inner product with the next task's. cos among: the mean cosine over all pairs of "
    "tasks, at the end of the stream. Inner products are taken between different halves of the "
    "examples, so that sampling noise adds to none of them. ceiling: the cosine between the "
    "gradients on the two halves of the same task's examples, of the next task, or of the tasks "
    "so far at the end of the stream: as large as a cosine that does not allow for noise could "
    f"get. Where it is below {CEILING}, a task's cosines are n/a, and means are over the others.",
    "A learner that has forgotten has one large gradient that its old tasks share, and one that "
    "has not has small and noisy ones: compare methods by the account, not by these cosines.",
)


def _section(frame: pd.DataFrame, here: Sequence[Record], label: dict[Cell, Label]) -> Section:
    values = {metric: by_strategy(frame[frame.metric == metric]) for metric in COLUMNS}
    rows = []
    for key, n in outcomes_of(here, label).items():
        numbers = (_entry(values[metric], key, metric) for metric in COLUMNS)
        rows.append((Entry(row_title(key)), *numbers, Entry(n)))
    heading = f"{label[here[0].cell].benchmark} — gradients on {examples(here)} of each task"
    return Section(heading, ("strategy", *COLUMNS.values(), "n"), tuple(rows))


def _layers(frame: pd.DataFrame) -> Section:
    names = list(dict.fromkeys(frame.metric))
    values = {layer: by_strategy(frame[frame.metric == layer]) for layer in names}
    rows = [
        (Entry(row_title(key)), *(_entry(values[layer], key, "among") for layer in names))
        for key in sorted(set().union(*values.values()))
    ]
    return Section(
        f"{frame.benchmark.iloc[0]} — cos among, of each layer alone",
        ("strategy", *names),
        tuple(rows),
    )


def _entry(values: dict[Key, BySeed], key: Key, metric: str) -> Entry:
    """The mean of the replicates that have a number, with its interval; n/a where noise hides all of them."""
    if key not in values:
        return NOTHING
    known = {seed: value for seed, value in values[key].items() if np.isfinite(value)}
    if not known:
        return Entry("n/a")
    mean, low, _, n = over_seeds(known)
    text = _number(mean, metric) + (f" ± {_number(mean - low, metric)}" if n > 1 else "")
    return Entry(text if n == len(values[key]) else f"{text} (n = {n})")


def _number(value: float, metric: str) -> str:
    return (
        f"{round(100 * value, 2) + 0.0:.2f}"
        if metric in PERCENT
        else f"{round(value, 3) + 0.0:.3f}"
    )


def _tidy(frame: pd.DataFrame) -> pd.DataFrame:
    """The numbers of cells, of the replicates that have one."""
    columns = ["benchmark", "strategy", "settings", "metric"]
    order = {metric: place for place, metric in enumerate(COLUMNS)}
    known = frame[frame.value.notna()]
    rows = [
        (*key, *t_interval(group.value.to_numpy(float)))
        for key, group in known.groupby(columns, sort=True)
    ]
    rows.sort(key=lambda row: (*map(str, row[:3]), order[str(row[3])]))
    return pd.DataFrame(rows, columns=[*columns, "mean", "ci_low", "ci_high", "n"])
