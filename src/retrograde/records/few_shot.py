"""Results of meta-learning: adaptation to new tasks by inner step, and its diagnostics."""

from collections.abc import Iterator
from dataclasses import astuple, dataclass, field

import numpy as np
from jaxtyping import Float

from retrograde.records.schema import Cosine, Finite, Length, Number, Share, Whole

PROBE_TASKS = 100
"""Number of tasks of an evaluation, and of test tasks with gradients compared."""


@dataclass(frozen=True)
class MetaEvaluation:
    """A measurement during meta-training: means over tasks of meta-validation.

    An evaluation with a non-finite number is left out of the record.

    Attributes:
        iteration: outer (meta) steps so far.
        loss: query loss, by inner step from 0.
        accuracy: query accuracy, by inner step from 0; empty in regression.
        cosine: cosine between support and query gradient, before adaptation.
        cosine_seen: the same on tasks drawn like those of meta-training, with their shots and
            queries.
    """

    iteration: Whole
    loss: list[Finite]
    accuracy: list[Share]
    cosine: Cosine
    cosine_seen: Cosine

    def finite(self) -> bool:
        """True if neither the losses nor the cosines have NaN or an infinite number."""
        numbers = [*self.loss, self.cosine, self.cosine_seen]
        return bool(np.isfinite(numbers).all())


@dataclass(frozen=True)
class Fit:
    """One test task of regression: the true curve, the support, and the predicted curves.

    `predicted[k]` is the prediction after k inner steps, at the points `x`.
    """

    x: list[Finite]
    y: list[Finite]
    support_x: list[Finite]
    support_y: list[Finite]
    predicted: list[list[Finite]]

    def whole(self, steps: int) -> bool:
        """True if there are `steps` predicted curves, and every curve has all points."""
        curves = [self.x, self.y, *self.predicted]
        sizes = {len(curve) for curve in curves}
        paired = len(self.support_x) == len(self.support_y)
        return len(sizes) == 1 and paired and len(self.predicted) == steps


@dataclass(frozen=True)
class InnerAccount:
    """Why one inner step on the support changed the query loss of new tasks: means over tasks.

    The terms are those of `Account`, for one straight window. Slope and curvature add up to the
    integral of the query gradient along the step. Exposure is the length of that gradient times the
    length of the step. Minus the integral over the exposure is 1 if the step goes straight down the
    query loss. The lengths are of the gradient on all queries, sampling noise included.
    """

    observed: Finite
    slope: Finite
    curvature: Finite
    exposure: Length


@dataclass(frozen=True)
class Adaptation:
    """Adaptation to test tasks.

    Attributes:
        loss: `loss[k][t]` is the mean query loss on task t after k inner steps.
        correct: number of correct answers, in the same layout; empty in regression.
        queries: number of queries of each task.
        cosine: cosine between support and query gradient after 0, 1, ... inner steps, as a mean
            over the first 100 tasks.
        evaluations: measurements during meta-training.
        fits: example curves, in regression.
        accounts: one for each inner step, over the first 100 tasks.
    """

    loss: list[list[Finite]]
    correct: list[list[Number]]
    queries: Number
    cosine: list[Cosine]
    evaluations: list[MetaEvaluation] = field(default_factory=list)
    fits: list[Fit] = field(default_factory=list)
    accounts: list[InnerAccount] = field(default_factory=list)

    @property
    def accuracy(self) -> Float[np.ndarray, "step task"]:
        """The share of correct answers; empty in regression."""
        return np.asarray(np.array(self.correct) / self.queries)

    def inconsistency(self) -> str:
        """Description of the first inconsistency; empty if there is none."""
        return next(filter(None, self._inconsistencies()), "")

    def _inconsistencies(self) -> Iterator[str]:
        """The inconsistencies, in the order of the tests; an empty text is none."""
        sizes = {len(row) for row in self.loss} | {len(row) for row in self.correct}
        by_step = (self.loss, self.correct or self.loss, self.cosine)
        steps = {len(rows) for rows in by_step}
        if len(sizes) != 1 or len(steps) != 1 or 0 in sizes or self.queries < 1:
            yield "the numbers of tasks, inner steps and queries do not fit together"
        if any(not 0 <= right <= self.queries for row in self.correct for right in row):
            yield "a count of correct answers is below 0 or above the number of queries"
        shape = (len(self.loss), len(self.correct))
        shapes = [(len(each.loss), len(each.accuracy)) for each in self.evaluations]
        if any(each != shape for each in shapes):
            yield "the inner steps of an evaluation and of the test do not fit together"
        yield self._accounts_inconsistency()
        if not all(fit.whole(len(self.loss)) for fit in self.fits):
            yield "the points and inner steps of a fit do not fit together"

    def _accounts_inconsistency(self) -> str:
        numbers = [astuple(account) for account in self.accounts]
        inner_steps = len(self.loss) - 1
        # Accounts are optional: records of retrograde 0.1 may lack them.
        if len(numbers) in (0, inner_steps) and np.isfinite(numbers).all():
            return ""
        return "the accounts of inner steps do not fit these, or have a number that is not finite"
