"""Accuracy on everything seen so far, after each experience."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from retrograde import FigureResult, Record
from retrograde.metrics import REPLICATE, cell_labels, ordered, seen_accuracy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class AccuracySeen(FigureResult):
    """Accuracy on what was seen so far after each experience, by strategy.

    That is the classes seen so far, whose test examples count alike; where classes were not
    counted, the tasks.
    """

    order: ClassVar[float] = 0

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from retrograde.reporting import PERCENT, curves, looks

        label = cell_labels(records)
        rows = [
            (*label[record.cell], *row)
            for record in ordered(records)
            if record.status == "done" and record.test_examples
            for row in _accuracies(record)
        ]
        frame = pd.DataFrame(rows, columns=[*REPLICATE[:4], "experience", "value"])
        # a line has two points at least
        lengths = frame.groupby("benchmark").experience.transform("max")
        shown = frame[lengths > 1]
        if shown.empty:
            return None
        shared = any(record.experiences for record in records)
        seen = "classes" if any(record.classes for record in records) else "tasks"
        texts = (
            f"Accuracy on the {seen} seen so far: mean over replicates and 95 % t-interval",
            "experiences trained" if shared else "tasks trained",
            "accuracy %",
        )
        return curves(shown, "experience", texts, looks(label), PERCENT)


def _accuracies(record: Record) -> Iterator[tuple[Any, ...]]:
    """Seed, experience and accuracy in percent."""
    for experience, accuracy in enumerate(seen_accuracy(record).tolist(), 1):
        yield record.seed, experience, 100 * accuracy
