"""Final accuracy and forgetting with their intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from retrograde import FigureResult, Record
from retrograde.metrics import (
    BySeed,
    Key,
    by_strategy,
    cell_labels,
    over_seeds,
    score_frame,
)
from retrograde.reporting import row_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from retrograde.reporting import Look

METRICS = {"ACC": "ACC %", "forgetting": "forgetting %"}


@dataclass(frozen=True)
class Forgetting(FigureResult):
    """Final accuracy and forgetting of every strategy: mean over replicates, 95 % t-interval."""

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from retrograde.reporting import looks, wrapped

        label = cell_labels(records)
        frame = score_frame(records, label)
        benchmarks = sorted(set(frame[frame.metric == "forgetting"].benchmark))
        if not benchmarks:
            return None
        values = {name: _values(frame[frame.benchmark == name]) for name in benchmarks}
        figure, axes = _grid([len(of_metric["ACC"]) for of_metric in values.values()])
        look = looks(label)
        for row, (name, of_metric) in zip(axes, values.items(), strict=True):
            row[0].set_title(wrapped(name, 110), fontsize="small", loc="left")
            _draw_row(row, of_metric, look)
        for axis, meaning in zip(axes[-1], METRICS.values(), strict=True):
            axis.set_xlabel(meaning)
        figure.suptitle(
            "At the end of the stream: mean over replicates and 95 % t-interval; †: upper bound",
            fontsize="medium",
        )
        return figure


def _grid(strategies: list[int]) -> "tuple[Figure, np.ndarray]":
    """A grid of axes with a row for each benchmark and a column for each metric.

    Args:
        strategies: The number of strategies on each benchmark.
    """
    from retrograde.reporting import sheet

    heights = [1 + count for count in strategies]
    height = 0.8 + 0.22 * sum(heights) + 0.4 * len(heights)
    figure = sheet(height)
    axes = figure.subplots(
        len(heights), len(METRICS), sharey="row", squeeze=False, height_ratios=heights
    )
    return figure, axes


def _values(frame: pd.DataFrame) -> dict[str, dict[Key, BySeed]]:
    return {metric: by_strategy(frame[frame.metric == metric]) for metric in METRICS}


def _title(key: Key) -> str:
    return " ".join(key[1:]).strip()


def _draw_row(
    row: "Sequence[Axes]", values: dict[str, dict[Key, BySeed]], look: "Mapping[str, Look]"
) -> None:
    """Draw one benchmark, with the strategy of the highest accuracy at the top."""
    from retrograde.reporting import DIFFERENCE, PERCENT

    accuracies = values["ACC"]
    order = sorted(accuracies, key=lambda key: over_seeds(accuracies[key]).mean)
    titles = [row_title(key) for key in order]
    row[0].set_yticks(range(len(order)), titles, fontsize="x-small")
    row[0].set_ylim(-0.7, len(order) - 0.3)
    for axis, metric in zip(row, METRICS, strict=True):
        of_strategy = values[metric]
        for place, key in enumerate(order):
            # not every strategy with an accuracy has a forgetting
            if key in of_strategy:
                limits = PERCENT if metric == "ACC" else DIFFERENCE
                _draw(axis, place, of_strategy[key], look[_title(key)], limits)
        axis.grid(visible=False, axis="y")


def _draw(
    axis: "Axes", place: int, values: BySeed, look: "Look", limits: tuple[float, float]
) -> None:
    from retrograde.reporting import error_bar

    bar = error_bar(100 * np.array([*values.values()]), limits)
    axis.errorbar(
        bar.mean,
        place,
        xerr=bar.lengths,
        fmt=look.marker,
        color=look.colour,
        markersize=5,
        elinewidth=1.2,
    )
