"""What is known of each task at the end of a stream; the CSV has it after every task since."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from retrograde.frame import Label, labels, ordered, row_title
from retrograde.record import Cell, Record
from retrograde.result import Entry, Result, Section, Table

SHOWN = 20
"""Tasks that have a column; of more, every second, third, ... and the last."""
TIDY = ["benchmark", "strategy", "settings", "after", "task", "mean", "n"]


@dataclass(frozen=True)
class Tasks(Result):
    """The accuracy on each task at the end of the stream; in the CSV, since it was learned: the matrix R, its lower half."""

    def table(self, records: Sequence[Record]) -> Table:
        label, found = labels(records), defaultdict(list)
        for record in ordered(records):
            if record.status == "done" and record.tests:
                found[record.cell].append(record)
        by_benchmark = defaultdict(list)
        for cell in sorted(found, key=lambda cell: (found[cell][0].upper_bound, label[cell])):
            by_benchmark[label[cell].benchmark].append(cell)
        means = {cell: np.asarray(np.mean([record.R for record in replicates], axis=0)) for cell, replicates in found.items()}
        sections = tuple(_section(name, by_benchmark[name], found, means, label) for name in sorted(by_benchmark))
        return Table("Accuracy on each task", (_NOTE,), sections, _tidy(found, means, label))


_NOTE = (
    "Percent of each task's test examples after the last task: the mean over n replicates. The CSV has the lower half of the "
    "matrix R, as shares of 1: what is known of each task after it and after each later one."
)


Means = Mapping[Cell, Float[np.ndarray, "after task"]]
"""The matrix R of each cell, its mean over replicates."""


def _section(
    name: str, cells: Sequence[Cell], found: Mapping[Cell, list[Record]], means: Means, label: Mapping[Cell, Label]
) -> Section:
    count = len(found[cells[0]][0].tests)
    shown = sorted({*range(0, count, -(-count // SHOWN)), count - 1})
    rows = []
    for cell in cells:
        replicates = found[cell]
        title = row_title((replicates[0].upper_bound, *label[cell][1:]))
        last = (100 * means[cell][-1]).tolist()
        rows.append((Entry(title), *(Entry(f"{last[task]:.2f}") for task in shown), Entry(str(len(replicates)))))
    return Section(name, ("strategy", *(f"task {task + 1}" for task in shown), "n"), tuple(rows))


def _tidy(found: Mapping[Cell, list[Record]], means: Means, label: Mapping[Cell, Label]) -> pd.DataFrame:
    rows = [
        (*label[cell], after, task, round(mean, 6), len(found[cell]))
        for cell in sorted(found, key=lambda cell: label[cell])
        for after, learned in enumerate(means[cell].tolist()[1:], 1)
        for task, mean in enumerate(learned[:after], 1)
    ]
    return pd.DataFrame(rows, columns=TIDY)
