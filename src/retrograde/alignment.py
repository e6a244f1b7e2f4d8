"""Gradient alignment along streams as data frames: at every look, for each replicate, and against forgetting over cells."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from retrograde.frame import COLUMNS, REPLICATE, Label, ordered, score_frame
from retrograde.probe import Probe
from retrograde.record import Cell, Record
from retrograde.stats import Correlation, rank_correlation

MEASURES = ("arriving", "conflict", "among", "update", "predicted", "real")
OUTCOMES = ("ACC", "forgetting")
EXPLAINING = ("arriving", "conflict", "update")
"""The measures that are held against forgetting."""


def alignment_frame(records: Sequence[Record], label: Mapping[Cell, Label]) -> pd.DataFrame:
    """What replicates that are done measured at each look: `REPLICATE`, task, step, trained, metric, value.

    `task` is the one in training, from 0; `trained` is how many tasks are behind, with the part of this one. At task ends:
    arriving: the cosine between the next task's gradient and the mean gradient of the tasks so far;
    conflict: the share of these whose gradient has a negative inner product with the next task's;
    among: the mean cosine over pairs of the tasks so far.
    At every look, each a mean over the tasks before `task`:
    update: minus the cosine between the step since the last look and their gradient there;
    predicted and real: the change of their loss since then, that step times that gradient, and as it came.
    """
    rows = [
        (*label[record.cell], record.seed, record.upper_bound, *row)
        for record in ordered(records)
        if record.status == "done"
        for row in _looks(record.probes)
    ]
    return pd.DataFrame(rows, columns=[*REPLICATE, "task", "step", "trained", "metric", "value"])


def _looks(probes: Sequence[Probe]) -> Iterator[tuple[int, int, float, str, float]]:
    ends = {probe.task: probe.step for probe in probes if probe.ended}
    for last, probe in zip([None, *probes], probes, strict=False):
        start = ends.get(probe.task - 1, 0)
        trained = probe.task + (probe.step - start) / max(ends.get(probe.task, probe.step) - start, 1)
        for metric, value in {**_at_an_end(probe), **_since(last, probe)}.items():
            yield probe.task, probe.step, trained, metric, value


def _at_an_end(probe: Probe) -> dict[str, float]:
    values = {"arriving": probe.arriving(), "conflict": probe.conflict()} if probe.arrival else {}
    return values | ({"among": probe.among()} if probe.ended and probe.task else {})


def _since(last: Probe | None, probe: Probe) -> dict[str, float]:
    given = {"update": probe.update, "predicted": probe.predicted}
    if last and probe.task:
        given["real"] = list(np.subtract(probe.loss[: probe.task], last.loss[: probe.task]))
    return {metric: float(np.mean(values)) for metric, values in given.items() if values}


def replicate_frame(records: Sequence[Record], label: Mapping[Cell, Label]) -> pd.DataFrame:
    """One number for each replicate that was probed and measure, and its `OUTCOMES`; the columns are `COLUMNS`.

    Means over task ends, of update over all looks; among is that at the end of the stream. Changes of loss are added up within
    a task, so that they do not depend on the number of looks.
    """
    looks = alignment_frame(records, label)
    changes = looks[looks.metric.isin(["predicted", "real"])].groupby([*REPLICATE, "metric", "task"]).value.sum().reset_index()
    means = looks[looks.metric.isin(["arriving", "conflict", "update"])]
    at_last = looks[looks.metric == "among"].drop_duplicates(list(REPLICATE), keep="last")
    measured = pd.concat([means, changes, at_last]).groupby([*REPLICATE, "metric"]).value.mean().reset_index()
    scores = score_frame(records, label)
    outcomes = scores[scores.metric.isin(OUTCOMES) & scores.benchmark.isin(looks.benchmark)]
    return pd.concat([outcomes, measured])[list(COLUMNS)] if len(looks) else pd.DataFrame(columns=list(COLUMNS))


def layer_frame(records: Sequence[Record], label: Mapping[Cell, Label]) -> pd.DataFrame:
    """At the end of the stream, by layer: the mean cosine over pairs of tasks; `REPLICATE`, metric (the layer), value."""
    rows = [
        (*label[record.cell], record.seed, record.upper_bound, layer, float(np.mean(cosines)))
        for record in ordered(records)
        if record.status == "done"
        for probe in record.probes
        for layer, cosines in probe.layers.items()
        if cosines
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def correlations(replicates: pd.DataFrame) -> dict[tuple[str, str], Correlation]:
    """By benchmark ("" for all of several together) and measure: rank correlation with forgetting over the means of cells.

    It takes what `replicate_frame` gives. Upper bounds are left out: they train on the past again.
    """
    competing = replicates[~replicates.upper_bound.astype(bool)]
    means = competing.groupby(["benchmark", "strategy", "settings", "metric"]).value.mean().unstack("metric")
    means = means.reindex(columns=["forgetting", *EXPLAINING])
    benchmarks = sorted(set(means.index.get_level_values("benchmark")))
    within = {name: means[means.index.get_level_values("benchmark") == name] for name in benchmarks}
    within |= {"": means} if len(benchmarks) > 1 else {}
    return {
        (name, measure): _with_forgetting(cells[["forgetting", measure]].dropna())
        for (name, cells), measure in itertools.product(within.items(), EXPLAINING)
    }


def _with_forgetting(cells: pd.DataFrame) -> Correlation:
    forgetting, measure = cells.to_numpy(dtype=float).T
    return rank_correlation(measure, forgetting)


def examples(records: Sequence[Record]) -> str:
    """On how many test examples of each task the gradients are at most, in words."""
    settings = [record.cell.benchmark.settings for record in records if record.probes]
    numbers = sorted({int(each["probe"]) for each in settings if "probe" in each})
    return f"up to {' or '.join(map(str, numbers))} test examples" if numbers else "test examples"
