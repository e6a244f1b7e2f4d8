"""Gradient alignment of the next task with earlier ones along the stream, and ceilings of noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import pandas as pd

from retrograde import FigureResult, Record
from retrograde.metrics import alignment_frame, cell_labels, examples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

QUANTITIES = {
    "next_task_cosine": "cosine, next task",
    "conflict_rate": "share in conflict",
    "ceiling": "ceiling of cosines, tasks so far",
}


@dataclass(frozen=True)
class AlignmentStream(FigureResult):
    """Cosine and conflicts of the next task with those so far, and the ceiling set by noise."""

    regression: ClassVar[bool] = True

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from retrograde.reporting import lines, looks

        label = cell_labels(records)
        frame = alignment_frame(records, label).dropna(subset=["value"])
        known = frame[frame.metric.isin(list(QUANTITIES))]
        # streams of one task have a ceiling alone
        if set(known.metric) <= {"ceiling"}:
            return None
        shown = _in_order(known)
        figure = lines(shown, "trained", _title(records), "tasks trained", looks(label))
        for axis in figure.axes:
            _set_scale(axis)
        return figure


def _title(records: Sequence[Record]) -> str:
    return (
        "Gradients of the cross-entropy over all parameters, "
        f"on {examples(records)} of each task:\n"
        "mean over replicates and 95 % t-interval"
    )


def _in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows in the order of `QUANTITIES`, which is that of the panels."""
    place = frame.metric.map([*QUANTITIES].index)
    order = place.sort_values(kind="stable").index
    return frame.assign(quantity=frame.metric.map(QUANTITIES)).loc[order]


def _set_scale(axis: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    low, high = axis.get_ylim()
    least = 0.0 if axis.get_ylabel() == QUANTITIES["conflict_rate"] else -1.0
    # intervals may be wider than the range of the quantity
    axis.set_ylim(max(low, least - 0.05), min(high, 1.05))
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
