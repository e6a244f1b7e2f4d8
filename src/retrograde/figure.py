"""Figures: one style, a colour and a dash for each strategy of a figure, and files whose bytes follow from the records."""

import io
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from retrograde.stats import t_interval

DASHES = ["", (4, 1.5), (1, 1), (3, 1, 1, 1), (5, 1, 1, 1, 1, 1), (6, 2), (8, 2, 2, 2)]
"""Line styles that tell strategies apart in grey; seven, for the palette has ten colours."""
STYLE: dict[str, Any] = {"svg.hashsalt": "retrograde", "svg.fonttype": "path", "legend.frameon": False}


@contextmanager
def style() -> Iterator[None]:
    """The style of every figure; the user's own settings are neither used nor changed."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.use("agg")
        sns.set_theme(context="paper", style="whitegrid", palette="colorblind", rc=STYLE)
        yield


def lines(frame: pd.DataFrame, x: str, title: str, x_label: str) -> Figure:
    """A column of panels for each benchmark, a row for each `quantity`, and in each a line for each strategy.

    `frame` has a row for each replicate and x, with the columns benchmark, quantity, strategy, settings and value. A line is
    the mean over replicates, its band the 95 % t-interval over them; a single replicate has no band.
    """
    label = (frame.strategy + " " + frame.settings).str.strip()
    order = sorted(set(label))
    grid = sns.relplot(
        frame.assign(label=label), kind="line", x=x, y="value", hue="label", style="label", col="benchmark", row="quantity",
        hue_order=order, style_order=order, dashes=[DASHES[i % len(DASHES)] for i in range(len(order))],
        palette=dict(zip(order, sns.color_palette("colorblind", len(order)), strict=True)), errorbar=_interval,
        height=2.6, aspect=1.5, facet_kws={"sharex": "col", "sharey": False},
    )  # fmt: skip
    grid.set_titles("").set_xlabels(x_label)
    for axis, benchmark in zip(grid.axes[0], grid.col_names, strict=True):
        axis.set_title(benchmark)
    for quantity, axes in zip(grid.row_names, grid.axes, strict=True):
        axes[0].set_ylabel(quantity)
        for axis in axes if quantity.startswith("loss") else ():
            axis.set_yscale("log")
    sns.move_legend(grid, "center left", bbox_to_anchor=(1, 0.5), title="")
    grid.figure.subplots_adjust(right=0.99)  # the legend took its place from the panels; it is saved beside them
    grid.figure.suptitle(title, y=1.02 + 0.02 * max(name.count("\n") for name in grid.col_names))
    figure: Figure = grid.figure
    plt.close(figure)  # else pyplot keeps it
    return figure


def wrapped(text: str, width: int) -> str:
    """Text in lines of up to so many characters, broken after commas too, as benchmarks and strategies have them."""
    return textwrap.fill(text.replace(",", ", "), width).replace(", ", ",")


def _interval(values: "pd.Series[float]") -> tuple[float, float]:
    _, low, high, _ = t_interval(np.asarray(values))
    return low, high


def _bytes(figure: Figure, form: str, **metadata: str | None) -> bytes:
    file = io.BytesIO()
    with style():
        FigureCanvasAgg(figure)
        figure.savefig(file, format=form, bbox_inches="tight", metadata=metadata)
    return file.getvalue()


FORMATS: dict[str, Callable[[Figure], bytes]] = {
    "svg": lambda figure: _bytes(figure, "svg", Date=None),
    "png": lambda figure: _bytes(figure, "png", Software=None),
}
