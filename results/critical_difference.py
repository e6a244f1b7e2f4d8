"""Which strategies do average ranks over benchmarks tell apart? Demšar's critical-difference diagram (2006, figure 1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from retrograde import Drawing, Record
from retrograde.metrics import (
    Ranking,
    contests,
    end_frame,
    labels,
    names,
    rank_strategies,
    streams,
    tied_groups,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE = 0.3
"""Inches between two names, and between two bars half of that."""


@dataclass(frozen=True)
class CriticalDifference(Drawing):
    """Average ranks on an axis; a bar joins strategies that do not differ by the critical difference."""

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        own = streams(records)
        label = labels(own)
        frame = end_frame(own, label)
        board = rank_strategies(contests(frame[frame.metric == "ACC"], names(label.values())))
        return _drawn(board) if board.tested else None


def _drawn(board: Ranking) -> "Figure":
    from matplotlib.figure import Figure

    average, critical = board.average, board.critical
    order = sorted(average, key=lambda name: (average[name], name))
    bars = tied_groups(np.array(list(average.values())), critical)
    rows = -(-len(order) // 2)
    top, bottom = 3.0, -(len(bars) / 2 + rows + 1.0)
    height = LINE * (top - bottom)
    figure = Figure(figsize=(6, height + 0.8))
    axes = figure.add_axes(
        (0, 0, 1, height / (height + 0.8))
    )  # names go beside it, so that long ones do not shrink it
    axes.set(xlim=(1, len(order)), ylim=(bottom, top))
    axes.set_axis_off()
    _axis(axes, len(order), critical)
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
    for i, name in enumerate(order):
        left = i < rows
        below = i if left else len(order) - 1 - i
        _name(
            axes,
            name,
            average[name],
            -(len(bars) / 2 + 1.0 + below),
            edge=1 if left else len(order),
        )
    figure.suptitle(_title(board), fontsize="medium")
    return figure


def _axis(axes: "Axes", most: int, critical: float) -> None:
    """The axis of ranks, and above it the length of the critical difference, cut where it is longer than the axis."""
    axes.plot([1, most], [0, 0], color="black", clip_on=False)
    for rank in range(1, most + 1):
        axes.plot([rank, rank], [0, 0.25], color="black", clip_on=False)
        axes.text(rank, 0.4, str(rank), ha="center", va="bottom")
    end = min(1 + critical, most)
    axes.plot([1, end], [2, 2], color="black", clip_on=False)
    for place in (1, end) if 1 + critical <= most else (1,):
        axes.plot([place, place], [1.85, 2.15], color="black", clip_on=False)
    axes.text((1 + end) / 2, 2.15, f"CD = {critical:.2f}", ha="center", va="bottom")


def _name(axes: "Axes", name: str, rank: float, height: float, edge: int) -> None:
    """A strategy's name beside the axis, and the line from it to its rank."""
    axes.plot([rank, rank, edge], [0, height, height], color="black", linewidth=0.8, clip_on=False)
    text, side, offset = (
        (f"{name}  {rank:.2f}", "right", -6) if edge == 1 else (f"{rank:.2f}  {name}", "left", 6)
    )
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
    found = board.friedman
    few = "" if board.says_something else "\non so few benchmarks Nemenyi's test tells no two apart"
    test = (
        "All ranks are equal"
        if np.isnan(found.chi2)
        else f"Friedman's chi-squared = {found.chi2:.2f}, {found.significance}"
    )
    return (
        f"Average ranks by ACC over {len(board.benchmarks)} benchmarks, 1 for the best; a bar "
        "joins what is not told apart\n"
        f"(Nemenyi, 5 %). {test}{few}"
    )
