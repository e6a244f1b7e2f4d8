"""Figures: one style, one look for each strategy of a report, and files with reproducible bytes."""

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
from retrograde.metrics.ranking import display_names
from retrograde.records.cell import CellSpec

DASHES: list[Any] = ["", (4, 1.5), (1, 1), (3, 1, 1, 1), (5, 1, 1, 1, 1, 1), (6, 2), (8, 2, 2, 2)]
"""Line styles that tell strategies apart in grey.

There are seven, which has no factor in common with the ten colours of the palette.
"""
MARKERS = "osD^vP*X<>phd"
"""Markers that do the same."""
PAGE_WIDTH = 10.0
"""Width of a figure on a screen, in inches."""
PANEL_WIDTH = 2.5
"""Width of a small panel, in inches."""
PANELS_PER_ROW = 4
"""Number of small panels in a row of a page."""
MAX_TICK_RATIO = 1e4
"""Ratio of the ends of a logarithmic axis above which only powers of ten have ticks."""
MAX_MARKERS = 30
"""Largest number of points of a line with a marker at each point."""
STYLE: dict[str, Any] = {
    "svg.hashsalt": "retrograde",
    "svg.fonttype": "none",
    # letters as text, which journals ask for
    "pdf.fonttype": 42,
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


def looks(label: Mapping[CellSpec, Label]) -> dict[str, Look]:
    """The look of every strategy, by its title with all settings.

    A strategy that no benchmark has twice has one look, whatever its settings on each benchmark.
    Others have a look for each of their settings, all of one colour.
    """
    colours = sns.color_palette("colorblind")
    palette = [(float(red), float(green), float(blue)) for red, green, blue in colours]
    called = display_names(label.values())
    shown = sorted({(strategy, name) for (strategy, _), name in called.items()})
    strategies = list(dict.fromkeys(strategy for strategy, _ in shown))
    # how often each colour is used, its place added so that neighbours differ in grey
    used = Counter(range(len(palette)))
    found = {}
    for strategy, name in shown:
        place = strategies.index(strategy) % len(palette)
        number = used[place] + place
        dash = DASHES[number % len(DASHES)]
        marker = MARKERS[number % len(MARKERS)]
        found[name] = Look(palette[place], dash, marker, name)
        used[place] += 1
    return {" ".join(key).strip(): found[name] for key, name in called.items()}


def legend_lines(
    look: Mapping[str, Look],
    shown: Iterable[str],
    *,
    dashed: bool = False,
) -> list[Line2D]:
    """The entries of a legend: a line for each strategy among some titles, once for each name.

    Args:
        look: the looks of all strategies, by title.
        shown: the titles in the figure.
        dashed: True if the lines of the figure are distinguished by dashes.
    """
    titles = set(shown)
    by_name = {each.name: each for title, each in look.items() if title in titles}
    return [_legend_line(by_name[name], dashed=dashed) for name in sorted(by_name)]


def _legend_line(look: Look, *, dashed: bool) -> Line2D:
    return Line2D(
        [],
        [],
        color=look.colour,
        marker=look.marker,
        markersize=5,
        linestyle=look.style if dashed else "",
        label=wrapped(look.name, 30),
    )


@contextmanager
def style(width: float | None = None) -> Iterator[None]:
    """The style of every figure; the user's own settings are neither used nor changed.

    Args:
        width: the width of figures in inches; None: that of a page on a screen.
    """
    with mpl.rc_context():
        # a matplotlibrc of the user would change the bytes
        mpl.rcdefaults()
        mpl.use("agg")
        size = {"figure.figsize": (width or PAGE_WIDTH, PAGE_WIDTH)}
        sns.set_theme(context="paper", style="whitegrid", palette="colorblind", rc=STYLE | size)
        yield


def figure_width() -> float:
    """The width that a figure is to have, in inches."""
    return float(mpl.rcParams["figure.figsize"][0])


def panels_per_row(most: int = PANELS_PER_ROW) -> int:
    """The number of panels in a row, which have the same width on a page and in print.

    Args:
        most: their number in a row of a page.
    """
    return max(1, round(most * figure_width() / PAGE_WIDTH))


def sheet(height: float) -> Figure:
    """An empty figure of the width that it is to have, and some inches high."""
    return Figure(figsize=(figure_width(), height), layout="constrained")


def lines(
    frame: pd.DataFrame,
    x: str,
    title: str,
    x_label: str,
    look: Mapping[str, Look],
) -> Figure:
    """A row of panels for each benchmark, one for each of its quantities, with lines of strategies.

    A line is the mean over replicates, its band the 95 % t-interval over them. A single replicate
    has no band.

    Args:
        frame: a row for each replicate and x, with the columns benchmark, quantity, strategy,
            settings, value and `x`.
        x: the column on the horizontal axis.
        title: the title of the figure.
        x_label: the label of the horizontal axis.
        look: the look of each strategy, by its title.
    """
    frame = frame.assign(title=(frame.strategy + " " + frame.settings).str.strip())
    quantities = list(dict.fromkeys(frame.quantity))
    groups = {}
    for name, rows in frame.groupby("benchmark"):
        present = set(rows.quantity)
        groups[str(name)] = [quantity for quantity in quantities if quantity in present]
    figure, axes = grouped(groups, named=False)
    for (benchmark, quantity), axis in axes.items():
        here = frame[(frame.benchmark == benchmark) & (frame.quantity == quantity)]
        for name, rows in here.groupby("title", sort=True):
            _line(axis, rows, x, look[str(name)])
        axis.set_ylabel(quantity)
        least = here.groupby(["title", x]).value.mean().min()
        # losses span orders of magnitude between strategies
        if quantity.startswith("loss") and least > 0:
            axis.set_yscale("log")
            # an interval may reach below 0, which has no logarithm
            axis.set_ylim(bottom=least / 2)
            plain_ticks(axis.yaxis)
    figure.supxlabel(x_label, fontsize="medium")
    figure.legend(handles=legend_lines(look, frame.title, dashed=True), loc="outside right center")
    figure.suptitle(title, fontsize="medium")
    return figure


def _line(axis: Axes, rows: pd.DataFrame, x: str, look: Look) -> None:
    """Draw the mean at each x, with a band so pale that the other lines show through it."""
    at_x = rows.groupby(x, sort=True).value
    spans = {at: t_interval(values.to_numpy(float)) for at, values in at_x}
    places = np.array([*spans], dtype=float)
    bounds = np.array([span[:3] for span in spans.values()])
    mean, low, high = bounds.T
    dots = look.marker if len(places) <= MAX_MARKERS else ""
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
    wide: int = PANELS_PER_ROW,
    *,
    named: bool = True,
) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """A figure of panels by group; each group begins a row, with its name above.

    Args:
        groups: the titles of the panels of each group.
        height: the height of a row of panels, in inches.
        wide: the largest number of panels in a row of a page.
        named: True if panels have their titles above them, below the name of the group.

    Returns:
        The figure, and its panels by group and title.
    """
    most = max(map(len, groups.values()))
    # as few rows as the width allows, evenly filled
    across = _ceil(most, _ceil(most, panels_per_row(wide)))
    tall = {group: _ceil(len(titles), across) for group, titles in groups.items()}
    rows = sum(tall.values())
    figure = sheet(0.8 + height * rows + 0.3 * len(groups))
    grid = figure.add_gridspec(rows, across)
    axes: dict[tuple[str, str], Axes] = {}
    first = 0
    for group, titles in groups.items():
        for place, title in enumerate(titles):
            axis = figure.add_subplot(grid[first + place // across, place % across])
            letters = _letters(figure_width() / across)
            axis.set_title(wrapped(title, letters) if named else "", fontsize="small")
            axes[group, title] = axis
        _set_heading(axes[group, titles[0]], group, named=named)
        first += tall[group]
    return figure, axes


def _letters(width: float) -> int:
    """The number of small letters in a width in inches."""
    return max(10, int(8 * width))


def _ceil(number: int, divisor: int) -> int:
    """The quotient, rounded up."""
    return -(-number // divisor)


def _set_heading(axis: Axes, group: str, *, named: bool) -> None:
    """Set the name of a group above its first panel, and above that panel's own title."""
    lines_below = axis.get_title().count("\n") + 1 if named else 0
    heading = wrapped(group, _letters(1.35 * figure_width())) + "\n" * lines_below
    axis.set_title(heading, fontsize="small", fontweight="bold", loc="left")


def by_benchmark(
    cells: Iterable[CellSpec],
    label: Mapping[CellSpec, Label],
) -> tuple[Figure, dict[CellSpec, Axes]]:
    """A figure with a panel for each cell, in the order of labels, grouped by benchmark.

    Returns:
        The figure, and its panels by cell.
    """
    look = looks(label)
    panel_of: dict[CellSpec, tuple[str, str]] = {}
    groups: dict[str, list[str]] = {}
    for cell in sorted(cells, key=label.__getitem__):
        benchmark, *strategy = label[cell]
        title = look[" ".join(strategy).strip()].name
        panel_of[cell] = (benchmark, title)
        groups.setdefault(benchmark, []).append(title)
    figure, axes = grouped(groups, height=2.5)
    return figure, {cell: axes[panel] for cell, panel in panel_of.items()}


def lowest(axes: Iterable[Axes]) -> list[Axes]:
    """The panels of the last row."""
    rows = {}
    for axis in axes:
        # an axis outside the grid has no row
        spec = axis.get_subplotspec()
        if spec:
            rows[axis] = spec.rowspan.start
    last = max(rows.values())
    return [axis for axis, row in rows.items() if row == last]


def panels(
    titles: Sequence[str],
    wide: int = PANELS_PER_ROW,
    height: float = 2.5,
) -> tuple[Figure, list[Axes]]:
    """A figure of panels, one for each title, `wide` in a row of a page, each `height` inches."""
    across = min(len(titles), panels_per_row(wide))
    tall = _ceil(len(titles), across)
    figure = sheet(0.8 + height * tall)
    axes = list(figure.subplots(tall, across, squeeze=False).flat)
    # the last row may be longer than its titles
    for axis in axes[len(titles) :]:
        axis.remove()
    for axis, title in zip(axes, titles, strict=False):
        axis.set_title(wrapped(title, _letters(figure_width() / across)), fontsize="small")
    return figure, axes[: len(titles)]


def plain_ticks(axis: Axis) -> None:
    """Set the ticks of a logarithmic axis as plain numbers."""
    low, high = axis.get_view_interval()
    many = high > MAX_TICK_RATIO * low
    locator = LogLocator(numticks=7) if many else LogLocator(subs=(1, 2, 5))
    axis.set_major_locator(locator)
    # the usual labels are mathematics, which is off: names may hold dollars
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def wrapped(text: str, width: int) -> str:
    """Text in lines of up to `width` characters, broken after commas too."""
    # names of benchmarks and strategies have commas without blanks
    spaced = text.replace(",", ", ")
    return textwrap.fill(spaced, width).replace(", ", ",")


def _settle(figure: Figure) -> None:
    """Lay the figure out and round the places.

    The last digits of a constrained layout differ between processes.
    """
    if not isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        return
    # the first layout is made for texts that it moves
    for _ in range(2):
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        corners = axes.get_position(original=True).get_points()
        axes.set_position(Bbox(corners.round(6)))
    for text in figure.texts:
        x, y = text.get_position()
        text.set_position((round(x, 6), round(y, 6)))


def _bytes(figure: Figure, form: str, **metadata: str | None) -> bytes:
    """The file of a figure; metadata that is None is left out."""
    file = io.BytesIO()
    # some styles are read only when the figure is drawn
    with style():
        FigureCanvasAgg(figure)
        _settle(figure)
        figure.savefig(file, format=form, bbox_inches="tight", metadata=metadata)
    return file.getvalue()


FORMATS: dict[str, Callable[[Figure], bytes]] = {
    "svg": lambda figure: _bytes(figure, "svg", Date=None),
    "png": lambda figure: _bytes(figure, "png", Software=None),
    "pdf": lambda figure: _bytes(figure, "pdf", CreationDate=None, Producer=None, Creator=None),
}
