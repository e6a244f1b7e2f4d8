"""The statistics that a strategy logs, as means over windows of steps."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64

from retrograde.records.prequential import Prequential
from retrograde.records.statistics import Statistics
from retrograde.training.backend import PREDICTED_FIRST, Backend

DIGITS = 6
"""Significant digits of a mean."""


class Window(NamedTuple):
    """Means over steps of one experience, and the steps since the stream began."""

    experience: int
    step: int
    means: dict[str, float | None]


class StatisticsLog:
    """Means of the statistics of every replicate, a window after the other.

    Args:
        backend: The replicates, which sum up what their steps log.
        replicates: Their number.
    """

    carries = ("windows", "predicted", "experience", "steps", "within")

    def __init__(self, backend: Backend, replicates: int) -> None:
        self.backend = backend
        self.every = backend.benchmark.log_every
        # For each replicate, the windows so far.
        self.windows: list[list[Window]] = [[] for _ in range(replicates)]
        # For each replicate, right predictions before the steps, and all, by experience.
        self.predicted: list[list[tuple[int, int]]] = [[] for _ in range(replicates)]
        self.experience = 0
        # The steps of each replicate before this experience, and those of the longest one in it.
        self.steps = [0] * replicates
        self.within = 0

    def advance(self, steps: int) -> None:
        """Count steps of the experience, and end a window if that is due."""
        self.within += steps
        if self.every and self.within % self.every == 0:
            self._end_window()

    def end_experience(self, steps: Int64[np.ndarray, " replicate"]) -> None:
        """End the last window of an experience.

        Args:
            steps: Steps of the experience for each replicate. All take as many as the longest one
                does; the rest is padding.
        """
        self._end_window()
        for i, windows in enumerate(self.windows):
            last = self.steps[i] + int(steps[i])
            windows[:] = [window._replace(step=min(window.step, last)) for window in windows]
            self.steps[i] = last
        self.experience += 1
        self.within = 0

    def _end_window(self) -> None:
        totals = self.backend.take_statistics()
        first = totals.pop(PREDICTED_FIRST, None)
        if first is not None:
            self._count(first)
        for replicate, windows in enumerate(self.windows):
            means = {}
            for name, total in totals.items():
                value, count = total[replicate].tolist()
                # A replicate that waits for others takes no steps.
                if count:
                    means[name] = _rounded(value / count)
            if means:
                step = self.steps[replicate] + self.within
                windows.append(Window(self.experience, step, means))

    def _count(self, totals: Float[np.ndarray, "replicate 2"]) -> None:
        """Add right predictions, and all, to those of the experience."""
        for by_experience, total in zip(self.predicted, totals, strict=True):
            right, examples = map(round, total.tolist())
            if len(by_experience) == self.experience:
                by_experience.append((0, 0))
            before_right, before = by_experience[-1]
            by_experience[-1] = before_right + right, before + examples

    def prequential(self, replicate: int) -> Prequential | None:
        """The predictions before the steps of one replicate; None if there are none."""
        pairs = self.predicted[replicate]
        if not pairs:
            return None
        return Prequential([right for right, _ in pairs], [examples for _, examples in pairs])

    def statistics(self, replicate: int) -> Statistics | None:
        """The windows of one replicate; None if its strategy logs nothing."""
        windows = self.windows[replicate]
        if not windows:
            return None
        # A strategy that grows may log others in later experiences.
        names = dict.fromkeys(name for window in windows for name in window.means)
        return Statistics(
            [window.experience for window in windows],
            [window.step for window in windows],
            {name: [window.means.get(name) for window in windows] for name in names},
        )


def _rounded(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
