"""Demšar's critical-difference diagram of average ranks over benchmarks (2006, figure 1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from retrograde import FigureResult, Record
from retrograde.metrics import (
    Ranking,
    cell_labels,
    competitions,
    display_names,
    end_frame,
    rank_strategies,
    streams,
    tied_groups,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE = 0.3
"""Inches between two names; two bars are half as far apart."""


@dataclass(frozen=True)
class CriticalDifference(FigureResult):
    """Average ranks on an axis; a bar joins strategies closer than the critical difference."""

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        own = streams(records)
        label = cell_labels(own)
        frame = end_frame(own, label)
        accuracy = frame[frame.metric == "ACC"]
        board = rank_strategies(competitions(accuracy, display_names(label.values())))
        # on too few benchmarks no difference could be significant
        return _drawn(board) if board.says_something else None


def _drawn(board: Ranking) -> "Figure":
    from matplotlib.figure import Figure

    average = board.average
    bars = tied_groups(np.array(list(average.values())), board.critical)
    rows = -(-len(average) // 2)
    top = 3.0
    bottom = -(len(bars) / 2 + rows + 1.0)
    height = LINE * (top - bottom)
    figure = Figure(figsize=(6, height + 0.8))
    # names go outside the axes, so that long ones do not shrink them
    axes = figure.add_axes((0, 0, 1, height / (height + 0.8)))
    axes.set(xlim=(1, len(average)), ylim=(bottom, top))
    axes.set_axis_off()
    _axis(axes, len(average), board.critical)
    _bars(axes, bars)
    _names(axes, average, below=len(bars) / 2 + 1.0)
    figure.suptitle(_title(board), fontsize="medium")
    return figure


def _bars(axes: "Axes", bars: Sequence[tuple[float, float]]) -> None:
    for i, (first, last) in enumerate(bars):
        level = -0.6 - i / 2
        axes.plot(
            [first - 0.03, last + 0.03],
            [level, level],
            color="black",
            linewidth=3,
            solid_capstyle="butt",
            clip_on=False,
        )


def _names(axes: "Axes", average: Mapping[str, float], below: float) -> None:
    """Write the better half of the names on the left and the others on the right."""
    order = sorted(average, key=lambda name: (average[name], name))
    rows = -(-len(order) // 2)
    for i, name in enumerate(order):
        # lines from the outermost ranks are the shortest, so that none cross
        if i < rows:
            row = i
            edge = 1
        else:
            row = len(order) - 1 - i
            edge = len(order)
        _name(axes, name, average[name], -(below + row), edge)


def _axis(axes: "Axes", most: int, critical: float) -> None:
    """Draw the axis of ranks, and above it the length of the critical difference."""
    axes.plot([1, most], [0, 0], color="black", clip_on=False)
    for rank in range(1, most + 1):
        axes.plot([rank, rank], [0, 0.25], color="black", clip_on=False)
        axes.text(rank, 0.4, str(rank), ha="center", va="bottom")
    end = min(1 + critical, most)
    axes.plot([1, end], [2, 2], color="black", clip_on=False)
    # a length beyond the axis is cut, and has no mark at its end
    for place in (1, end) if 1 + critical <= most else (1,):
        axes.plot([place, place], [1.85, 2.15], color="black", clip_on=False)
    axes.text((1 + end) / 2, 2.15, f"CD = {critical:.2f}", ha="center", va="bottom")


def _name(axes: "Axes", name: str, rank: float, height: float, edge: int) -> None:
    """Write a strategy's name next to the axis, and draw the line from it to its rank."""
    axes.plot([rank, rank, edge], [0, height, height], color="black", linewidth=0.8, clip_on=False)
    if edge == 1:
        text = f"{name}  {rank:.2f}"
        side = "right"
        offset = -6
    else:
        text = f"{rank:.2f}  {name}"
        side = "left"
        offset = 6
    axes.annotate(
        text,
        (edge, height),
        (offset, 0),
        textcoords="offset points",
        ha=side,
        va="center",
        annotation_clip=False,
    )


def _title(board: Ranking) -> str:
    friedman = board.friedman
    # chi-squared is undefined where all strategies are tied
    if np.isnan(friedman.chi2):
        test = "All ranks are equal"
    else:
        test = f"Friedman's chi-squared = {friedman.chi2:.2f}, {friedman.significance}"
    return (
        f"Average ranks by ACC over {len(board.benchmarks)} benchmarks, 1 for the best; "
        "a bar joins strategies without a significant difference\n"
        f"(Nemenyi, 5 %). {test}"
    )
