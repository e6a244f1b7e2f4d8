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
    found: defaultdict[Key, dict[int, float]] = defaultdict(dict)
    columns = (frame[name].tolist() for name in ("upper_bound", "strategy", "settings", "seed", "value"))
    for bound, strategy, settings, seed, value in zip(*columns, strict=True):
        found[bound, strategy, settings][seed] = value
    index = {seeds: pd.Index(seeds) for seeds in {tuple(values) for values in found.values()}}  # few; one each takes longest
    return {key: pd.Series(np.array([*values.values()]), index=index[(*values,)]) for key, values in sorted(found.items())}


def percent(values: "pd.Series[float] | None") -> str:
    """The mean of some replicates in percent, and half of its 95 % t-interval."""
    if values is None:
        return "–"
    mean, low, _, n = t_interval(values.to_numpy())
    return f"{round(100 * mean, 2) + 0.0:.2f}" + (f" ± {100 * (mean - low):.2f}" if n > 1 else "")


def number(value: float, metric: str, sign: str = "") -> str:
    """A score as a table has it: in percent unless a loss; with the sign "+", as a difference."""
    if metric != "loss":
        return f"{round(100 * value, 2) + 0.0:{sign}.2f}"
    return f"{value:{sign}.3f}" if abs(value) < 1000 else f"{value:{sign}.2g}"  # of a strategy that all but diverged


def intervals(frame: pd.DataFrame, by: str) -> pd.DataFrame:
    """The mean over replicates of what each strategy has by a column, with its 95 % t-interval: what a CSV of a table holds."""
    columns = ["benchmark", "strategy", "settings", by]
    found = defaultdict(list)
    for *key, value in zip(*(frame[name].tolist() for name in (*columns, "value")), strict=True):
        found[tuple(key)].append(value)
    rows = [(*key, *t_interval(np.array(values))) for key, values in sorted(found.items())]
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

    Of several upper bounds on one stream, intransigence is measured against the one with the best mean accuracy at the end.
    """
    done = [record for record in ordered(records) if record.status == "done" and record.tests]
    bounds: dict[Cell, list[Record]] = defaultdict(list)
    for record in done:
        if record.upper_bound:
            bounds[record.cell].append(record)
    worst_first = sorted(bounds, key=lambda cell: (np.mean([record.R[-1].mean() for record in bounds[cell]]), label[cell]))
    joint = {(cell.stream, record.seed): record.R for cell in worst_first for record in bounds[cell]}
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


ENDS = {"ACC": True, "forgetting": False, "accuracy": True, "loss": False}
"""What a replicate is judged by at its end, and whether more is better: of streams ACC and forgetting, of episodes the rest."""


def end_frame(records: Sequence[Record], label: Mapping[Cell, Label]) -> pd.DataFrame:
    """Every metric in `ENDS` of every replicate that is done, with the columns `COLUMNS`.

    Of episodes: accuracy, or loss where nothing is classified, on the query after the last inner step that a strategy takes.
    """
    adapted = adaptation_frame(records, label)
    last = adapted.groupby(list(REPLICATE)).step.transform("max")
    classified = adapted[adapted.metric == "accuracy"].benchmark.unique()
    measure = np.where(adapted.benchmark.isin(classified), "accuracy", "loss")
    streams = score_frame(records, label, [metric for metric in METRICS if metric.name in ENDS])
    frames = [streams, adapted.loc[(adapted.step == last) & (adapted.metric == measure), list(COLUMNS)]]
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)


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
