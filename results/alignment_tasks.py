"""Cosines between the gradients of tasks at the end of a stream, as heat maps."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from retrograde import CellSpec, FigureResult, Record
from retrograde.metrics import cell_labels, cosines, examples, ordered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_LEGIBLE_TASKS = 6
"""Largest number of tasks with cosines written in their cells."""


@dataclass(frozen=True)
class AlignmentTasks(FigureResult):
    """Cosines between the gradients of every two tasks at the end of the stream."""

    regression: ClassVar[bool] = True

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from retrograde.reporting import by_benchmark

        matrices = _cosines(records)
        if not matrices:
            return None
        largest = _largest(matrices.values())
        figure, axes = by_benchmark(matrices, cell_labels(records))
        for cell, axis in axes.items():
            _draw(axis, matrices[cell], largest)
        shown = [*axes.values()]
        figure.colorbar(shown[0].collections[0], ax=shown, label="cosine", aspect=30)
        figure.suptitle(
            "Cosines between tasks at the end: "
            f"gradients of the {_loss(records)} over all parameters, on {examples(records)}\n"
            "of each task, mean over replicates; minus signs mark cosines below 0; "
            "white: hidden by noise",
            fontsize="medium",
        )
        return figure


def _loss(records: Sequence[Record]) -> str:
    probed = {bool(record.squared_errors) for record in records if record.gradients}
    if len(probed) > 1:
        return "loss"
    return "squared error" if True in probed else "cross-entropy"


def _cosines(records: Sequence[Record]) -> "dict[CellSpec, np.ndarray]":
    """The mean over replicates of the final matrices of cosines.

    NaN means that noise hides the cosine in every replicate. Streams of one task are left out.
    """
    by_cell = defaultdict(list)
    for record in ordered(records):
        if record.status == "done" and record.gradients and len(record.gradients[-1].loss) > 1:
            by_cell[record.cell].append(cosines(record.gradients[-1]))
    return {cell: _known_mean(np.array(matrices)) for cell, matrices in by_cell.items()}


def _largest(matrices: "Iterable[np.ndarray]") -> float:
    """The largest size of a known cosine, which is the end of the scale of colours."""
    # the least keeps the scale from being empty
    largest = 1e-4
    for matrix in matrices:
        below = matrix[np.tril_indices_from(matrix, -1)]
        known = abs(below[np.isfinite(below)])
        largest = max(largest, known.max(initial=1e-4))
    return largest


def _known_mean(matrices: np.ndarray) -> np.ndarray:
    """The mean over the first axis of the numbers that are finite; NaN where none is."""
    known = np.isfinite(matrices)
    count = known.sum(axis=0)
    total = np.where(known, matrices, 0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _draw(axis: "Axes", matrix: np.ndarray, largest: float) -> None:
    """Draw the triangle below the diagonal, the sign of each cosine marked."""
    tasks = len(matrix)
    row, column = np.nonzero(np.tril(np.isfinite(matrix), -1))
    cosines = matrix[row, column]
    axis.set(aspect="equal", xlim=(0.5, tasks - 0.5), ylim=(tasks + 0.5, 1.5))
    centres = np.stack([column + 1, row + 1], axis=1)
    _squares(axis, centres, cosines, largest)
    axis.set_xticks(_ticks(1, tasks - 1))
    axis.set_yticks(_ticks(2, tasks))
    axis.grid(visible=False)
    if tasks > MAX_LEGIBLE_TASKS:
        # in grey, the colours of both signs are equally dark
        negative = cosines < 0
        _minus_signs(axis, row[negative], column[negative])
    else:
        _write(axis, centres, cosines, largest)


def _write(axis: "Axes", centres: np.ndarray, cosines: np.ndarray, largest: float) -> None:
    for (x, y), cosine in zip(centres.tolist(), cosines, strict=True):
        # both ends of the colour map are dark
        ink = "white" if abs(cosine) > 0.7 * largest else "black"
        axis.text(
            x,
            y,
            f"{cosine:.3f}",
            ha="center",
            va="center",
            fontsize=5,
            color=ink,
        )


def _minus_signs(axis: "Axes", row: np.ndarray, column: np.ndarray) -> None:
    left = column + 0.8
    # NaN breaks one line into many strokes, which makes a far smaller file than a line for each
    gapped = np.stack([left, left + 0.4, left * np.nan], axis=1)
    heights = (row + 1.0).repeat(3)
    axis.plot(gapped.ravel(), heights, color="black", linewidth=0.5)


def _squares(axis: "Axes", centres: np.ndarray, values: np.ndarray, largest: float) -> None:
    """Draw a coloured square for each value."""
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path
    from matplotlib.transforms import AffineDeltaTransform

    # one shape in all places makes far smaller files than a mesh, and so does leaving it unclipped
    square = Path([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5)])
    squares = PathCollection(
        [square],
        offsets=centres,
        offset_transform=axis.transData,
        array=values,
        cmap="vlag",
        linewidths=0,
        zorder=0.5,
        clip_on=False,
    )
    squares.set_clim(-largest, largest)
    to_display = axis.transLimits + axis.transAxes
    squares.set_transform(AffineDeltaTransform(to_display))  # type: ignore[arg-type] # it is affine
    axis.add_collection(squares, autolim=False)


def _ticks(first: int, last: int) -> list[int]:
    return [*range(first, last + 1, max(1, (last - first) // 4))]
