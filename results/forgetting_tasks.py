"""Forgetting of each task at the end of the stream."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from retrograde import FigureResult, Record
from retrograde.metrics import (
    REPLICATE,
    before_last,
    cell_labels,
    forgetting_by_task,
    ordered,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class ForgettingTasks(FigureResult):
    """Forgetting of each task at the end: its best earlier accuracy less the last one."""

    order: ClassVar[float] = 1

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from retrograde.reporting import DIFFERENCE, curves, looks

        label = cell_labels(records)
        rows = [
            (*label[record.cell], *row)
            for record in ordered(records)
            if record.status == "done" and record.test_examples
            for row in _drops(record)
        ]
        frame = pd.DataFrame(rows, columns=[*REPLICATE[:4], "task", "value"])
        # one task is a point, whose value the scores have
        shown = frame[frame.groupby("benchmark").task.transform("nunique") > 1]
        if shown.empty:
            return None
        texts = (
            "Forgetting of each task at the end: mean over replicates and 95 % t-interval",
            "task",
            "forgetting %",
        )
        return curves(shown, "task", texts, looks(label), DIFFERENCE)


def _drops(record: Record) -> Iterator[tuple[Any, ...]]:
    """Seed, task and forgetting in percent of the tasks learned before the last experience."""
    matrix = record.R
    early = before_last(matrix, np.array(record.timeline.learned))
    drops = 100 * forgetting_by_task(matrix)
    for task in np.flatnonzero(early).tolist():
        yield record.seed, task + 1, drops[task]
