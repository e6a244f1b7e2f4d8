"""Accuracy on each task at the end of a stream; the CSV has it after every later task."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from retrograde import Record, Result
from retrograde.metrics import Label, labels, ordered
from retrograde.reporting import Entry, Section, Table, row_title

SHOWN = 20
"""Tasks that have a column; of more, every second, third, ... and the last."""
TIDY = ["benchmark", "strategy", "settings", "after", "task", "mean", "n"]


class Known(NamedTuple):
    """The mean accuracies of the replicates of one cell."""

    label: Label
    upper_bound: bool
    mean: Float[np.ndarray, "after task"]  # of their matrices R
    n: int


@dataclass(frozen=True)
class Tasks(Result):
    """Accuracy on each task at the end of the stream.

    The CSV has it after every task since it was trained: the lower half of the matrix R.
    """

    def table(self, records: Sequence[Record]) -> Table:
        label = labels(records)
        by_cell = defaultdict(list)
        for record in ordered(records):
            if record.status == "done" and record.tests:
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
    "CSV has the lower half of the matrix R, as shares of 1: what is known of each task after it "
    "and after each later one."
)


def _known(label: Label, replicates: Sequence[Record]) -> Known:
    mean = np.asarray(np.mean([record.R for record in replicates], axis=0))
    return Known(label, replicates[0].upper_bound, mean, len(replicates))


def _section(name: str, here: Sequence[Known]) -> Section:
    count = here[0].mean.shape[1]
    every = -(-count // SHOWN)
    shown = sorted({*range(0, count, every), count - 1})
    rows = []
    for known in sorted(here, key=lambda known: (known.upper_bound, known.label)):
        last = (100 * known.mean[-1]).tolist()
        title = row_title((known.upper_bound, *known.label[1:]))
        texts = (title, *[f"{last[task]:.2f}" for task in shown], str(known.n))
        rows.append(tuple(map(Entry, texts)))
    titles = [f"task {task + 1}" for task in shown]
    return Section(name, ("strategy", *titles, "n"), tuple(rows))


def _tidy(here: Sequence[Known]) -> pd.DataFrame:
    rows = []
    for known in sorted(here, key=lambda known: known.label):
        # the first row of R is from before training
        for after, accuracies in enumerate(known.mean.tolist()[1:], start=1):
            for task, accuracy in enumerate(accuracies[:after], start=1):
                rows.append((*known.label, after, task, round(accuracy, 6), known.n))
    return pd.DataFrame(rows, columns=TIDY)
