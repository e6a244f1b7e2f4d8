"""The statistics that strategies log of their own steps, along the stream."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import pandas as pd

from retrograde import CellSpec, FigureResult, Record
from retrograde.metrics import REPLICATE, Label, cell_labels, ordered

from ._along_stream import by_hundredth, mark_switches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from retrograde import Statistics


@dataclass(frozen=True)
class LoggedStatistics(FigureResult):
    """Statistics that strategies log with `State.log`, such as the size of a penalty.

    A panel for each statistic of a benchmark, with a line for each strategy that logs it: the mean
    over replicates, with its interval. A point is the mean over the steps up to it, of an
    experience or of `log_every` steps.
    """

    regression: ClassVar[bool] = True

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from retrograde.reporting import lines, looks

        label = cell_labels(records)
        windows = _frame(records, label)
        if windows.empty:
            return None
        title = (
            "Statistics that strategies log of their steps: "
            "mean over replicates and 95 % t-interval"
        )
        shown = by_hundredth(windows)
        figure = lines(shown, "trained", title, "experiences trained", looks(label))
        for axis in figure.axes:
            mark_switches(axis)
        return figure


def _frame(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> pd.DataFrame:
    """A row for each replicate, statistic and window."""
    longest = _longest(records)
    rows = []
    for record in ordered(records):
        if record.status == "done" and record.statistics:
            replicate = (*label[record.cell], record.seed, record.upper_bound)
            windows = _windows(record.statistics, longest[record.cell])
            rows += [(*replicate, *window) for window in windows]
    return pd.DataFrame(rows, columns=[*REPLICATE, "trained", "quantity", "value"])


def _longest(records: Sequence[Record]) -> dict[CellSpec, dict[int, int]]:
    """For each cell, the largest number of steps of each experience among its replicates."""
    longest: dict[CellSpec, dict[int, int]] = {}
    for record in records:
        if record.statistics:
            of_cell = longest.setdefault(record.cell, {})
            ends = _ends(record.statistics)
            for experience, end in ends.items():
                steps = end - ends.get(experience - 1, 0)
                of_cell[experience] = max(steps, of_cell.get(experience, 1))
    return longest


def _ends(statistics: "Statistics") -> dict[int, int]:
    """The steps so far at the end of each experience."""
    return dict(zip(statistics.experience, statistics.step, strict=True))


def _windows(
    statistics: "Statistics", longest: Mapping[int, int]
) -> Iterator[tuple[float, str, float]]:
    """Experiences trained at the end of each window, the statistic, and its mean.

    Args:
        statistics: the statistics of a replicate.
        longest: the steps of each experience in the replicate that takes the most. They are the
            unit, so that windows of equally many steps stand at one place for all replicates.
    """
    ends = _ends(statistics)
    for number, (experience, step) in enumerate(
        zip(statistics.experience, statistics.step, strict=True)
    ):
        within = step - ends.get(experience - 1, 0)
        # the last window ends with the experience, in every replicate
        share = 1.0 if step == ends[experience] else within / longest[experience]
        for name, means in statistics.means.items():
            mean = means[number]
            # a mean that was not finite has no place on the axis
            if mean is not None:
                yield experience + share, name, mean
