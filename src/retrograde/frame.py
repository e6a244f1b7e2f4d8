"""Scores of records as data frames, one row for each replicate and metric."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from retrograde.adaptation import WATCHED, Adaptation
from retrograde.record import Cell, Record
from retrograde.score import METRICS, Metric
from retrograde.settings import digest
from retrograde.stats import t_interval

REPLICATE = ("benchmark", "strategy", "settings", "seed", "upper_bound")
COLUMNS = (*REPLICATE, "metric", "value")


class Label(NamedTuple):
    """A cell in words."""

    benchmark: str
    strategy: str
    settings: str


Key = tuple[bool, str, str]
"""A strategy among those on one benchmark: whether it is an upper bound, its name, and its settings."""


def row_title(key: Key) -> str:
    """A strategy as its row in a table is called."""
    upper_bound, *words = key
    return " ".join(words).strip() + (" †" if upper_bound else "")


def by_strategy(frame: pd.DataFrame) -> "dict[Key, pd.Series[float]]":
    """The values of one metric on one benchmark: for each strategy, by seed."""
    groups = frame.set_index("seed").groupby(["upper_bound", "strategy", "settings"])
    return {key: group.value for key, group in groups}  # type: ignore[misc]


def percent(values: "pd.Series[float] | None") -> str:
    """The mean of some replicates in percent, and half of its 95 % t-interval."""
    if values is None:
        return "–"
    mean, low, _, n = t_interval(values.to_numpy())
    return f"{round(100 * mean, 2) + 0.0:.2f}" + (f" ± {100 * (mean - low):.2f}" if n > 1 else "")


def intervals(frame: pd.DataFrame, by: str) -> pd.DataFrame:
    """The mean over replicates of what each strategy has by a column, with its 95 % t-interval: what a CSV of a table holds."""
    columns = ["benchmark", "strategy", "settings", by]
    rows = []
    for key, group in frame.groupby(columns, sort=True):
        mean, low, high, n = t_interval(group.value.to_numpy())
        rows.append((*key, mean, low, high, n))
    return pd.DataFrame(rows, columns=[*columns, "mean", "ci_low", "ci_high", "n"])


def competing(values: "dict[Key, pd.Series[float]]") -> "dict[Key, pd.Series[float]]":
    """The strategies that are no upper bounds."""
    return {key: value for key, value in values.items() if not key[0]}


def labels(records: Sequence[Record]) -> dict[Cell, Label]:
    """A label for every cell, no two alike: where the changed settings do not tell two apart, a digest does."""
    cells = list(dict.fromkeys(record.cell for record in ordered(records)))
    benchmarks = _told_apart({cell: (cell.benchmark.text,) for cell in cells}, {cell: cell.stream for cell in cells})
    strategies = {cell: (benchmarks[cell], cell.strategy.name, cell.strategy.changed) for cell in cells}
    settings = _told_apart(strategies, {cell: digest(cell.strategy.settings) for cell in cells})
    return {cell: Label(benchmarks[cell], cell.strategy.name, settings[cell]) for cell in cells}


def _told_apart(texts: Mapping[Cell, tuple[str, ...]], identity: dict[Cell, str]) -> dict[Cell, str]:
    """The last word of each text, with the identity where several identities share the text."""
    meanings = defaultdict(set)
    for cell, text in texts.items():
        meanings[text].add(identity[cell])
    return {c: t[-1] if len(meanings[t]) == 1 else f"{t[-1]} #{identity[c]}".strip() for c, t in texts.items()}


def ordered(records: Sequence[Record]) -> list[Record]:
    """The records by path and seed, so that no sum depends on the order in which they came."""
    return sorted(records, key=lambda record: (record.cell.path, record.seed))


def score_frame(records: Sequence[Record], label: Mapping[Cell, Label], metrics: Sequence[Metric] = METRICS) -> pd.DataFrame:
    """Every metric of every replicate that is done, with the columns `COLUMNS`.

    Of several upper bounds on one stream, intransigence is measured against the one whose settings come first.
    """
    done = [record for record in ordered(records) if record.status == "done" and record.tests]
    bounds = sorted((r for r in done if r.upper_bound), key=lambda r: label[r.cell], reverse=True)
    joint = {(record.cell.stream, record.seed): record.R for record in bounds}
    rows = []
    for record in done:
        matrices = {"R": record.R, "R_told": record.R_told, "course": record.course}
        matrices["joint"] = joint.get((record.cell.stream, record.seed))
        for metric in metrics:
            given = [matrices[need] for need in metric.needs]
            value = float("nan") if any(each is None for each in given) else metric.of(*given)
            if np.isfinite(value):
                rows.append((*label[record.cell], record.seed, record.upper_bound, metric.name, value))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def adaptation_frame(records: Sequence[Record], label: Mapping[Cell, Label]) -> pd.DataFrame:
    """How replicates that are done adapted to test tasks: `REPLICATE`, metric, step, value, half, tasks.

    `value` is the mean over the test tasks after so many inner steps, `half` half of its 95 % t-interval over them. The metrics
    are loss and, in classification, accuracy, both of the query; and cosine, between the gradients on support and query.
    """
    rows = [
        (*label[record.cell], record.seed, record.upper_bound, *row)
        for record in ordered(records)
        if record.status == "done" and record.adaptation
        for row in _adapted(record.adaptation)
    ]
    return pd.DataFrame(rows, columns=[*REPLICATE, "metric", "step", "value", "half", "tasks"])


def _adapted(adaptation: Adaptation) -> Iterator[tuple[str, int, float, float, int]]:
    measured = {"loss": np.array(adaptation.loss)} | ({"accuracy": adaptation.accuracy} if adaptation.correct else {})
    for metric, steps in measured.items():
        for step, of_tasks in enumerate(steps):
            mean, low, _, n = t_interval(of_tasks)
            yield metric, step, mean, mean - low, n
    for step, cosine in enumerate(adaptation.cosine):
        yield "cosine", step, cosine, float("nan"), min(WATCHED, len(adaptation.loss[0]))


def checks_frame(records: Sequence[Record], label: Mapping[Cell, Label]) -> pd.DataFrame:
    """Meta-training as it went: `REPLICATE`, iteration, metric, value.

    The metrics are loss and accuracy on tasks of meta-validation after the last inner step, and the cosine between the
    gradients on support and query before the first, on those (cosine) and on tasks of meta-training (cosine_seen).
    """
    rows = []
    for record in ordered(records):
        for check in record.adaptation.checks if record.status == "done" and record.adaptation else ():
            ends = {"loss": check.loss[-1:], "accuracy": check.accuracy[-1:]}
            values = {name: end[0] for name, end in ends.items() if end}
            values |= {"cosine": check.cosine, "cosine_seen": check.cosine_seen}
            replicate = (*label[record.cell], record.seed, record.upper_bound, check.iteration)
            rows += [(*replicate, metric, value) for metric, value in values.items()]
    return pd.DataFrame(rows, columns=[*REPLICATE, "iteration", "metric", "value"])
