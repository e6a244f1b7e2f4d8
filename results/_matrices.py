"""Matrices of the replicates of one cell, and their heat maps."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from retrograde import CellSpec
from retrograde.metrics import Label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def mean_matrix(
    matrices: Sequence[Float[np.ndarray, "_ task"]],
) -> Float[np.ndarray, "row task"]:
    """The mean over replicates; one whose stream is over stays as it was at the end."""
    rows = max(map(len, matrices))
    # the number of experiences may depend on the seed
    whole = [np.pad(each, ((0, rows - len(each)), (0, 0)), mode="edge") for each in matrices]
    return np.asarray(np.mean(whole, axis=0))


def heat_maps(
    shares: Mapping[CellSpec, np.ndarray],
    label: Mapping[CellSpec, Label],
    colours: str,
    across: str,
    down: str,
) -> "tuple[Figure, dict[CellSpec, Axes]]":
    """Heat maps of matrices of shares, in percent, by benchmark and strategy.

    Args:
        shares: the matrix of each cell.
        label: the labels of the cells.
        colours: the meaning of the colours.
        across: that of the columns.
        down: that of the rows.
    """
    from retrograde.reporting import by_benchmark

    figure, axes = by_benchmark(shares, label)
    for cell, axis in axes.items():
        _draw(axis, 100 * shares[cell])
    shown = [*axes.values()]
    figure.colorbar(shown[0].images[0], ax=shown, label=colours, aspect=30)
    figure.supxlabel(across, fontsize="medium")
    figure.supylabel(down, fontsize="medium")
    return figure, axes


def _draw(axis: "Axes", percent: Float[np.ndarray, "row column"]) -> None:
    rows, columns = percent.shape
    # cells are centred on numbers, which begin at 1; rows run downwards
    extent = (0.5, columns + 0.5, rows + 0.5, 0.5)
    axis.imshow(percent, cmap="cividis", vmin=0, vmax=100, extent=extent)
    axis.set_xticks(_ticks(columns))
    axis.set_yticks(_ticks(rows))
    axis.grid(visible=False)


def _ticks(count: int) -> range:
    return range(1, count + 1, max(1, count // 4))
