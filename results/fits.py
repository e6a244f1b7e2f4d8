"""Fits of a new regression task before and after adapting to a few of its points."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING

from retrograde import CellSpec, FigureResult, Fit, Record
from retrograde.metrics import Label, cell_labels, ordered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS_PER_ROW = 4
"""Panels in a row."""


@dataclass(frozen=True)
class Fits(FigureResult):
    """Predictions on the first test task of seed 0, before and after adapting, by strategy."""

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from retrograde.reporting import set_legend

        label = cell_labels(records)
        fits = _first_fits(records, label)
        if not fits:
            return None
        figure, axes = _grid(len(fits))
        several = len({label[cell].benchmark for cell in fits}) > 1
        for axis, (cell, fit) in zip(axes, fits.items(), strict=True):
            # a single benchmark need not be named
            title = " ".join(label[cell][0 if several else 1 :]).strip()
            axis.set_title(fill(title, 30), fontsize="small")
            _draw(axis, fit)
        # early predictions may go far beyond the truth, which has to stay readable
        highest = 1.5 * max(abs(y) for fit in fits.values() for y in fit.y)
        axes[0].set_ylim(-highest, highest)
        handles, _ = axes[0].get_legend_handles_labels()
        set_legend(figure, handles)
        figure.suptitle(
            "A new task before and after adapting to its support: the first test task of seed 0"
        )
        return figure


def _first_fits(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> dict[CellSpec, Fit]:
    """The first fit of every cell on seed 0, in the order of labels."""
    fits = {}
    for record in ordered(records):
        adaptation = record.adaptation
        if record.seed == 0 and record.status == "done" and adaptation and adaptation.fits:
            fits[record.cell] = adaptation.fits[0]
    return dict(sorted(fits.items(), key=lambda item: label[item[0]]))


def _grid(count: int) -> "tuple[Figure, list[Axes]]":
    from retrograde.reporting import panels_per_row, sheet

    across = panels_per_row(PANELS_PER_ROW)
    tall = -(-count // across)
    figure = sheet(0.6 + 2.2 * tall)
    grid = figure.subplots(tall, across, sharex=True, sharey=True, squeeze=False)
    axes = list(grid.flat)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def _draw(axis: "Axes", fit: Fit) -> None:
    last = len(fit.predicted) - 1
    axis.plot(fit.x, fit.y, color="black", linewidth=1, label="truth")
    shown = (("before", 0, ":"), ("after one step", 1, "--"), ("after the last", last, "-"))
    for name, step, dash in shown:
        if step <= last:
            axis.plot(fit.x, fit.predicted[step], dash, label=name)
    axis.plot(fit.support_x, fit.support_y, "k^", markersize=4, label="support")
