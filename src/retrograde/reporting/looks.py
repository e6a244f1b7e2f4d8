"""One look for each strategy in all figures of a report, and the legends."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from retrograde.metrics.frames import Label
from retrograde.metrics.ranking import display_names
from retrograde.records.cell import CellSpec
from retrograde.reporting.plotting import figure_width, grouped, panels_per_row, wrapped

DASHES: list[Any] = ["", (4, 1.5), (1, 1), (3, 1, 1, 1), (5, 1, 1, 1, 1, 1), (6, 2), (8, 2, 2, 2)]
"""Line styles that tell strategies apart in grey.

There are seven, which has no factor in common with the ten colours of the palette.
"""
PLACES = (0, 3, 2, 4, 8, 9, 5, 7, 1, 6)
"""Places in seaborn's palette, in an order in which neighbours are no shades of one colour."""
MARKERS = "osD^vP*X<>phd"
"""Markers that do the same."""
LEGEND_LETTERS = 30
"""Most letters of a line of a legend."""
WIDE = 8.0
"""Width of a figure, in inches, from which the legend stands to the right of it."""


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
    ordered = [colours[place] for place in PLACES]
    palette = [(float(red), float(green), float(blue)) for red, green, blue in ordered]
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
        label=wrapped(look.name, LEGEND_LETTERS),
    )


def set_legend(figure: Figure, entries: Iterable[Artist]) -> None:
    """Set the legend of a figure: to the right of a wide one, else below it, in rows that fit."""
    handles = list(entries)
    width = float(figure.get_figwidth())
    if width >= WIDE:
        figure.legend(handles=handles, loc="outside right center")
        return
    letters = max(len(line) for handle in handles for line in str(handle.get_label()).split("\n"))
    # small letters are some 0.075 inches wide, and the sample of a line takes 0.5
    columns = max(1, int(width / (0.075 * letters + 0.5)))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(columns, len(handles)),
        fontsize="small",
    )


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
    # a square panel would stand alone in the middle of a wide figure
    across = min(panels_per_row(), max(map(len, groups.values())))
    figure.set_figwidth(figure_width() * max(across, 2) / panels_per_row())
    return figure, {cell: axes[panel] for cell, panel in panel_of.items()}
