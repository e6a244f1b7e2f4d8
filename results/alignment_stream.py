"""Gradient alignment along the stream: of the next task with those so far, and of the step taken with earlier tasks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retrograde.alignment import alignment_frame, examples
from retrograde.frame import REPLICATE, labels
from retrograde.record import Record
from retrograde.result import Drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUANTITIES = {"arriving": "cosine, next task", "conflict": "share in conflict", "update": "update, earlier tasks"}


@dataclass(frozen=True)
class AlignmentStream(Drawing):
    """Cosine and conflicts of the next task with those so far, and the step's alignment with earlier ones, along the stream."""

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from matplotlib.ticker import MaxNLocator

        from retrograde.figure import lines, looks, wrapped

        label = labels(records)
        frame = alignment_frame(records, label)
        frame = frame[frame.metric.isin(list(QUANTITIES))]
        if frame.empty:
            return None
        # replicates whose tasks differ by a few steps look at places that differ a little
        tenths = frame.assign(trained=frame.trained.round(1), quantity=frame.metric.map(QUANTITIES))
        shown = tenths.groupby(["quantity", *REPLICATE, "trained"]).value.mean().reset_index()
        shown["benchmark"] = [wrapped(benchmark, 55) for benchmark in shown.benchmark]
        gradients = f"Gradients of the cross-entropy over all parameters, on {examples(records)} of each task"
        title = f"{gradients}: mean over replicates and 95 % t-interval"
        figure = lines(shown, "trained", title, "tasks trained", looks(label))
        for axis in figure.axes:
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        return figure
