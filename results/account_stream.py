"""The account of forgetting along the stream: stacked bars of changes of earlier tasks' losses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from retrograde import CellSpec, FigureResult, Record
from retrograde.metrics import (
    Interval,
    Label,
    account_frame,
    cell_labels,
    examples,
    of_benchmarks,
    of_strategies,
    t_interval,
    title_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BARS = {"slope": "C0", "curvature": "C1", "remainder": "0.55"}
"""The parts of the change, and their colours."""


@dataclass(frozen=True)
class AccountStream(FigureResult):
    """Change of earlier tasks' losses during each task: slope, curvature and remainder."""

    regression: ClassVar[bool] = True

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from retrograde.reporting import grouped

        label = cell_labels(records)
        accounts = account_frame(records, label)
        if accounts.empty:
            return None
        cells = _cells(accounts, label)
        groups: dict[str, list[str]] = {}
        for benchmark, title in cells:
            groups.setdefault(benchmark, []).append(title)
        figure, axes = grouped(groups, height=2.1)
        for place, axis in axes.items():
            _draw(axis, cells[place])
        # an upper bound has a scale of its own, for its changes would flatten all others
        for name, titles in groups.items():
            _share_scale([axes[name, title] for title in titles if not title.endswith("†")])
        _name_axes(figure, axes)
        figure.suptitle(
            "Change of the earlier tasks' mean loss while each task is trained, "
            "above 0 forgotten, and its parts:\n"
            f"mean over replicates, 95 % t-interval of the change; {examples(records)} "
            "of each task; †: upper bound, own scale",
            fontsize="medium",
        )
        return figure


def _cells(
    accounts: pd.DataFrame, label: dict[CellSpec, Label]
) -> dict[tuple[str, str], pd.DataFrame]:
    """The accounts by benchmark and title of a strategy; a title ends in † for upper bounds."""
    from retrograde.reporting import looks

    look = looks(label)
    cells = {}
    for benchmark, group in of_benchmarks(accounts):
        for key, cell in of_strategies(group):
            mark = " †" if key[0] else ""
            cells[benchmark, look[title_of(key)].name + mark] = cell
    return cells


def _draw(axis: "Axes", cell: pd.DataFrame) -> None:
    """Draw the parts as bars stacked upwards and downwards from 0, and the change as a line."""
    by_task = cell.groupby("task", sort=True)
    means = by_task[[*BARS]].mean()
    tasks = means.index.to_numpy(int) + 1
    _stack(axis, tasks, means)
    spans = [t_interval(values.to_numpy(float)) for _, values in by_task["observed"]]
    axis.axhline(0, color="black", linewidth=0.6)
    _draw_change(axis, tasks, spans)
    axis.grid(visible=False, axis="x")
    axis.set_xlim(1.3, tasks.max() + 0.7)


def _draw_change(axis: "Axes", tasks: np.ndarray, spans: Sequence[Interval]) -> None:
    halves = [span.mean - span.low if span.n > 1 else 0.0 for span in spans]
    axis.errorbar(
        tasks,
        [span.mean for span in spans],
        halves,
        color="black",
        marker="o",
        markersize=2.5,
        linewidth=1,
        elinewidth=0.8,
        label="observed change",
    )


def _stack(axis: "Axes", tasks: np.ndarray, means: pd.DataFrame) -> None:
    # positive and negative parts pile up on either side of 0, so that none hides another
    top = np.zeros(len(tasks))
    bottom = np.zeros(len(tasks))
    for part, colour in BARS.items():
        values = means[part].to_numpy(float)
        base = np.where(values > 0, top, bottom)
        axis.bar(tasks, values, 0.8, base, color=colour, linewidth=0, label=part)
        top = top + values.clip(min=0)
        bottom = bottom + values.clip(max=0)


def _share_scale(axes: "Sequence[Axes]") -> None:
    """Give panels the same limits, so that their bars can be compared."""
    # a benchmark of upper bounds alone has no panel to share a scale
    limits = np.array([axis.get_ylim() for axis in axes]).reshape(-1, 2)
    for axis in axes:
        axis.set_ylim(limits[:, 0].min(), limits[:, 1].max())


def _name_axes(figure: "Figure", axes: "dict[tuple[str, str], Axes]") -> None:
    """Add one legend and the names of the axes; task numbers are integers."""
    from matplotlib.ticker import MaxNLocator

    from retrograde.reporting import lowest

    for axis in axes.values():
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axis.tick_params(labelsize="x-small")
    first = next(iter(axes.values()))
    handles, names = first.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    figure.supylabel("change of loss", fontsize="medium")
    for axis in lowest(axes.values()):
        axis.set_xlabel("task trained", fontsize="small")
