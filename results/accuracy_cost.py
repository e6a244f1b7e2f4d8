"""Accuracy against training time, with the strategies that nothing beats in both."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from retrograde import CellSpec, FigureResult, Record
from retrograde.metrics import Label, acc, cell_labels, ordered, t_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from retrograde.reporting import Look

PANELS_PER_ROW = 3
"""Panels in a row."""


class Point(NamedTuple):
    """The result of a strategy on one benchmark and machine."""

    strategy: str
    upper_bound: bool
    seconds: float  # of training, for one replicate
    accuracy: float  # in percent
    half: float  # of the 95 % t-interval of the accuracy


Place = tuple[str, str]
"""A benchmark and a machine."""


@dataclass(frozen=True)
class AccuracyCost(FigureResult):
    """Final accuracy against the training time of a replicate.

    A line joins the strategies, upper bounds excepted, that no other beats in both.
    """

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from retrograde.reporting import looks

        label = cell_labels(records)
        places = {
            place: points for place, points in _points(records, label).items() if len(points) > 1
        }
        if not places:
            return None
        figure, axes = _grid(len(places))
        look = looks(label)
        machines = {machine for _, machine in places}
        for axis, (place, points) in zip(axes, sorted(places.items()), strict=True):
            # a single machine stands in the title of the figure
            title = place[0] if len(machines) == 1 else " — ".join(place)
            _draw(axis, points, title, look)
        figure.supxlabel("seconds of training for one replicate")
        figure.supylabel("ACC %")
        shown = {point.strategy for points in places.values() for point in points}
        _legend(figure, shown, look)
        where = f"\n{machines.pop()}" if len(machines) == 1 else ""
        figure.suptitle(
            "Accuracy against cost: mean over replicates and 95 % t-interval; "
            f"hollow: upper bounds{where}",
            fontsize="medium",
        )
        return figure


def _grid(count: int) -> "tuple[Figure, list[Axes]]":
    from matplotlib.figure import Figure

    wide = min(PANELS_PER_ROW, count)
    tall = -(-count // wide)
    size = (1.5 + 3.4 * wide, 1.4 + 2.9 * tall)
    figure = Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(tall, wide, squeeze=False).flat)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


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
    # replicates that were trained together share one clock
    seconds = [record.clocks["train"] / record.how["replicates"] for record in replicates]
    accuracies = np.array([100 * acc(record.R) for record in replicates])
    mean, low, _, n = t_interval(accuracies)
    return Point(
        strategy=f"{label.strategy} {label.settings}".strip(),
        upper_bound=replicates[0].upper_bound,
        seconds=float(np.mean(seconds)),
        accuracy=mean,
        half=mean - low if n > 1 else 0.0,
    )


def front(points: Sequence[Point]) -> list[Point]:
    """The strategies that no other beats in both time and accuracy, the cheapest first.

    Upper bounds are left out.
    """
    competitors = [point for point in points if not point.upper_bound]
    competitors.sort(key=lambda point: (point.seconds, -point.accuracy))
    best: list[Point] = []
    for point in competitors:
        if not best or point.accuracy > best[-1].accuracy:
            best.append(point)
    return best


def _draw(axis: "Axes", points: Sequence[Point], title: str, look: "Mapping[str, Look]") -> None:
    from retrograde.reporting import plain_ticks, wrapped

    axis.set_title(wrapped(title, 50), fontsize="x-small")
    best = front(points)
    seconds = [point.seconds for point in best]
    accuracies = [point.accuracy for point in best]
    # a step, not a slope: nothing between two strategies can be had
    axis.plot(seconds, accuracies, color="0.6", linewidth=1, drawstyle="steps-post", zorder=1)
    for point in points:
        _mark(axis, point, look[point.strategy])
    axis.set_xscale("log")
    plain_ticks(axis.xaxis)


def _mark(axis: "Axes", point: Point, look: "Look") -> None:
    axis.errorbar(
        point.seconds,
        point.accuracy,
        point.half,
        fmt=look.marker,
        color=look.colour,
        markersize=6,
        elinewidth=0.9,
        markerfacecolor="none" if point.upper_bound else look.colour,
    )


def _legend(figure: "Figure", shown: set[str], look: "Mapping[str, Look]") -> None:
    from retrograde.reporting import legend_lines

    figure.legend(handles=legend_lines(look, shown), loc="outside right center", fontsize="x-small")
