"""Accuracy on each task at the end of a stream; the CSV has it after every later task."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from retrograde import Record, TableResult
from retrograde.metrics import Label, cell_labels, ordered
from retrograde.reporting import Entry, Section, Table, row_title

from ._matrices import mean_matrix

MAX_COLUMNS = 20
"""Largest number of columns; with more tasks, every second, third, ... has one, and the last."""
TIDY = ["benchmark", "strategy", "settings", "after", "task", "mean", "n"]


class Known(NamedTuple):
    """The mean accuracies of the replicates of one cell."""

    label: Label
    upper_bound: bool
    mean: Float[np.ndarray, "after task"]  # of their matrices R
    first: list[int]  # the experience, from 0, in which a replicate first sees each task
    n: int


@dataclass(frozen=True)
class Tasks(TableResult):
    """Accuracy on each task at the end of the stream.

    The CSV has it after every experience since the task was first seen.
    """

    def table(self, records: Sequence[Record]) -> Table:
        label = cell_labels(records)
        by_cell = defaultdict(list)
        for record in ordered(records):
            if record.status == "done" and record.test_examples:
                by_cell[record.cell].append(record)
        by_benchmark = defaultdict(list)
        for cell, replicates in by_cell.items():
            by_benchmark[label[cell].benchmark].append(_known(label[cell], replicates))
        names = sorted(by_benchmark)
        sections = tuple(_section(name, by_benchmark[name]) for name in names)
        # without any cell, an empty frame still has the columns
        frames = [_tidy(by_benchmark[name]) for name in names] or [_tidy([])]
        tidy = pd.concat(frames, ignore_index=True)
        return Table("Accuracy on each task", (_NOTE,), sections, tidy)


_NOTE = (
    "Percent of each task's test examples after the last task: the mean over n replicates. The "
    "CSV has the lower half of the matrix R, as shares of 1: the accuracy on each task after it "
    "and after each later one."
)


def _known(label: Label, replicates: Sequence[Record]) -> Known:
    mean = mean_matrix([record.R for record in replicates])
    first = np.min([record.timeline.first for record in replicates], axis=0).tolist()
    return Known(label, replicates[0].upper_bound, mean, first, len(replicates))


def _section(name: str, cells: Sequence[Known]) -> Section:
    count = cells[0].mean.shape[1]
    every = -(-count // MAX_COLUMNS)
    # the last task always has a column
    shown = sorted({*range(0, count, every), count - 1})
    rows = []
    for cell in sorted(cells, key=lambda cell: (cell.upper_bound, cell.label)):
        title = row_title((cell.upper_bound, *cell.label[1:]))
        last = (100 * cell.mean[-1]).tolist()
        accuracies = [f"{last[task]:.2f}" for task in shown]
        rows.append(tuple(map(Entry, (title, *accuracies, str(cell.n)))))
    titles = [f"task {task + 1}" for task in shown]
    return Section(name, ("strategy", *titles, "n"), tuple(rows))


def _tidy(cells: Sequence[Known]) -> pd.DataFrame:
    rows = []
    for cell in sorted(cells, key=lambda cell: cell.label):
        # the first row of R is from before training
        after_each = cell.mean.tolist()[1:]
        for after, accuracies in enumerate(after_each, start=1):
            seen = sum(first < after for first in cell.first)
            for task, accuracy in enumerate(accuracies[:seen], start=1):
                row = (*cell.label, after, task, round(accuracy, 6), cell.n)
                rows.append(row)
    return pd.DataFrame(rows, columns=TIDY)
