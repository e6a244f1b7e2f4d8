"""What meta-learning leaves: how well new tasks were adapted to, step by step, and how that came about."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from retrograde.records.schema import Cosine, Finite, Length, Number, Share, Whole

WATCHED = 100
"""Tasks on which a check measures; and test tasks whose gradients are compared."""


@dataclass(frozen=True)
class Check:
    """Meta-training so far: means over tasks of meta-validation, one number for each inner step from 0.

    A check that saw something non-finite is left out of the record.
    """

    iteration: Whole
    loss: list[Finite]
    accuracy: list[Share]  # empty in regression
    cosine: Cosine  # between support and query gradient, before adapting
    cosine_seen: (
        Cosine  # the same on tasks drawn as those of meta-training, with their shots and queries
    )

    def finite(self) -> bool:
        """Whether all of it is a number."""
        return bool(np.isfinite([*self.loss, self.cosine, self.cosine_seen]).all())


@dataclass(frozen=True)
class Fit:
    """One test task that is a curve: the truth, the support, and what was predicted after inner steps from 0 on."""

    x: list[Finite]
    y: list[Finite]
    support_x: list[Finite]
    support_y: list[Finite]
    predicted: list[list[Finite]]

    def whole(self, steps: int) -> bool:
        """Whether every curve has all points, before and after each of the inner steps."""
        curves = {len(curve) for curve in (self.x, self.y, *self.predicted)}
        return (
            len(curves) == 1
            and len(self.support_x) == len(self.support_y)
            and len(self.predicted) == steps
        )


@dataclass(frozen=True)
class InnerAccount:
    """Why the query loss of new tasks changed in one inner step on their support: means over tasks.

    As in `Account`, of one straight window: slope and curvature add up to the integral of the query's gradient along the step,
    and exposure is the length of that gradient times that of the step. Minus the integral over the exposure is 1 where the
    step goes straight down the query's loss. Here lengths are of the gradient on all queries, sampling noise included.
    """

    observed: Finite
    slope: Finite
    curvature: Finite
    exposure: Length


@dataclass(frozen=True)
class Adaptation:
    """Adapting to test tasks: `loss[k][t]` is the mean query loss on task t after k inner steps."""

    loss: list[list[Finite]]
    correct: list[
        list[Number]
    ]  # right answers likewise, of `queries` in each task; empty in regression
    queries: Number
    cosine: list[
        Cosine
    ]  # between support and query gradient, mean over the first 100 tasks, after 0, 1, ... inner steps
    checks: list[Check] = field(default_factory=list)
    fits: list[Fit] = field(default_factory=list)
    accounts: list[InnerAccount] = field(
        default_factory=list
    )  # of each inner step, over the first 100 tasks; schema 5

    @property
    def accuracy(self) -> Float[np.ndarray, "step task"]:
        """The share of right answers; empty in regression."""
        return np.asarray(np.array(self.correct) / self.queries)

    def fault(self) -> str:
        """What does not fit together, or nothing."""
        sizes = {len(row) for rows in (self.loss, self.correct) for row in rows}
        steps = {len(rows) for rows in (self.loss, self.correct or self.loss, self.cosine)}
        if len(sizes) != 1 or len(steps) != 1 or 0 in sizes or self.queries < 1:
            return "the numbers of tasks, inner steps and queries do not fit together"
        if any(not 0 <= right <= self.queries for row in self.correct for right in row):
            return "a count of right answers is below 0 or above the number of queries"
        if any(
            (len(each.loss), len(each.accuracy)) != (len(self.loss), len(self.correct))
            for each in self.checks
        ):
            return "the inner steps of a check and of the test do not fit together"
        numbers = [
            (each.observed, each.slope, each.curvature, each.exposure) for each in self.accounts
        ]
        if len(numbers) not in (0, len(self.loss) - 1) or not np.isfinite(numbers).all():
            return (
                "the accounts of inner steps do not fit these, or have a number that is not finite"
            )
        if not all(fit.whole(len(self.loss)) for fit in self.fits):
            return "the points and inner steps of a fit do not fit together"
        return ""
