"""Adaptation curves: loss or accuracy on new tasks after each inner step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retrograde.metrics.frames import adaptation_frame, labels
from retrograde.records.record import Record
from retrograde.reporting.result import Drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class AdaptationCurves(Drawing):
    """Loss and accuracy on new tasks after each inner step."""

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from retrograde.reporting.plotting import lines, looks

        label = labels(records)
        frame = adaptation_frame(records, label)
        shown = frame[frame.metric != "cosine"]
        if shown.empty:
            return None
        title = "Adapting to new tasks: mean over replicates and 95 % t-interval"
        return lines(shown.rename(columns={"metric": "quantity"}), "step", title, "inner steps", looks(label))
