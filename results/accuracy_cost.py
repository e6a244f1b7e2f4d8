"""Accuracy against what training costs, and which strategies nothing beats in both."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from retrograde import Cell, Drawing, Record
from retrograde.metrics import Label, acc, labels, ordered, t_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from retrograde.reporting import Look

WIDE = 3
"""Panels beside each other."""


class Point(NamedTuple):
    """A strategy: seconds of training for one replicate, its accuracy in percent, and half of its 95 % t-interval."""

    strategy: str
    upper_bound: bool
    seconds: float
    accuracy: float
    half: float


@dataclass(frozen=True)
class AccuracyCost(Drawing):
    """Accuracy at the end against the training time of a replicate; the line joins what nothing beats in both, but bounds."""

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from matplotlib.figure import Figure

        from retrograde.reporting import looks, wrapped

        label = labels(records)
        found = {
            place: points for place, points in _points(records, label).items() if len(points) > 1
        }
        if not found:
            return None
        wide = min(WIDE, len(found))
        tall = -(-len(found) // wide)
        figure = Figure(figsize=(1.5 + 3.4 * wide, 1.4 + 2.9 * tall), layout="constrained")
        axes, look = figure.subplots(tall, wide, squeeze=False), looks(label)
        machines = {machine for _, machine in found}
        for axis in axes.flat[len(found) :]:
            axis.remove()
        for axis, (place, points) in zip(axes.flat, sorted(found.items()), strict=False):
            axis.set_title(
                wrapped(place[0] if len(machines) == 1 else " — ".join(place), 50),
                fontsize="x-small",
            )
            _draw(axis, points, look)
        figure.supxlabel("seconds of training for one replicate")
        figure.supylabel("ACC %")
        _legend(figure, {p.strategy for points in found.values() for p in points}, look)
        where = f"\n{machines.pop()}" if len(machines) == 1 else ""
        figure.suptitle(
            "Accuracy against cost: mean over replicates and 95 % t-interval; hollow: upper "
            f"bounds{where}",
            fontsize="medium",
        )
        return figure


def _points(
    records: Sequence[Record], label: Mapping[Cell, Label]
) -> dict[tuple[str, str], list[Point]]:
    """By benchmark and machine; a clock is never compared with that of another machine."""
    cells = defaultdict(list)
    for record in ordered(records):
        if record.status == "done" and record.tests and record.counts["steps"]:
            cells[label[record.cell].benchmark, record.machine, record.cell].append(record)
    found = defaultdict(list)
    for (benchmark, place, cell), replicates in cells.items():
        seconds = np.mean(
            [record.clocks["train"] / record.how["replicates"] for record in replicates]
        )
        mean, low, _, n = t_interval(np.array([100 * acc(record.R) for record in replicates]))
        title = f"{label[cell].strategy} {label[cell].settings}".strip()
        bound = replicates[0].upper_bound
        found[benchmark, place].append(
            Point(title, bound, float(seconds), mean, mean - low if n > 1 else 0.0)
        )
    return found


def front(points: Sequence[Point]) -> list[Point]:
    """The strategies, no upper bounds, that no other beats in both, the cheapest first."""
    best: list[Point] = []
    for point in sorted(
        (point for point in points if not point.upper_bound),
        key=lambda point: (point.seconds, -point.accuracy),
    ):
        if not best or point.accuracy > best[-1].accuracy:
            best.append(point)
    return best


def _draw(axis: "Axes", points: Sequence[Point], look: "Mapping[str, Look]") -> None:
    from retrograde.reporting import plain_ticks

    best = front(points)
    axis.plot(
        [p.seconds for p in best],
        [p.accuracy for p in best],
        color="0.6",
        linewidth=1,
        drawstyle="steps-post",
        zorder=1,
    )
    for point in points:
        mine = look[point.strategy]
        axis.errorbar(
            point.seconds, point.accuracy, point.half, fmt=mine.marker, color=mine.colour, markersize=6, elinewidth=0.9,
            markerfacecolor="none" if point.upper_bound else mine.colour,
        )  # fmt: skip
    axis.set_xscale("log")
    plain_ticks(axis.xaxis)


def _legend(figure: "Figure", shown: set[str], look: "Mapping[str, Look]") -> None:
    from retrograde.reporting import legend_lines

    figure.legend(handles=legend_lines(look, shown), loc="outside right center", fontsize="x-small")
