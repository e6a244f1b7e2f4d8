"""Confusion of classes at the end of a stream, as heat maps, where predictions were kept."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int64

from retrograde import CellSpec, FigureResult, Record
from retrograde.metrics import cell_labels, ordered

from ._matrices import heat_maps

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Confusion(FigureResult):
    """Classes predicted for the examples of each class, in runs with `--keep predictions`.

    A row sums to 100 %. Classes are output units, in the order in which they come in the stream.
    """

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        shares = _shares(records)
        if not shares:
            return None
        words = ("% of a class", "class predicted", "class of the example")
        figure, _ = heat_maps(shares, cell_labels(records), *words)
        title = (
            "Predictions for each class at the end of the stream, the first class in front: "
            "all replicates together"
        )
        figure.suptitle(title, fontsize="medium")
        return figure


def _shares(records: Sequence[Record]) -> dict[CellSpec, Float[np.ndarray, "right predicted"]]:
    """The share of each predicted unit among the examples of a right one, over all replicates."""
    by_cell = defaultdict(list)
    for record in ordered(records):
        if record.status == "done" and record.keeps(["predictions"]):
            by_cell[record.cell].append(_in_order(record))
    return {cell: _mean(counts) for cell, counts in by_cell.items()}


def _in_order(record: Record) -> Int64[np.ndarray, "right predicted"]:
    """The confusion of one replicate, with the classes that come first in front."""
    counts = record.predictions.confusion()
    first = np.full(len(counts), record.timeline.count)
    if record.classes:
        np.minimum.at(first, record.classes.output, record.classes.first)
    order = np.argsort(first, kind="stable")
    return np.asarray(counts[np.ix_(order, order)])


def _mean(counts: list[np.ndarray]) -> Float[np.ndarray, "right predicted"]:
    units = max(map(len, counts))
    whole = sum(np.pad(each, (0, units - len(each))) for each in counts)
    of_class = np.maximum(np.sum(whole, axis=1, keepdims=True), 1)
    return np.asarray(whole / of_class)
