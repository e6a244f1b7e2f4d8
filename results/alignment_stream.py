"""Gradient alignment along the stream: of the next task with those so far, and the ceilings that noise sets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retrograde import Drawing, Record
from retrograde.metrics import alignment_frame, examples, labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUANTITIES = {
    "arriving": "cosine, next task",
    "conflict": "share in conflict",
    "ceiling": "ceiling of cosines, tasks so far",
}


@dataclass(frozen=True)
class AlignmentStream(Drawing):
    """Cosine and conflicts of the next task with those so far along the stream, and the ceiling that noise sets cosines."""

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from matplotlib.ticker import MaxNLocator

        from retrograde.reporting import lines, looks

        label = labels(records)
        frame = alignment_frame(records, label).dropna(subset=["value"])
        shown = frame[frame.metric.isin(list(QUANTITIES))]
        if set(shown.metric) <= {"ceiling"}:  # streams of one task
            return None
        order = shown.metric.map([*QUANTITIES].index)
        shown = shown.assign(quantity=shown.metric.map(QUANTITIES)).loc[
            order.sort_values(kind="stable").index
        ]
        gradients = f"Gradients of the cross-entropy over all parameters, on {examples(records)} of each task"
        title = f"{gradients}:\nmean over replicates and 95 % t-interval"
        figure = lines(shown, "trained", title, "tasks trained", looks(label))
        for axis in figure.axes:
            low, high = axis.get_ylim()
            least = 0.0 if axis.get_ylabel() == QUANTITIES["conflict"] else -1.0
            axis.set_ylim(
                max(low, least - 0.05), min(high, 1.05)
            )  # intervals may be wider than what is possible
            axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        return figure
