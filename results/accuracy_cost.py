"""Accuracy against training time, with the strategies that nothing beats in both."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from retrograde import CellSpec, FigureResult, Record
from retrograde.metrics import Label, acc, cell_labels, ordered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from retrograde.reporting import ErrorBar, Look

PANELS_PER_ROW = 3
"""Panels in a row."""


class Point(NamedTuple):
    """The result of a strategy on one benchmark and machine."""

    strategy: str
    upper_bound: bool
    seconds: float  # of training, for one replicate
    accuracy: "ErrorBar"  # in percent


Place = tuple[str, str]
"""A benchmark and a machine."""


@dataclass(frozen=True)
class AccuracyCost(FigureResult):
    """Final accuracy against the training time of a replicate.

    A line joins the strategies, upper bounds excepted, that no other beats in both.
    """

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from retrograde.reporting import legend_lines, looks, panels, set_legend

        label = cell_labels(records)
        places = {
            place: points for place, points in _points(records, label).items() if len(points) > 1
        }
        if not places:
            return None
        machines = {machine for _, machine in places}
        titles = [
            # a single machine stands in the title of the figure
            place[0] if len(machines) == 1 else " — ".join(place)
            for place in sorted(places)
        ]
        figure, axes = panels(titles, PANELS_PER_ROW, height=2.9)
        look = looks(label)
        for axis, (_, points) in zip(axes, sorted(places.items()), strict=True):
            _draw(axis, points, look)
        figure.supxlabel("seconds of training for one replicate", fontsize="medium")
        figure.supylabel("ACC %", fontsize="medium")
        shown = {point.strategy for points in places.values() for point in points}
        set_legend(figure, legend_lines(look, shown))
        where = f"\n{machines.pop()}" if len(machines) == 1 else ""
        figure.suptitle(
            "Accuracy against cost: mean over replicates and 95 % t-interval; "
            f"hollow: upper bounds{where}",
            fontsize="medium",
        )
        return figure


def _points(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> dict[Place, list[Point]]:
    """The points of each benchmark and machine; times on different machines are never compared."""
    cells = defaultdict(list)
    for record in ordered(records):
        if record.status == "done" and record.test_examples and record.counts["steps"]:
            cells[label[record.cell].benchmark, record.machine, record.cell].append(record)
    points = defaultdict(list)
    for (benchmark, machine, cell), replicates in cells.items():
        points[benchmark, machine].append(_point(label[cell], replicates))
    return points


def _point(label: Label, replicates: Sequence[Record]) -> Point:
    from retrograde.reporting import PERCENT, error_bar

    # replicates that were trained together share one clock
    seconds = [record.clocks["train"] / record.how["replicates"] for record in replicates]
    accuracies = np.array([100 * acc(record.R) for record in replicates])
    return Point(
        strategy=f"{label.strategy} {label.settings}".strip(),
        upper_bound=replicates[0].upper_bound,
        seconds=float(np.mean(seconds)),
        accuracy=error_bar(accuracies, PERCENT),
    )


def front(points: Sequence[Point]) -> list[Point]:
    """The strategies that no other beats in both time and accuracy, the cheapest first.

    Upper bounds are left out.
    """
    competitors = [point for point in points if not point.upper_bound]
    competitors.sort(key=lambda point: (point.seconds, -point.accuracy.mean))
    best: list[Point] = []
    for point in competitors:
        if not best or point.accuracy.mean > best[-1].accuracy.mean:
            best.append(point)
    return best


def _draw(axis: "Axes", points: Sequence[Point], look: "Mapping[str, Look]") -> None:
    from retrograde.reporting import plain_ticks

    best = front(points)
    seconds = [point.seconds for point in best]
    accuracies = [point.accuracy.mean for point in best]
    # a step, not a slope: nothing between two strategies can be had
    axis.plot(seconds, accuracies, color="0.6", linewidth=1, drawstyle="steps-post", zorder=1)
    for point in points:
        _mark(axis, point, look[point.strategy])
    axis.set_xscale("log")
    plain_ticks(axis.xaxis)


def _mark(axis: "Axes", point: Point, look: "Look") -> None:
    axis.errorbar(
        point.seconds,
        point.accuracy.mean,
        point.accuracy.lengths,
        fmt=look.marker,
        color=look.colour,
        markersize=6,
        elinewidth=0.9,
        markerfacecolor="none" if point.upper_bound else look.colour,
    )
