"""Figures: one style, one look for each strategy of a report, and files with reproducible bytes."""

import io
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, NullLocator
from matplotlib.transforms import Bbox

PAGE_WIDTH = 10.0
"""Width of a figure on a screen, in inches."""
PANEL_WIDTH = 2.5
"""Width of a small panel, in inches."""
PANELS_PER_ROW = 4
"""Number of small panels in a row of a page."""
MAX_TICK_RATIO = 1e4
"""Ratio of the ends of a logarithmic axis above which only powers of ten have ticks."""
STYLE: dict[str, Any] = {
    "svg.hashsalt": "retrograde",
    "svg.fonttype": "none",
    # letters as text, which journals ask for
    "pdf.fonttype": 42,
    "text.parse_math": False,
    "legend.frameon": False,
}


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
    return max(10, int(10 * width))


def _ceil(number: int, divisor: int) -> int:
    """The quotient, rounded up."""
    return -(-number // divisor)


def _set_heading(axis: Axes, group: str, *, named: bool) -> None:
    """Set the name of a group above its first panel, and above that panel's own title."""
    lines_below = axis.get_title().count("\n") + 1 if named else 0
    heading = wrapped(group, _letters(figure_width())) + "\n" * lines_below
    axis.set_title(heading, fontsize="small", fontweight="bold", loc="left")


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


def set_for_print(figure: Figure) -> None:
    """Leave the title to the caption, and put the label of the horizontal axis at the panels.

    A label of the whole figure would lie on a legend below it.
    """
    figure.suptitle("")
    label = figure.get_supxlabel()
    if not label:
        return
    figure.supxlabel("")
    by_column: dict[int, Axes] = {}
    for axis in figure.axes:
        spec = axis.get_subplotspec()
        # a colour bar has no place in the grid
        if spec:
            by_column[spec.colspan.start] = axis
    letters = _letters(figure_width() / len(by_column))
    for axis in by_column.values():
        axis.set_xlabel(wrapped(label, letters), fontsize="small")


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
    lines = re.sub(r",(?=\S)", ", ", text).split("\n")
    filled = [textwrap.fill(line, width, break_on_hyphens=False) for line in lines]
    whole = "\n".join(filled)
    return whole if ", " in text else whole.replace(", ", ",")


def _settle(figure: Figure) -> None:
    """Lay the figure out and round the places.

    The last digits of a constrained layout differ between processes.
    """
    engine = figure.get_layout_engine()
    if not isinstance(engine, ConstrainedLayoutEngine):
        return
    # the first layout is made for texts that it moves
    for _ in range(2):
        engine.execute(figure)
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
