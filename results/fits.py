"""Fits: a new task that is a curve, before and after adapting to a few of its points."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING

from retrograde import Drawing, Fit, Record
from retrograde.metrics import labels, ordered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE = 4
"""Panels beside each other."""


@dataclass(frozen=True)
class Fits(Drawing):
    """The first test task of seed 0 under every strategy: truth, support, and the prediction before and after adapting."""

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from matplotlib.figure import Figure

        label = labels(records)
        first = [
            r
            for r in ordered(records)
            if r.seed == 0 and r.status == "done" and r.adaptation and r.adaptation.fits
        ]
        first.sort(key=lambda record: label[record.cell])
        if not first:
            return None
        tall = -(-len(first) // WIDE)
        figure = Figure(figsize=(10, 0.6 + 2.2 * tall), layout="constrained")
        axes = figure.subplots(tall, WIDE, sharex=True, sharey=True, squeeze=False)
        for axis in axes.flat[len(first) :]:
            axis.remove()
        several = len({label[record.cell].benchmark for record in first}) > 1
        for axis, record in zip(axes.flat, first, strict=False):
            axis.set_title(
                fill(" ".join(label[record.cell][0 if several else 1 :]).strip(), 30),
                fontsize="small",
            )
            _draw(axis, record.adaptation.fits[0])  # type: ignore[union-attr]
        highest = 1.5 * max(abs(y) for record in first for y in record.adaptation.fits[0].y)  # type: ignore[union-attr]
        axes[0, 0].set_ylim(-highest, highest)
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right center")
        figure.suptitle(
            "A new task before and after adapting to its support: the first test task of seed 0"
        )
        return figure


def _draw(axis: "Axes", fit: Fit) -> None:
    last = len(fit.predicted) - 1
    axis.plot(fit.x, fit.y, color="black", linewidth=1, label="truth")
    for name, step, dash in (
        ("before", 0, ":"),
        ("after one step", 1, "--"),
        ("after the last", last, "-"),
    ):
        if step <= last:
            axis.plot(fit.x, fit.predicted[step], dash, label=name)
    axis.plot(fit.support_x, fit.support_y, "k^", markersize=4, label="support")
