"""Alignment at a task's end against the cost of the next task to the earlier ones, within runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from retrograde import FigureResult, Record
from retrograde.metrics import (
    REPLICATE,
    Within,
    account_frame,
    cell_labels,
    of_benchmarks,
    within_runs,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from retrograde.reporting import Look

PANELS_PER_ROW = 2
"""Panels in a row."""
SIDES = ["next_task_cosine", "observed"]


@dataclass(frozen=True)
class AlignmentCost(FigureResult):
    """Cost of the next task against its gradient's alignment with earlier tasks, each run centred.

    Upper bounds are left out.
    """

    regression: ClassVar[bool] = True

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from retrograde.reporting import legend_lines, looks, panels, set_legend

        label = cell_labels(records)
        accounts = account_frame(records, label)
        shown = _centred(accounts[~accounts.upper_bound.astype(bool)])
        if shown.empty:
            return None
        benchmarks = dict(of_benchmarks(shown))
        look = looks(label)
        titles = [_panel_title(name, group) for name, group in benchmarks.items()]
        figure, axes = panels(titles, PANELS_PER_ROW if len(titles) > 1 else 1, height=3.2)
        for axis, group in zip(axes, benchmarks.values(), strict=True):
            for name, cell in group.groupby("title", sort=True):
                _draw(axis, cell, look[str(name)])
        _name_axes(figure)
        set_legend(figure, legend_lines(look, shown.title))
        figure.suptitle(
            "Does alignment at a task's end spare the earlier tasks in the next one? "
            "A mark is one task of one run;\n"
            "lines: a strategy's common slope within its runs; "
            "r: repeated-measures correlation of all",
            fontsize="medium",
        )
        return figure


def _name_axes(figure: "Figure") -> None:
    figure.supxlabel(
        "cosine of the next task's gradient with the mean gradient of those so far, "
        "less the run's mean",
        fontsize="medium",
    )
    figure.supylabel(
        "rise of the earlier tasks' loss in the next\ntask, less the run's mean",
        fontsize="medium",
    )


def _centred(accounts: pd.DataFrame) -> pd.DataFrame:
    """The known points, less the means of their runs."""
    known = accounts.dropna(subset=SIDES)
    # the only point of a run would always lie at the origin
    known = known[known.groupby(list(REPLICATE)).task.transform("size") > 1]
    means = known.groupby(list(REPLICATE))[SIDES].transform("mean")
    title = (known.strategy + " " + known.settings).str.strip()
    x = known.next_task_cosine - means.next_task_cosine
    y = known.observed - means.observed
    return known.assign(x=x, y=y, title=title)


def _panel_title(name: str, group: pd.DataFrame) -> str:
    from retrograde.reporting import wrapped

    return f"{wrapped(name, 60)}\n{_title(within_runs(group, *SIDES))}"


def _title(correlation: Within) -> str:
    if np.isnan(correlation.r):
        return "too few tasks for a correlation"
    text = f"r = {correlation.r:.2f}"
    if not np.isnan(correlation.low):
        bounds = f"[{correlation.low:.2f}, {correlation.high:.2f}]"
        text += f" {bounds}, {correlation.significance}"
    return f"{text}; negative in {correlation.negative} of {correlation.runs} runs"


def _draw(axis: "Axes", cell: pd.DataFrame, look: "Look") -> None:
    """Draw the tasks of one strategy, and the line that fits them best."""
    x = cell.x.to_numpy(float)
    y = cell.y.to_numpy(float)
    axis.plot(x, y, look.marker, color=look.colour, markersize=3, alpha=0.45, markeredgewidth=0)
    spread = float(x @ x)
    if spread > 0:
        # runs are centred, so that the line goes through the origin
        ends = np.array([x.min(), x.max()])
        fitted = ends * float(x @ y) / spread
        axis.plot(ends, fitted, color=look.colour, linestyle=look.style, linewidth=1.6)
