"""Which tasks' gradients align at the end of a stream: a heat map for each benchmark and strategy."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from retrograde.alignment import examples
from retrograde.frame import labels, ordered
from retrograde.record import Cell, Record
from retrograde.result import Drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGIBLE = 6
"""Tasks up to which the cosines are written in their cells."""


@dataclass(frozen=True)
class AlignmentTasks(Drawing):
    """The cosines between the gradients of every two tasks at the end of the stream, for every benchmark and strategy."""

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from retrograde.figure import panels, wrapped

        found, label = _cosines(records), labels(records)
        if not found:
            return None
        cells = sorted(found, key=lambda cell: label[cell])
        figure, axes = panels([wrapped(" ".join(label[cell]).strip(), 36) for cell in cells])
        largest = max(abs(matrix[np.tril_indices_from(matrix, -1)]).max(initial=1e-4) for matrix in found.values())
        for axis, cell in zip(axes, cells, strict=True):
            _draw(axis, found[cell], largest)
        figure.colorbar(axes[0].collections[0], ax=axes, label="cosine", aspect=30)
        figure.suptitle(
            f"Cosines between tasks at the end: gradients of the cross-entropy over all parameters, on {examples(records)}\n"
            "of each task, mean over replicates; minus signs mark cosines below 0"
        )
        return figure


def _cosines(records: Sequence[Record]) -> "dict[Cell, np.ndarray]":
    """The mean over replicates of the matrices at the end; streams of one task have none."""
    found = defaultdict(list)
    for record in ordered(records):
        if record.status == "done" and record.probes and len(record.probes[-1].loss) > 1:
            found[record.cell].append(record.probes[-1].cosines)
    return {cell: np.mean(matrices, axis=0) for cell, matrices in found.items()}


def _draw(axis: "Axes", matrix: np.ndarray, largest: float) -> None:
    """The triangle below the diagonal, in colours that are as dark for one sign as for the other: hence the minus signs."""
    tasks, (row, column) = len(matrix), np.tril_indices_from(matrix, -1)
    cosines = matrix[row, column]
    axis.set(aspect="equal", xlim=(0.5, tasks - 0.5), ylim=(tasks + 0.5, 1.5))
    _squares(axis, np.stack([column + 1, row + 1], axis=1), cosines, largest)
    axis.set_xticks(_ticks(1, tasks - 1))
    axis.set_yticks(_ticks(2, tasks))
    axis.grid(visible=False)
    if tasks > LEGIBLE:
        left, low = column[cosines < 0] + 0.8, row[cosines < 0] + 1.0
        gapped = np.stack([left, left + 0.4, left * np.nan], axis=1)
        axis.plot(gapped.ravel(), low.repeat(3), color="black", linewidth=0.5)
        return
    for x, y, cosine in zip(column.tolist(), row.tolist(), cosines, strict=True):
        ink = "white" if abs(cosine) > 0.7 * largest else "black"
        axis.text(x + 1, y + 1, f"{cosine:.3f}", ha="center", va="center", fontsize=5, color=ink)


def _squares(axis: "Axes", centres: np.ndarray, values: np.ndarray, largest: float) -> None:
    """A square for each value; one shape in all places, unclipped: far smaller files than of a mesh."""
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path
    from matplotlib.transforms import AffineDeltaTransform

    squares = PathCollection(
        [Path([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5)])],
        offsets=centres, offset_transform=axis.transData, array=values, cmap="vlag", linewidths=0, zorder=0.5,
        clip_on=False,
    )  # fmt: skip
    squares.set_clim(-largest, largest)
    squares.set_transform(AffineDeltaTransform(axis.transLimits + axis.transAxes))  # type: ignore[arg-type] # it is affine
    axis.add_collection(squares, autolim=False)


def _ticks(first: int, last: int) -> list[int]:
    return [*range(first, last + 1, max(1, (last - first) // 4))]
