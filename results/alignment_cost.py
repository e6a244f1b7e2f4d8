"""Alignment at a task's end against what the next task costs the earlier ones, within runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from retrograde import Drawing, Record
from retrograde.metrics import REPLICATE, Within, account_frame, labels, of_benchmarks, within_runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from retrograde.reporting import Look

WIDE = 2
"""Panels beside each other."""
SIDES = ["arriving", "observed"]


@dataclass(frozen=True)
class AlignmentCost(Drawing):
    """The cost of the next task against the alignment of its gradient with earlier ones, each run centred; upper bounds not."""

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from retrograde.reporting import legend_lines, looks, panels, wrapped

        label = labels(records)
        accounts = account_frame(records, label)
        shown = _centred(accounts[~accounts.upper_bound.astype(bool)])
        if shown.empty:
            return None
        benchmarks, look = dict(of_benchmarks(shown)), looks(label)
        titles = [
            f"{wrapped(name, 60)}\n{_title(within_runs(mine, *SIDES))}"
            for name, mine in benchmarks.items()
        ]
        figure, axes = panels(titles, WIDE if len(titles) > 1 else 1, height=3.2)
        for axis, mine in zip(axes, benchmarks.values(), strict=True):
            for name, cell in mine.groupby("title", sort=True):
                _draw(axis, cell, look[str(name)])
        figure.supxlabel(
            "cosine of the next task's gradient with the mean gradient of those so far, less the "
            "run's mean",
            fontsize="medium",
        )
        figure.supylabel(
            "rise of the earlier tasks' loss in the next\ntask, less the run's mean",
            fontsize="medium",
        )
        figure.legend(handles=legend_lines(look, shown.title), loc="outside right center")
        figure.suptitle(
            "Does alignment at a task's end spare the earlier tasks in the next one? A mark is "
            "one task of one run;\n"
            "lines: a strategy's common slope within its runs; r: repeated-measures correlation "
            "of all",
            fontsize="medium",
        )
        return figure


def _centred(accounts: pd.DataFrame) -> pd.DataFrame:
    """The points that are known, less the means of their runs; a run of one point says nothing."""
    known = accounts.dropna(subset=SIDES)
    known = known[known.groupby(list(REPLICATE)).task.transform("size") > 1]
    means = known.groupby(list(REPLICATE))[SIDES].transform("mean")
    title = (known.strategy + " " + known.settings).str.strip()
    return known.assign(
        x=known.arriving - means.arriving, y=known.observed - means.observed, title=title
    )


def _title(found: Within) -> str:
    if np.isnan(found.r):
        return "too few tasks for a correlation"
    interval = (
        "" if np.isnan(found.low) else f" [{found.low:.2f}, {found.high:.2f}], {found.significance}"
    )
    return f"r = {found.r:.2f}{interval}; negative in {found.negative} of {found.runs} runs"


def _draw(axis: "Axes", cell: pd.DataFrame, look: "Look") -> None:
    """One strategy: its tasks, and the line through them, which goes through the origin for all runs are centred."""
    x, y = cell.x.to_numpy(float), cell.y.to_numpy(float)
    axis.plot(x, y, look.marker, color=look.colour, markersize=3, alpha=0.45, markeredgewidth=0)
    spread = float(x @ x)
    if spread > 0:
        ends = np.array([x.min(), x.max()])
        axis.plot(
            ends,
            ends * float(x @ y) / spread,
            color=look.colour,
            linestyle=look.style,
            linewidth=1.6,
        )
