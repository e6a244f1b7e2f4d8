"""The statistics that a strategy logs, as means over windows of steps."""

import math

import numpy as np
from jaxtyping import Float

from retrograde.records.statistics import Statistics
from retrograde.training.backend import Backend

DIGITS = 6
"""Significant digits of a mean."""


class StatisticsLog:
    """Means of the statistics of every replicate, a window after the other.

    Args:
        backend: The replicates, which sum up what their steps log.
        replicates: Their number.
    """

    def __init__(self, backend: Backend, replicates: int) -> None:
        self.backend = backend
        self.every = backend.benchmark.log_every
        self.before: dict[str, Float[np.ndarray, "replicate 2"]] = {}
        # For each replicate, the windows so far.
        self.windows: list[list[tuple[int, int, dict[str, float | None]]]] = [
            [] for _ in range(replicates)
        ]
        self.experience = 0
        self.steps = 0
        self.within = 0

    def advance(self, steps: int) -> None:
        """Count steps of the experience, and end a window if that is due."""
        self.steps += steps
        self.within += steps
        if self.every and self.within % self.every == 0:
            self._end_window()

    def end_experience(self) -> None:
        """End the last window of an experience."""
        self._end_window()
        self.experience += 1
        self.within = 0

    def _end_window(self) -> None:
        totals = self.backend.statistics()
        for replicate, windows in enumerate(self.windows):
            means = {}
            for name, total in totals.items():
                before = self.before.get(name)
                value, count = total[replicate] - (0.0 if before is None else before[replicate])
                # A replicate that waits for others takes no steps.
                if count:
                    means[name] = _rounded(value / count)
            if means:
                windows.append((self.experience, self.steps, means))
        self.before = totals

    def statistics(self, replicate: int) -> Statistics | None:
        """The windows of one replicate; None if its strategy logs nothing."""
        windows = self.windows[replicate]
        if not windows:
            return None
        experience, step, means = zip(*windows, strict=True)
        by_name = {name: [window[name] for window in means] for name in means[0]}
        return Statistics(list(experience), list(step), by_name)


def _rounded(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
