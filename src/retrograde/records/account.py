"""The account of forgetting: why the loss of earlier tasks changed while one task was trained."""

from dataclasses import dataclass
from itertools import chain

import numpy as np
from jaxtyping import Float

from retrograde.records.schema import Finite, Length, Positive, Whole


@dataclass(frozen=True)
class Account:
    """The change of each earlier task's loss during one task, summed along the parameters' path.

    The path is cut into windows, from probe to probe. A window has a displacement d. The gradients
    of an earlier task's loss at its start, middle and end are g, m and e. The window contributes

        slope = g . d;  curvature = (g + 4 m + e) . d / 6 - slope;  exposure = (|g| + |e|) |d| / 2.

    Slope and curvature add up to Simpson's rule for the path integral of the gradient ("loss change
    allocation": Lan et al. 2019, arXiv 1909.01440), which is exact where the loss is a quartic
    along the window. Each number is the sum over the windows. The loss and the gradients are of the
    same test examples. The lengths |g| and |e| are estimated from two independent halves of these
    examples: their squares are inner products of the halves, which are free of sampling noise on
    average; a negative product counts as 0.
    """

    # The task in training, counted from 0; the earlier tasks are all before it.
    task: Positive
    windows: Whole
    # Length of the path, the sum of |d|.
    length: Length
    # Loss of each earlier task at the start and at the end of training.
    before: list[Finite]
    after: list[Finite]
    slope: list[Finite]
    curvature: list[Finite]
    exposure: list[Length]

    @property
    def observed(self) -> Float[np.ndarray, " task"]:
        """The change of each earlier task's loss."""
        return np.asarray(np.subtract(self.after, self.before))

    @property
    def interference(self) -> Float[np.ndarray, " task"]:
        """The path integral, the part of the change that gradients explain.

        It is positive where the task interferes.
        """
        return np.asarray(np.add(self.slope, self.curvature))

    @property
    def remainder(self) -> Float[np.ndarray, " task"]:
        """The change minus the path integral, the part that windows are too long to resolve."""
        return np.asarray(self.observed - self.interference)

    def inconsistency(self) -> str:
        """Description of the first inconsistency; empty if there is none."""
        by_task = (self.before, self.after, self.slope, self.curvature, self.exposure)
        sizes = {len(values) for values in by_task}
        if sizes != {self.task} or self.task < 1:
            return "an account's numbers of tasks do not fit together"
        numbers = [self.length, *chain(*by_task)]
        least = min(self.length, self.windows, *self.exposure)
        if not np.isfinite(numbers).all() or least < 0:
            return "an account has a number that is not finite, or a length below 0"
        return ""
