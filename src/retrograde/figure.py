"""Figures: one style, one look for each strategy of a report, and files whose bytes follow from the records."""

import io
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, NullLocator
from matplotlib.transforms import Bbox

from retrograde.frame import Label
from retrograde.record import Cell
from retrograde.stats import t_interval

DASHES: list[Any] = ["", (4, 1.5), (1, 1), (3, 1, 1, 1), (5, 1, 1, 1, 1, 1), (6, 2), (8, 2, 2, 2)]
"""Line styles that tell strategies apart in grey; seven, for the palette has ten colours."""
MARKERS = "osD^vP*X<>phd"
"""Markers that do the same."""
WIDE = 4
"""Small panels beside each other."""
STYLE: dict[str, Any] = {
    "svg.hashsalt": "retrograde",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "legend.frameon": False,
}


class Look(NamedTuple):
    """How a strategy is drawn in all figures of a report."""

    colour: tuple[float, float, float]
    dash: Any  # as seaborn takes it
    marker: str


def looks(label: Mapping[Cell, Label]) -> dict[str, Look]:
    """By title, the look of every strategy with its settings; one name has one colour, whatever its settings."""
    palette = [(float(r), float(g), float(b)) for r, g, b in sns.color_palette("colorblind")]
    strategies = sorted({each[1:] for each in label.values()})
    names = list(dict.fromkeys(name for name, _ in strategies))
    # how often each colour is used, its place added so that neighbours differ in grey
    found, used = {}, Counter(range(len(palette)))
    for name, settings in strategies:
        place = names.index(name) % len(palette)
        number = used[place] + place
        found[f"{name} {settings}".strip()] = Look(palette[place], DASHES[number % len(DASHES)], MARKERS[number % len(MARKERS)])
        used[place] += 1
    return found


@contextmanager
def style() -> Iterator[None]:
    """The style of every figure; the user's own settings are neither used nor changed."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.use("agg")
        sns.set_theme(context="paper", style="whitegrid", palette="colorblind", rc=STYLE)
        yield


def lines(frame: pd.DataFrame, x: str, title: str, x_label: str, look: Mapping[str, Look]) -> Figure:
    """A column of panels for each benchmark, a row for each `quantity`, and in each a line for each strategy.

    `look` has how each is drawn, by its title. `frame` has a row for each replicate and x, with the columns benchmark,
    quantity, strategy, settings and value. A line is the mean over replicates, its band the 95 % t-interval over them; a
    single replicate has no band.
    """
    label = (frame.strategy + " " + frame.settings).str.strip()
    order = sorted(set(label))
    grid = sns.relplot(
        frame.assign(label=label), kind="line", x=x, y="value", hue="label", style="label", col="benchmark", row="quantity",
        hue_order=order, style_order=order, dashes={name: look[name].dash for name in order},
        palette={name: look[name].colour for name in order}, errorbar=_interval,
        height=2.6, aspect=1.5, facet_kws={"sharex": "col", "sharey": False},
    )  # fmt: skip
    grid.set_titles("").set_xlabels(x_label)
    for axis, benchmark in zip(grid.axes[0], grid.col_names, strict=True):
        axis.set_title(benchmark)
    for quantity, axes in zip(grid.row_names, grid.axes, strict=True):
        axes[0].set_ylabel(quantity)
        for axis in axes if quantity.startswith("loss") else ():
            axis.set_yscale("log")
            plain_ticks(axis.yaxis)
    sns.move_legend(grid, "center left", bbox_to_anchor=(1, 0.5), title="")
    grid.figure.subplots_adjust(right=0.99)  # the legend took its place from the panels; it is saved beside them
    grid.figure.suptitle(title, y=1.02 + 0.02 * max(name.count("\n") for name in grid.col_names))
    figure: Figure = grid.figure
    plt.close(figure)  # else pyplot keeps it
    return figure


def panels(titles: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """A figure of small panels, `WIDE` of them beside each other, one for each title."""
    tall = -(-len(titles) // WIDE)
    figure = Figure(figsize=(10, 0.8 + 2.5 * tall), layout="constrained")
    axes = list(figure.subplots(tall, WIDE, squeeze=False).flat)
    for axis in axes[len(titles) :]:
        axis.remove()
    for axis, title in zip(axes, titles, strict=False):
        axis.set_title(title, fontsize="small")
    return figure, axes[: len(titles)]


def plain_ticks(axis: Axis) -> None:
    """Ticks of a logarithmic axis as plain numbers: no text of a figure is read as mathematics, as names may hold dollars."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def wrapped(text: str, width: int) -> str:
    """Text in lines of up to so many characters, broken after commas too, as benchmarks and strategies have them."""
    return textwrap.fill(text.replace(",", ", "), width).replace(", ", ",")


def _interval(values: "pd.Series[float]") -> tuple[float, float]:
    _, low, high, _ = t_interval(np.asarray(values))
    return low, high


def _settle(figure: Figure) -> None:
    """Lay the figure out and round the places: the last digits of a constrained layout differ between processes."""
    if not isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        return
    for _ in range(2):  # the first layout is made for texts that it moves
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position(Bbox(axes.get_position(original=True).get_points().round(6)))
    for text in figure.texts:
        x, y = text.get_position()
        text.set_position((round(x, 6), round(y, 6)))


def _bytes(figure: Figure, form: str, **metadata: str | None) -> bytes:
    file = io.BytesIO()
    with style():
        FigureCanvasAgg(figure)
        _settle(figure)
        figure.savefig(file, format=form, bbox_inches="tight", metadata=metadata)
    return file.getvalue()


FORMATS: dict[str, Callable[[Figure], bytes]] = {
    "svg": lambda figure: _bytes(figure, "svg", Date=None),
    "png": lambda figure: _bytes(figure, "png", Software=None),
}
