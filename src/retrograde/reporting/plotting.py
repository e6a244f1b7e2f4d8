"""Figures: one style, one look for each strategy of a report, and files whose bytes follow from the records."""

import io
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator
from matplotlib.transforms import Bbox

from retrograde.metrics.frames import Label
from retrograde.metrics.intervals import t_interval
from retrograde.metrics.ranking import names
from retrograde.records.cell import Cell

DASHES: list[Any] = ["", (4, 1.5), (1, 1), (3, 1, 1, 1), (5, 1, 1, 1, 1, 1), (6, 2), (8, 2, 2, 2)]
"""Line styles that tell strategies apart in grey; seven, for the palette has ten colours."""
MARKERS = "osD^vP*X<>phd"
"""Markers that do the same."""
WIDE = 4
"""Small panels beside each other."""
MANY = 1e4
"""The ratio of the ends of a logarithmic axis from which on powers of ten alone have ticks."""
DOTTED = 30
"""Points of a line up to which each has a mark."""
STYLE: dict[str, Any] = {
    "svg.hashsalt": "retrograde",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "legend.frameon": False,
}


class Look(NamedTuple):
    """The look of a strategy in all figures of a report, and its name in their legends."""

    colour: tuple[float, float, float]
    dash: Any  # as seaborn takes it
    marker: str
    name: str

    @property
    def style(self) -> Any:
        """The dash as matplotlib's lines take it."""
        return (0, self.dash) if self.dash else "-"


def looks(label: Mapping[Cell, Label]) -> dict[str, Look]:
    """The look of every strategy, by its title with all settings.

    A strategy that no benchmark has twice has one look, whatever its settings on each benchmark. Others have a look for each
    of their settings, of one colour.
    """
    palette = [(float(r), float(g), float(b)) for r, g, b in sns.color_palette("colorblind")]
    called = names(label.values())
    shown = sorted({(strategy, name) for (strategy, _), name in called.items()})
    strategies = list(dict.fromkeys(strategy for strategy, _ in shown))
    # how often each colour is used, its place added so that neighbours differ in grey
    used = Counter(range(len(palette)))
    found = {}
    for strategy, name in shown:
        place = strategies.index(strategy) % len(palette)
        number = used[place] + place
        found[name] = Look(
            palette[place], DASHES[number % len(DASHES)], MARKERS[number % len(MARKERS)], name
        )
        used[place] += 1
    return {
        f"{strategy} {settings}".strip(): found[name]
        for (strategy, settings), name in called.items()
    }


def legend_lines(
    look: Mapping[str, Look], shown: Iterable[str], *, dashed: bool = False
) -> list[Line2D]:
    """The entries of a legend: a line for each strategy among some titles, once for each name."""
    titles = set(shown)
    mine = sorted({each.name: each for title, each in look.items() if title in titles}.items())
    return [
        Line2D(
            [], [], color=each.colour, marker=each.marker, markersize=5, linestyle=each.style if dashed else "",
            label=wrapped(name, 30),
        )
        for name, each in mine
    ]  # fmt: skip


@contextmanager
def style() -> Iterator[None]:
    """The style of every figure; the user's own settings are neither used nor changed."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.use("agg")
        sns.set_theme(context="paper", style="whitegrid", palette="colorblind", rc=STYLE)
        yield


def lines(
    frame: pd.DataFrame, x: str, title: str, x_label: str, look: Mapping[str, Look]
) -> Figure:
    """A row of panels for each benchmark, one for each `quantity` that it has, and in each a line for each strategy.

    `look` has how each is drawn, by its title. `frame` has a row for each replicate and x, with the columns benchmark,
    quantity, strategy, settings and value. A line is the mean over replicates, its band the 95 % t-interval over them; a
    single replicate has no band.
    """
    frame = frame.assign(title=(frame.strategy + " " + frame.settings).str.strip())
    quantities = list(dict.fromkeys(frame.quantity))
    groups = {
        str(name): [q for q in quantities if q in set(rows.quantity)]
        for name, rows in frame.groupby("benchmark")
    }
    figure, axes = grouped(groups, named=False)
    for (benchmark, quantity), axis in axes.items():
        here = frame[(frame.benchmark == benchmark) & (frame.quantity == quantity)]
        for name, rows in here.groupby("title", sort=True):
            _line(axis, rows, x, look[str(name)])
        axis.set_ylabel(quantity)
        least = here.groupby(["title", x]).value.mean().min()
        if quantity.startswith("loss") and least > 0:
            axis.set_yscale("log")
            axis.set_ylim(bottom=least / 2)  # an interval may reach below 0
            plain_ticks(axis.yaxis)
    figure.supxlabel(x_label, fontsize="medium")
    figure.legend(handles=legend_lines(look, frame.title, dashed=True), loc="outside right center")
    figure.suptitle(title, fontsize="medium")
    return figure


def _line(axis: Axes, rows: pd.DataFrame, x: str, look: Look) -> None:
    """The mean at each x, with a band thin enough to see the other lines through it."""
    spans = {
        at: t_interval(values.to_numpy(float)) for at, values in rows.groupby(x, sort=True).value
    }
    places = np.array([*spans], dtype=float)
    mean, low, high = np.array([span[:3] for span in spans.values()]).T
    dots = look.marker if len(places) <= DOTTED else ""
    axis.plot(
        places,
        mean,
        color=look.colour,
        linestyle=look.style,
        linewidth=1.2,
        marker=dots,
        markersize=3,
        zorder=3,
    )
    if np.isfinite(low).any():
        axis.fill_between(places, low, high, color=look.colour, alpha=0.1, linewidth=0, zorder=2)


def grouped(
    groups: Mapping[str, Sequence[str]],
    height: float = 2.4,
    wide: int = WIDE,
    *,
    named: bool = True,
) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """A figure of panels by group and title: each group begins a row, above which its name stands.

    The names of panels stand above them, below that of the group, unless they are not to be named.
    """
    most = max(map(len, groups.values()))
    across = -(-most // -(-most // wide))  # as few rows as `wide` allows, evenly filled
    tall = {group: -(-len(titles) // across) for group, titles in groups.items()}
    figure = Figure(
        figsize=(10, 0.8 + height * sum(tall.values()) + 0.3 * len(groups)), layout="constrained"
    )
    grid = figure.add_gridspec(sum(tall.values()), across)
    axes: dict[tuple[str, str], Axes] = {}
    first = 0
    for group, titles in groups.items():
        for place, title in enumerate(titles):
            axis = figure.add_subplot(grid[first + place // across, place % across])
            axis.set_title(wrapped(title, 80 // across) if named else "", fontsize="small")
            axes[group, title] = axis
        above = axes[group, titles[0]].get_title().count("\n") + 1 if named else 0
        heading = wrapped(group, 110) + "\n" * above
        axes[group, titles[0]].set_title(heading, fontsize="small", fontweight="bold", loc="left")
        first += tall[group]
    return figure, axes


def by_benchmark(
    cells: Iterable[Cell], label: Mapping[Cell, Label]
) -> tuple[Figure, dict[Cell, Axes]]:
    """A figure with a panel for each cell, in the order of labels, those of a benchmark under its name."""
    look = looks(label)
    titles = {
        cell: look[" ".join(label[cell][1:]).strip()].name
        for cell in sorted(cells, key=lambda cell: label[cell])
    }
    groups: dict[str, list[str]] = {}
    for cell, title in titles.items():
        groups.setdefault(label[cell].benchmark, []).append(title)
    figure, axes = grouped(groups, height=2.5)
    return figure, {cell: axes[label[cell].benchmark, title] for cell, title in titles.items()}


def lowest(axes: Iterable[Axes]) -> list[Axes]:
    """The panels of the last row."""
    rows = {axis: spec.rowspan.start for axis in axes if (spec := axis.get_subplotspec())}
    last = max(rows.values())
    return [axis for axis, row in rows.items() if row == last]


def panels(
    titles: Sequence[str], wide: int = WIDE, height: float = 2.5
) -> tuple[Figure, list[Axes]]:
    """A figure of panels, so many of them beside each other, one for each title."""
    tall = -(-len(titles) // wide)
    figure = Figure(figsize=(10, 0.8 + height * tall), layout="constrained")
    axes = list(figure.subplots(tall, wide, squeeze=False).flat)
    for axis in axes[len(titles) :]:
        axis.remove()
    for axis, title in zip(axes, titles, strict=False):
        axis.set_title(title, fontsize="small")
    return figure, axes[: len(titles)]


def plain_ticks(axis: Axis) -> None:
    """Ticks of a logarithmic axis as plain numbers: no text of a figure is read as mathematics, as names may hold dollars."""
    low, high = axis.get_view_interval()
    many = high > MANY * low
    axis.set_major_locator(LogLocator(numticks=7) if many else LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def wrapped(text: str, width: int) -> str:
    """Text in lines of up to so many characters, broken after commas too, as benchmarks and strategies have them."""
    return textwrap.fill(text.replace(",", ", "), width).replace(", ", ",")


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
