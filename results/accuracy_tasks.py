"""The matrix R as a heat map, for each benchmark and strategy."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from retrograde import CellSpec, FigureResult, Record
from retrograde.metrics import cell_labels, ordered

from ._matrices import mean_matrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_LEGIBLE_TASKS = 6
"""Largest number of tasks with accuracies written in their cells."""


@dataclass(frozen=True)
class AccuracyTasks(FigureResult):
    """Accuracy on every task after every task of the stream, by benchmark and strategy."""

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from retrograde.reporting import by_benchmark

        matrices = _matrices(records)
        if not matrices:
            return None
        figure, axes = by_benchmark(matrices, cell_labels(records))
        for cell, axis in axes.items():
            _draw(axis, 100 * matrices[cell])
        shown = [*axes.values()]
        figure.colorbar(shown[0].images[0], ax=shown, label="accuracy %", aspect=30)
        figure.supxlabel("task tested", fontsize="medium")
        step = "experience" if any(record.experiences for record in records) else "task"
        figure.supylabel(f"{step}s trained", fontsize="medium")
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


def _draw(axis: "Axes", matrix: np.ndarray) -> None:
    experiences, tasks = matrix.shape
    # cells are centred on numbers, which begin at 1; rows run downwards
    extent = (0.5, tasks + 0.5, experiences + 0.5, 0.5)
    axis.imshow(matrix, cmap="cividis", vmin=0, vmax=100, extent=extent)
    axis.set_xticks(_ticks(tasks))
    axis.set_yticks(_ticks(experiences))
    axis.grid(visible=False)
    if max(matrix.shape) <= MAX_LEGIBLE_TASKS:
        _write(axis, matrix)


def _ticks(count: int) -> range:
    return range(1, count + 1, max(1, count // 4))


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
