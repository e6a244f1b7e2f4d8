"""Accuracy along the stream, where a benchmark has it tested every so many steps: how it falls at a switch, and recovers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from retrograde import Cell, Course, Drawing, Record
from retrograde.metrics import REPLICATE, Label, labels, ordered

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class AccuracyStream(Drawing):
    """Accuracy on the first task and on all tasks so far along the stream; a vertical line at every switch."""

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from matplotlib.ticker import MaxNLocator

        from retrograde.reporting import lines, looks

        label = labels(records)
        tests = _frame(records, label)
        if tests.empty:
            return None
        # a switch stays between two hundredths, and more points would only make the file large
        hundredths = tests.assign(trained=np.ceil((100 * tests.trained).round(6)) / 100)
        shown = hundredths.groupby(["quantity", *REPLICATE, "trained"]).value.mean().reset_index()
        title = "Accuracy along the stream: mean over replicates and 95 % t-interval"
        figure = lines(shown, "trained", title, "tasks trained", looks(label))
        for axis in figure.axes:
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            for switch in range(1, round(axis.dataLim.xmax)):
                axis.axvline(switch, color="0.6", linewidth=0.8, zorder=0)
        return figure


def _frame(records: Sequence[Record], label: Mapping[Cell, Label]) -> pd.DataFrame:
    rows = [
        (*label[record.cell], record.seed, record.upper_bound, *row)
        for record in ordered(records)
        if record.status == "done" and record.course
        for row in _tests(record.course)
    ]
    return pd.DataFrame(rows, columns=[*REPLICATE, "trained", "quantity", "value"])


def _tests(course: Course) -> Iterator[tuple[float, str, float]]:
    """At each test: how many tasks are behind, with the part of this one, and the accuracies."""
    steps = [0, *(course.step[end] for end in course.ends)]
    for task, step, accuracy in zip(course.task, course.step, course.accuracy, strict=True):
        trained = task + (step - steps[task]) / max(steps[task + 1] - steps[task], 1)
        yield trained, "accuracy, first task", float(accuracy[0])
        yield (
            trained,
            "mean accuracy, tasks so far\nand the present one",
            float(np.mean(accuracy[: task + 1])),
        )
