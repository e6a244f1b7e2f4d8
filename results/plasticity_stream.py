"""Plasticity along the stream: online accuracy, hidden units and weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from retrograde import FigureResult, Record
from retrograde.metrics import cell_labels

from ._plasticity import DEAD, ONLINE, RANK, WEIGHT, plasticity_frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class PlasticityAlongStream(FigureResult):
    """Measures of plasticity at each experience's end, next to its online accuracy.

    A panel for each measure of a benchmark with `plasticity_examples`, with a line for each
    strategy: the mean over replicates, with its interval.
    """

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from retrograde.reporting import PERCENT, lines, looks

        label = cell_labels(records)
        frame = plasticity_frame(records, label)
        if frame.empty:
            return None
        percent = {ONLINE: f"{ONLINE} %", DEAD: f"{DEAD} %"}
        title = "Plasticity: mean over replicates and 95 % t-interval"
        frame = frame.assign(quantity=frame.quantity.replace(percent))
        limits = dict.fromkeys(percent.values(), PERCENT) | dict.fromkeys((RANK, WEIGHT), (0, inf))
        return lines(frame, "trained", title, "experiences trained", looks(label), limits)
