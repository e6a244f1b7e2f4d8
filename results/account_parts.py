"""The factors of interference by strategy: alignment, gradient and path."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from retrograde import FigureResult, Record
from retrograde.metrics import (
    cell_labels,
    examples,
    of_benchmarks,
    of_strategies,
    replicate_accounts,
    t_interval,
    title_of,
)
from retrograde.reporting import row_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from retrograde.reporting import Look

FACTORS = {
    "interference": "interference",
    "opposed": "= −alignment",
    "gradient": "× gradient",
    "path": "× path",
}


@dataclass(frozen=True)
class AccountParts(FigureResult):
    """Interference of every strategy as a product of opposed steps, gradient and path length."""

    regression: ClassVar[bool] = True

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from retrograde.reporting import looks, wrapped

        label = cell_labels(records)
        frame = replicate_accounts(records, label)
        if frame.empty:
            return None
        frame = frame.assign(opposed=-frame.alignment)
        rows = dict(of_benchmarks(frame))
        figure, axes = _grid(rows)
        look = looks(label)
        for row, (name, group) in zip(axes, rows.items(), strict=True):
            row[0].set_title(wrapped(name, 110), fontsize="small", loc="left")
            _draw_row(row, group, look)
        for axis, words in zip(axes[-1], FACTORS.values(), strict=True):
            axis.set_xlabel(words)
        figure.suptitle(
            "Interference with earlier tasks (rise of their loss for each task trained) "
            "and its factors: mean over replicates\n"
            f"and 95 % t-interval; {examples(records)} of each task; hollow, †: upper bounds",
            fontsize="medium",
        )
        return figure


def _grid(rows: "dict[str, pd.DataFrame]") -> "tuple[Figure, np.ndarray]":
    """A grid of axes with a row for each benchmark and a column for each factor."""
    from retrograde.reporting import sheet

    # a row is as high as the strategies of its benchmark need
    heights = [1 + len([*of_strategies(group)]) for group in rows.values()]
    height = 1 + 0.25 * sum(heights) + 0.4 * len(heights)
    figure = sheet(height)
    axes = figure.subplots(
        len(rows), len(FACTORS), sharey="row", squeeze=False, height_ratios=heights
    )
    return figure, axes


def _draw_row(axes: "Sequence[Axes]", group: pd.DataFrame, look: "dict[str, Look]") -> None:
    """Draw one benchmark, with the strategy that interferes least at the bottom."""
    cells = [*of_strategies(group)]
    cells.sort(key=lambda named: named[1].interference.mean())
    titles = [row_title(key) for key, _ in cells]
    axes[0].set_yticks(range(len(cells)), titles, fontsize="x-small")
    axes[0].set_ylim(-0.7, len(cells) - 0.3)
    for axis, factor in zip(axes, FACTORS, strict=True):
        for place, (key, cell) in enumerate(cells):
            # a replicate without interference has no alignment to show
            known = cell[factor].dropna().to_numpy(float)
            if len(known):
                _bar(axis, place, known, look[title_of(key)], hollow=key[0])
        _set_scale(axis)


def _set_scale(axis: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axis.axvline(0, color="black", linewidth=0.6)
    axis.grid(visible=False, axis="y")
    axis.tick_params(axis="x", labelsize="x-small")
    axis.xaxis.set_major_locator(MaxNLocator(4))


def _bar(axis: "Axes", place: int, values: np.ndarray, look: "Look", *, hollow: bool) -> None:
    mean, low, _, n = t_interval(values)
    # a single replicate has no interval
    half = mean - low if n > 1 else 0.0
    face = "none" if hollow else look.colour
    axis.barh(place, mean, 0.7, color=face, edgecolor=look.colour, linewidth=0.8)
    axis.errorbar(mean, place, xerr=half, color="black", elinewidth=0.9)
