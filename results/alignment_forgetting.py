"""Does alignment go with remembering? Every cell's forgetting against its gradient alignment."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from retrograde.alignment import correlations, examples, replicate_frame
from retrograde.frame import labels
from retrograde.record import Record
from retrograde.result import Drawing
from retrograde.stats import Correlation, t_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = {"arriving": "cosine of the next task with those so far", "update": "alignment of the step with earlier tasks"}
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class AlignmentForgetting(Drawing):
    """Forgetting of every cell against the alignment of gradients, and of steps, with Spearman's rank correlation."""

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from matplotlib.figure import Figure

        from retrograde.figure import MARKERS, looks

        label = labels(records)
        frame = replicate_frame(records, label)
        if "forgetting" not in set(frame.metric) or set(PANELS).isdisjoint(frame.metric):
            return None
        benchmarks, look = sorted(set(frame.benchmark)), looks(label)
        colours = {each.strategy: look[f"{each.strategy} {each.settings}".strip()].colour for each in sorted(label.values())}
        markers = {benchmark: MARKERS[i % len(MARKERS)] for i, benchmark in enumerate(benchmarks)}
        figure = Figure(figsize=(10, 5), layout="constrained")
        axes = figure.subplots(1, len(PANELS), sharey=True)
        related = correlations(frame)
        for axis, (measure, meaning) in zip(axes, PANELS.items(), strict=True):
            everywhere = "" if len(benchmarks) > 1 else benchmarks[0]
            axis.set_title(_title(related.get((everywhere, measure))), fontsize="medium")
            axis.set_xlabel(meaning)
            for (benchmark, strategy, bound), x, y in _points(frame, measure):
                _mark(axis, x, y, marker=markers[benchmark], color=colours[strategy], hollow=bound)
        axes[0].set_ylabel("forgetting %")
        _legend(figure, colours, markers)
        figure.suptitle(
            f"Gradients of the cross-entropy over all parameters, on {examples(records)} of each task;\n"
            "mean over replicates and 95 % t-intervals, one mark a cell; hollow: upper bounds, which the correlation leaves out"
        )
        return figure


Span = tuple[float, float]
"""A mean, and half of its interval: 0 for a single replicate."""


def _points(frame: pd.DataFrame, measure: str) -> Iterator[tuple[tuple[str, str, bool], Span, Span]]:
    for key, cell in frame.groupby(["benchmark", "strategy", "settings", "upper_bound"], sort=True):
        benchmark, strategy, _, bound = key
        x, y = (cell[cell.metric == metric].value.to_numpy(dtype=float) for metric in (measure, "forgetting"))
        if len(x) and len(y):
            yield (str(benchmark), str(strategy), bool(bound)), _span(x), _span(100 * y)


def _span(values: np.ndarray) -> Span:
    mean, low, _, n = t_interval(values)
    return mean, mean - low if n > 1 else 0.0


def _mark(axis: "Axes", x: Span, y: Span, *, marker: str, color: Colour, hollow: bool) -> None:
    face = "none" if hollow else color
    axis.errorbar(x[0], y[0], y[1], x[1], fmt=marker, color=color, markerfacecolor=face, markersize=5, elinewidth=0.8)


def _title(found: Correlation | None) -> str:
    if found is None or np.isnan(found.rho):
        return f"too few cells for a rank correlation (n = {found.n if found else 0})"
    return f"Spearman's ρ = {found.rho:.2f} ({found.significance}), n = {found.n} cells"


def _legend(figure: "Figure", colours: dict[str, Colour], markers: dict[str, str]) -> None:
    from matplotlib.lines import Line2D

    by_colour = [Line2D([], [], color=colour, marker="o", linestyle="", label=name) for name, colour in colours.items()]
    by_marker = [Line2D([], [], color="black", marker=marker, linestyle="", label=name) for name, marker in markers.items()]
    figure.legend(handles=by_colour, loc="outside right center")
    figure.legend(handles=by_marker, loc="outside lower center", ncols=2)
