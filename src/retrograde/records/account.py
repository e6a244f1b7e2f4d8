"""The account of forgetting: why the loss of earlier tasks changed while one task was trained."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from retrograde.records.schema import Finite, Length, Positive, Whole


@dataclass(frozen=True)
class Account:
    """The change of each earlier task's loss while one task was trained, booked along the path of the parameters.

    The path is cut into windows, from probe to probe. Over one window, of displacement d, with the gradients of an earlier
    task's loss where it starts, in its middle and where it ends (g, m and e), are booked

        slope = g . d;  curvature = (g + 4 m + e) . d / 6 - slope;  exposure = (|g| + |e|) |d| / 2.

    Slope and curvature add up to Simpson's rule for the path integral of the gradient ("loss change allocation": Lan et al.
    2019, arXiv 1909.01440), which is exact where the loss is a quartic along the window. Each number is the sum over the
    windows. Loss and gradients are of the same test examples. The lengths |g| and |e| are estimates from two independent
    halves of these: their squares are inner products of the halves, free of sampling noise on average, and 0 if below.
    """

    task: Positive  # the one in training, from 0; the earlier ones are all before it
    windows: Whole
    length: Length  # of the path: the sum of |d|
    before: list[Finite]  # the loss of each earlier task where training begins
    after: list[Finite]  # and where it ends
    slope: list[Finite]
    curvature: list[Finite]
    exposure: list[Length]

    @property
    def observed(self) -> Float[np.ndarray, " task"]:
        """The change of each earlier task's loss."""
        return np.asarray(np.subtract(self.after, self.before))

    @property
    def interference(self) -> Float[np.ndarray, " task"]:
        """The path integral: the part of the change that gradients explain; positive where the task interferes."""
        return np.asarray(np.add(self.slope, self.curvature))

    @property
    def remainder(self) -> Float[np.ndarray, " task"]:
        """The change less the path integral: what windows are too long to see."""
        return np.asarray(self.observed - self.interference)

    def fault(self) -> str:
        """Describe what does not fit together; empty if nothing."""
        sizes = {
            len(each)
            for each in (self.before, self.after, self.slope, self.curvature, self.exposure)
        }
        if sizes != {self.task} or self.task < 1:
            return "an account's numbers of tasks do not fit together"
        numbers = [
            self.length,
            *self.before,
            *self.after,
            *self.slope,
            *self.curvature,
            *self.exposure,
        ]
        if not np.isfinite(numbers).all() or min(self.length, self.windows, *self.exposure) < 0:
            return "an account has a number that is not finite, or a length below 0"
        return ""
