"""Scores of strategies by the way in which their settings were chosen, as a figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from retrograde import FigureResult, Record
from retrograde.metrics import over_seeds

from ._choices import Way, choices_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "osD^v<>P"


@dataclass(frozen=True)
class ChoiceScores(FigureResult):
    """Mean ACC of each strategy, with a point for each way in which settings were chosen."""

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from retrograde.reporting import panels

        choices = choices_of(records)
        if not choices:
            return None
        most = max(len(next(iter(ways.values()))) for ways in choices.values())
        figure, axes = panels([*choices], wide=2, height=0.8 + 0.35 * most)
        for axis, ways in zip(axes, choices.values(), strict=True):
            _draw(axis, ways)
        title = "ACC by the way in which settings were chosen: mean and 95 % t-interval"
        figure.suptitle(title, fontsize="medium")
        figure.supxlabel("ACC %", fontsize="medium")
        return figure


def _draw(axis: "Axes", ways: Mapping[str, Way]) -> None:
    """Draw one benchmark, with the strategy of the highest mean of the first way at the top."""
    first = next(iter(ways.values()))
    names = sorted(first, key=lambda name: over_seeds(first[name]).mean)
    places = np.arange(len(names))
    # the ways stand close to each other in the row of a strategy
    shifts = np.linspace(0.2, -0.2, len(ways))
    for shift, marker, (way, of_way) in zip(shifts, MARKERS, ways.items(), strict=False):
        found = [over_seeds(of_way[name]) for name in names]
        means = [100 * each.mean for each in found]
        halves = [100 * (each.mean - each.low) for each in found]
        axis.errorbar(means, places + shift, xerr=halves, fmt=marker, markersize=4, label=way)
    axis.set_yticks(places, names)
    axis.grid(visible=False, axis="y")
    axis.legend(fontsize="small", loc="best")
