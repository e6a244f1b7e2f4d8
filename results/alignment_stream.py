"""Gradient alignment of the next task with earlier ones along the stream, and ceilings of noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import pandas as pd

from retrograde import FigureResult, Record
from retrograde.metrics import alignment_frame, cell_labels, examples

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUANTITIES = {
    "next_task_cosine": "cosine, next task",
    "conflict_rate": "share in conflict %",
    "ceiling": "ceiling of cosines, tasks so far",
}


@dataclass(frozen=True)
class AlignmentStream(FigureResult):
    """Cosine and conflicts of the next task with those so far, and the ceiling set by noise."""

    regression: ClassVar[bool] = True

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from matplotlib.ticker import MaxNLocator

        from retrograde.reporting import PERCENT, lines, looks

        label = cell_labels(records)
        frame = alignment_frame(records, label).dropna(subset=["value"])
        known = frame[frame.metric.isin(list(QUANTITIES))]
        # streams of one task have a ceiling alone
        if set(known.metric) <= {"ceiling"}:
            return None
        shown = _in_order(known)
        cosine = (-1.0, 1.0)
        limits = dict.fromkeys(QUANTITIES.values(), cosine) | {QUANTITIES["conflict_rate"]: PERCENT}
        figure = lines(shown, "trained", _title(records), "tasks trained", looks(label), limits)
        for axis in figure.axes:
            axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        return figure


def _title(records: Sequence[Record]) -> str:
    return (
        "Gradients of the cross-entropy over all parameters, "
        f"on {examples(records)} of each task:\n"
        "mean over replicates and 95 % t-interval"
    )


def _in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows in the order of `QUANTITIES`, which is that of the panels; shares in percent."""
    place = frame.metric.map([*QUANTITIES].index)
    order = place.sort_values(kind="stable").index
    value = frame.value.where(frame.metric != "conflict_rate", 100 * frame.value)
    return frame.assign(quantity=frame.metric.map(QUANTITIES), value=value).loc[order]
