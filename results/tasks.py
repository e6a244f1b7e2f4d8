"""What is known of each task at the end of a stream; the CSV has it after every task since."""

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
    """What the replicates of one cell know."""

    label: Label
    upper_bound: bool
    mean: Float[np.ndarray, "after task"]  # of their matrices R
    n: int


@dataclass(frozen=True)
class Tasks(Result):
    """The accuracy on each task at the end of the stream; in the CSV, since it was learned: the matrix R, its lower half."""

    def table(self, records: Sequence[Record]) -> Table:
        label, found = labels(records), defaultdict(list)
        for record in ordered(records):
            if record.status == "done" and record.tests:
                found[record.cell].append(record)
        by_benchmark = defaultdict(list)
        for cell, replicates in found.items():
            by_benchmark[label[cell].benchmark].append(_known(label[cell], replicates))
        sections = tuple(_section(name, by_benchmark[name]) for name in sorted(by_benchmark))
        tidy = [_tidy(by_benchmark[name]) for name in sorted(by_benchmark)]
        return Table(
            "Accuracy on each task",
            (_NOTE,),
            sections,
            pd.concat(tidy or [_tidy([])], ignore_index=True),
        )


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
    shown = sorted({*range(0, count, -(-count // SHOWN)), count - 1})
    rows = []
    for each in sorted(here, key=lambda each: (each.upper_bound, each.label)):
        last = (100 * each.mean[-1]).tolist()
        title = row_title((each.upper_bound, *each.label[1:]))
        rows.append(
            (Entry(title), *(Entry(f"{last[task]:.2f}") for task in shown), Entry(str(each.n)))
        )
    return Section(name, ("strategy", *(f"task {task + 1}" for task in shown), "n"), tuple(rows))


def _tidy(here: Sequence[Known]) -> pd.DataFrame:
    rows = [
        (*each.label, after, task, round(accuracy, 6), each.n)
        for each in sorted(here, key=lambda each: each.label)
        for after, row in enumerate(each.mean.tolist()[1:], start=1)
        for task, accuracy in enumerate(row[:after], start=1)
    ]
    return pd.DataFrame(rows, columns=TIDY)
