"""Accuracy along the stream: the drop at each switch of tasks, and the recovery after it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from retrograde import CellSpec, Experiences, FigureResult, OnlineAccuracy, Record
from retrograde.metrics import REPLICATE, Label, cell_labels, ordered

from ._along_stream import by_hundredth, mark_switches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIRST: str = "accuracy %, first task"
SO_FAR: str = "mean accuracy %, tasks so far\nand the present one"


@dataclass(frozen=True)
class AccuracyStream(FigureResult):
    """Accuracy on the first task and on all tasks so far along the stream.

    Shows benchmarks that are tested every few steps; a vertical line marks every switch of tasks.
    """

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from retrograde.reporting import PERCENT, lines, looks

        label = cell_labels(records)
        tests = _frame(records, label)
        if tests.empty:
            return None
        shown = by_hundredth(tests)
        title = "Accuracy along the stream: mean over replicates and 95 % t-interval"
        step = "experiences" if any(record.experiences for record in records) else "tasks"
        limits = dict.fromkeys((FIRST, SO_FAR), PERCENT)
        figure = lines(shown, "trained", title, f"{step} trained", looks(label), limits)
        for axis in figure.axes:
            mark_switches(axis)
        return figure


def _frame(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> pd.DataFrame:
    rows = []
    for record in ordered(records):
        # only benchmarks with `eval_every` leave online accuracy
        if record.status == "done" and record.online_accuracy:
            replicate = (*label[record.cell], record.seed, record.upper_bound)
            tests = _evaluations(record.online_accuracy, record.timeline)
            rows += [(*replicate, *test) for test in tests]
    return pd.DataFrame(rows, columns=[*REPLICATE, "trained", "quantity", "value"])


def _evaluations(
    history: OnlineAccuracy, timeline: Experiences
) -> Iterator[tuple[float, str, float]]:
    """Experiences trained, quantity and accuracy in percent at each evaluation.

    An experience in progress is a fraction.
    """
    steps = [0, *(history.step[end] for end in history.ends)]
    evaluations = zip(history.task, history.step, history.accuracy, strict=True)
    for experience, step, accuracy in evaluations:
        start = steps[experience]
        # an experience may have no steps at all
        length = max(steps[experience + 1] - start, 1)
        trained = experience + (step - start) / length
        yield trained, FIRST, 100 * float(accuracy[0])
        so_far = float(np.mean(accuracy[: timeline.seen(experience)]))
        yield trained, SO_FAR, 100 * so_far
