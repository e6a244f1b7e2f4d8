"""Accuracy at the end and forgetting, side by side, with their intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from retrograde import Drawing, Record
from retrograde.metrics import BySeed, Key, by_strategy, labels, over_seeds, score_frame, t_interval
from retrograde.reporting import row_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from retrograde.reporting import Look

METRICS = {"ACC": "ACC %", "forgetting": "forgetting %"}


@dataclass(frozen=True)
class Forgetting(Drawing):
    """Accuracy at the end and forgetting of every strategy on every stream: mean over replicates and 95 % t-interval."""

    def figure(self, records: Sequence[Record]) -> "Figure | None":
        from matplotlib.figure import Figure

        from retrograde.reporting import looks, wrapped

        label = labels(records)
        frame = score_frame(records, label)
        benchmarks = sorted(set(frame[frame.metric == "forgetting"].benchmark))
        if not benchmarks:
            return None
        found = {name: _values(frame[frame.benchmark == name]) for name in benchmarks}
        heights = [1 + len(values["ACC"]) for values in found.values()]
        figure = Figure(
            figsize=(10, 0.8 + 0.22 * sum(heights) + 0.4 * len(heights)), layout="constrained"
        )
        axes = figure.subplots(
            len(benchmarks), len(METRICS), sharey="row", squeeze=False, height_ratios=heights
        )
        look = looks(label)
        for row, (name, values) in zip(axes, found.items(), strict=True):
            row[0].set_title(wrapped(name, 110), fontsize="small", loc="left")
            order = sorted(values["ACC"], key=lambda key: over_seeds(values["ACC"][key]).mean)
            row[0].set_yticks(
                range(len(order)), [row_title(key) for key in order], fontsize="x-small"
            )
            row[0].set_ylim(-0.7, len(order) - 0.3)
            for axis, metric in zip(row, METRICS, strict=True):
                _draw(
                    axis,
                    [values[metric].get(key) for key in order],
                    [look[_title(key)] for key in order],
                )
        for axis, meaning in zip(axes[-1], METRICS.values(), strict=True):
            axis.set_xlabel(meaning)
        figure.suptitle(
            "At the end of the stream: mean over replicates and 95 % t-interval; †: upper bound"
        )
        return figure


def _values(frame: pd.DataFrame) -> dict[str, dict[Key, BySeed]]:
    return {metric: by_strategy(frame[frame.metric == metric]) for metric in METRICS}


def _title(key: Key) -> str:
    return " ".join(key[1:]).strip()


def _draw(axis: "Axes", values: list[BySeed | None], look: "list[Look]") -> None:
    for place, (each, mine) in enumerate(zip(values, look, strict=True)):
        if each is not None:
            mean, low, _, n = t_interval(100 * np.array([*each.values()]))
            half = mean - low if n > 1 else 0.0
            axis.errorbar(
                mean,
                place,
                xerr=half,
                fmt=mine.marker,
                color=mine.colour,
                markersize=5,
                elinewidth=1.2,
            )
    axis.grid(visible=False, axis="y")
