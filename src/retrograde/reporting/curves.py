"""Lines of strategies with their intervals."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from retrograde.metrics.intervals import t_interval
from retrograde.reporting.looks import Look, legend_lines, set_legend
from retrograde.reporting.plotting import grouped, panels, plain_ticks

MAX_MARKERS = 30
"""Largest number of points of a line with a marker at each point."""
Limits = tuple[float, float]
"""The least and the greatest value that a quantity can have."""
PERCENT: Limits = (0.0, 100.0)
"""The limits of a share in percent."""
DIFFERENCE: Limits = (-100.0, 100.0)
"""The limits of a difference of shares in percent."""
UNLIMITED: Limits = (-np.inf, np.inf)


class ErrorBar(NamedTuple):
    """A mean, and the lengths of its error bar below and above it."""

    mean: float
    below: float
    above: float

    @property
    def lengths(self) -> list[list[float]]:
        """The lengths as matplotlib takes them for one point."""
        return [[self.below], [self.above]]


def error_bar(values: Float[np.ndarray, " replicates"], limits: Limits = UNLIMITED) -> ErrorBar:
    """The mean of replicates and its 95 % t-interval, which ends at the limits of the possible.

    A single replicate has no interval.
    """
    mean, low, high, n = t_interval(values)
    if n < 2:
        return ErrorBar(mean, 0.0, 0.0)
    least, greatest = limits
    # a mean at a limit may differ from it by rounding
    return ErrorBar(mean, max(mean - max(low, least), 0.0), max(min(high, greatest) - mean, 0.0))


def lines(
    frame: pd.DataFrame,
    x: str,
    title: str,
    x_label: str,
    look: Mapping[str, Look],
    limits: Mapping[str, Limits] = MappingProxyType({}),
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
        limits: the limits of the intervals of a quantity; none if it has none.
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
            draw_line(axis, rows, x, look[str(name)], limits.get(quantity, UNLIMITED))
        axis.set_ylabel(quantity)
        least = here.groupby(["title", x]).value.mean().min()
        # losses span orders of magnitude between strategies
        if quantity.startswith("loss") and least > 0:
            axis.set_yscale("log")
            # an interval may reach below 0, which has no logarithm
            axis.set_ylim(bottom=least / 2)
            plain_ticks(axis.yaxis)
    figure.supxlabel(x_label, fontsize="medium")
    set_legend(figure, legend_lines(look, frame.title, dashed=True))
    figure.suptitle(title, fontsize="medium")
    return figure


def draw_line(
    axis: Axes, rows: pd.DataFrame, x: str, look: Look, limits: Limits = UNLIMITED
) -> None:
    """Draw the mean at each x, with a band so pale that the other lines show through it.

    The band ends at the limits of what is possible.
    """
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
        low, high = low.clip(*limits), high.clip(*limits)
        axis.fill_between(places, low, high, color=look.colour, alpha=0.1, linewidth=0, zorder=2)


def curves(
    frame: pd.DataFrame,
    x: str,
    texts: tuple[str, str, str],
    look: Mapping[str, Look],
    limits: Limits = UNLIMITED,
) -> Figure:
    """A panel for each benchmark, with a line for each strategy.

    Args:
        frame: a row for each replicate and x, with the columns benchmark, strategy, settings,
            value and `x`.
        x: the column on the horizontal axis.
        texts: the title of the figure, and the labels of the horizontal and the vertical axis.
        look: the look of each strategy, by its title.
        limits: the limits of the intervals.
    """
    frame = frame.assign(title=(frame.strategy + " " + frame.settings).str.strip())
    groups = {str(name): rows for name, rows in frame.groupby("benchmark", sort=True)}
    figure, axes = panels(list(groups), wide=3, height=2.8)
    title, x_label, y_label = texts
    for axis, rows in zip(axes, groups.values(), strict=True):
        for name, of_strategy in rows.groupby("title", sort=True):
            draw_line(axis, of_strategy, x, look[str(name)], limits)
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    figure.supxlabel(x_label, fontsize="medium")
    figure.supylabel(y_label, fontsize="medium")
    set_legend(figure, legend_lines(look, frame.title, dashed=True))
    figure.suptitle(title, fontsize="medium")
    return figure
