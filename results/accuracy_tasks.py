"""The matrix R as a heat map, for each benchmark and strategy."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from retrograde import CellSpec, FigureResult, Record
from retrograde.metrics import cell_labels, ordered

from ._matrices import heat_maps, mean_matrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_LEGIBLE_TASKS = 6
"""Largest number of tasks with accuracies written in their cells."""


@dataclass(frozen=True)
class AccuracyTasks(FigureResult):
    """Accuracy on every task after every task of the stream, by benchmark and strategy."""

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        matrices = _matrices(records)
        if not matrices:
            return None
        step = "experience" if any(record.experiences for record in records) else "task"
        words = ("accuracy %", "task tested", f"{step}s trained")
        figure, axes = heat_maps(matrices, cell_labels(records), *words)
        for cell, axis in axes.items():
            if max(matrices[cell].shape) <= MAX_LEGIBLE_TASKS:
                _write(axis, 100 * matrices[cell])
        title = f"Accuracy on each task after training on each {step}: mean over replicates"
        figure.suptitle(title, fontsize="medium")
        return figure


def _matrices(records: Sequence[Record]) -> "dict[CellSpec, np.ndarray]":
    """The mean over replicates of R, without its first row (before training).

    Streams of one task are left out.
    """
    by_cell = defaultdict(list)
    for record in ordered(records):
        if record.status == "done" and len(record.test_examples) > 1:
            by_cell[record.cell].append(record.R[1:])
    return {cell: mean_matrix(matrices) for cell, matrices in by_cell.items()}


def _write(axis: "Axes", matrix: np.ndarray) -> None:
    for (after, task), value in np.ndenumerate(matrix):
        # the colour map is dark for low accuracies
        ink = "black" if value > 60 else "white"
        axis.text(
            task + 1,
            after + 1,
            f"{value:.0f}",
            ha="center",
            va="center",
            fontsize=6,
            color=ink,
        )
