"""Evaluations during meta-training: adaptation to new tasks, and alignment of support and query."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retrograde import FigureResult, Record
from retrograde.metrics import cell_labels, evaluations_frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUANTITIES = {
    "loss": "loss after adapting",
    "accuracy": "accuracy % after adapting",
    "cosine": "cosine, new tasks",
    "cosine_seen": "cosine, meta-training",
}


@dataclass(frozen=True)
class MetaTraining(FigureResult):
    """Loss, accuracy and support-query cosine on new tasks against meta-iterations."""

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from retrograde.reporting import PERCENT, lines, looks

        label = cell_labels(records)
        frame = evaluations_frame(records, label)
        if frame.empty:
            return None
        title = "Meta-training, evaluated on 100 tasks: mean over replicates and 95 % t-interval"
        value = frame.value.where(frame.metric != "accuracy", 100 * frame.value)
        named = frame.assign(quantity=frame.metric.map(QUANTITIES), value=value)
        limits = {QUANTITIES[name]: (-1.0, 1.0) for name in ("cosine", "cosine_seen")}
        limits[QUANTITIES["accuracy"]] = PERCENT
        return lines(named, "iteration", title, "meta-iterations", looks(label), limits)
