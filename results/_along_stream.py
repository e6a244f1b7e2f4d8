"""Figures along the stream: few points, and marks at the switches of tasks."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from retrograde.metrics import REPLICATE

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def by_hundredth(frame: pd.DataFrame) -> pd.DataFrame:
    """The means of each replicate and quantity over hundredths of a task.

    Args:
        frame: a row for each point of a replicate, with the columns trained (tasks trained, the one
            in progress as a fraction), quantity and value.
    """
    # a switch stays between two hundredths, and more points would only make the file large
    hundredths = np.ceil((100 * frame.trained).round(6)) / 100
    groups = frame.assign(trained=hundredths).groupby(["quantity", *REPLICATE, "trained"])
    return groups.value.mean().reset_index()


def mark_switches(axis: "Axes") -> None:
    """Draw a vertical line at every switch of tasks."""
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    for switch in range(1, round(axis.dataLim.xmax)):
        axis.axvline(switch, color="0.6", linewidth=0.8, zorder=0)
