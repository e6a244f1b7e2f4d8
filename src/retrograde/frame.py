"""Scores of records as a data frame, one row for each replicate and metric."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from retrograde.record import Cell, Record
from retrograde.score import METRICS

COLUMNS = ("benchmark", "strategy", "settings", "seed", "upper_bound", "metric", "value")


class Label(NamedTuple):
    """A cell in words."""

    benchmark: str
    strategy: str
    settings: str


def labels(records: Sequence[Record]) -> dict[Cell, Label]:
    """A label for every cell, no two alike: where the changed settings do not tell cells apart, the hash does."""
    cells = dict.fromkeys(record.cell for record in records)
    plain = {cell: Label(cell.benchmark.text, cell.strategy.name, cell.strategy.changed) for cell in cells}
    groups = defaultdict(list)
    for cell, label in plain.items():
        groups[label].append(cell)
    twins = {cell for group in groups.values() if len(group) > 1 for cell in group}
    return {c: p._replace(settings=f"{p.settings} #{c.path.name}".strip()) if c in twins else p for c, p in plain.items()}


def score_frame(records: Sequence[Record]) -> pd.DataFrame:
    """Every metric of every replicate that is done, with the columns `COLUMNS`."""
    label = labels(records)
    done = [record for record in records if record.status == "done"]
    joint = {_stream(record): record.R for record in reversed(done) if record.upper_bound}
    rows = [
        (*label[record.cell], record.seed, record.upper_bound, metric.name, value)
        for record in done
        for matrices in [{"R": record.R, "R_told": record.R_told, "joint": joint.get(_stream(record))}]
        for metric in METRICS
        if all(matrices[need] is not None for need in metric.needs)
        if np.isfinite(value := metric.of(*(matrices[need] for need in metric.needs)))
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _stream(record: Record) -> tuple[str, str, int]:
    return record.cell.benchmark.text, record.cell.data, record.seed
