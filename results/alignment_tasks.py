"""Which tasks' gradients align at the end of a stream: a heat map for each benchmark and strategy."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from retrograde import Cell, Drawing, Record
from retrograde.metrics import examples, labels, ordered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGIBLE = 6
"""Tasks up to which the cosines are written in their cells."""


@dataclass(frozen=True)
class AlignmentTasks(Drawing):
    """The cosines between the gradients of every two tasks at the end of the stream, for every benchmark and strategy."""

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from retrograde.reporting import by_benchmark

        found, label = _cosines(records), labels(records)
        if not found:
            return None
        below = [matrix[np.tril_indices_from(matrix, -1)] for matrix in found.values()]
        largest = max(abs(values[np.isfinite(values)]).max(initial=1e-4) for values in below)
        figure, axes = by_benchmark(found, label)
        for cell, axis in axes.items():
            _draw(axis, found[cell], largest)
        shown = [*axes.values()]
        figure.colorbar(shown[0].collections[0], ax=shown, label="cosine", aspect=30)
        figure.suptitle(
            "Cosines between tasks at the end: gradients of the cross-entropy over all "
            f"parameters, on {examples(records)}\n"
            "of each task, mean over replicates; minus signs mark cosines below 0; white: hidden "
            "by noise",
            fontsize="medium",
        )
        return figure


def _cosines(records: Sequence[Record]) -> "dict[Cell, np.ndarray]":
    """The mean over replicates of the matrices at the end, NaN where noise hides all; streams of one task have none."""
    found = defaultdict(list)
    for record in ordered(records):
        if record.status == "done" and record.gradients and len(record.gradients[-1].loss) > 1:
            found[record.cell].append(record.gradients[-1].cosines)
    return {cell: _known_mean(np.array(matrices)) for cell, matrices in found.items()}


def _known_mean(matrices: np.ndarray) -> np.ndarray:
    """The mean of the numbers that are known."""
    known = np.isfinite(matrices)
    count = known.sum(axis=0)
    total = np.where(known, matrices, 0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _draw(axis: "Axes", matrix: np.ndarray, largest: float) -> None:
    """The triangle below the diagonal, in colours that are as dark for one sign as for the other: hence the minus signs."""
    tasks = len(matrix)
    row, column = np.nonzero(np.tril(np.isfinite(matrix), -1))
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
