"""Adaptation curves: loss or accuracy on new tasks after each inner step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retrograde import FigureResult, Record
from retrograde.metrics import adaptation_frame, cell_labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACCURACY = "accuracy %"


@dataclass(frozen=True)
class AdaptationCurves(FigureResult):
    """Loss and accuracy on new tasks after each inner step."""

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from retrograde.reporting import PERCENT, lines, looks

        label = cell_labels(records)
        frame = adaptation_frame(records, label)
        shown = frame[frame.metric != "cosine"]
        if shown.empty:
            return None
        title = "Adapting to new tasks: mean over replicates and 95 % t-interval"
        percent = shown.metric == "accuracy"
        named = shown.assign(
            quantity=shown.metric.where(~percent, ACCURACY),
            value=shown.value.where(~percent, 100 * shown.value),
        )
        return lines(named, "step", title, "inner steps", looks(label), {ACCURACY: PERCENT})
