"""Repeated-measures correlation of two measures within runs, with seeds as clusters."""

from collections import defaultdict
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from retrograde.metrics.intervals import significance, t_interval

MIN_SEEDS = 3
"""Seeds from which on an interval and a p-value are given."""
MAX_CORRELATION = 1 - 1e-9
"""The largest correlation whose Fisher z is taken, so that a perfect one stays finite."""
ROUNDING = 1e-12
"""A spread below this share of the values is rounding error, not variation."""

Points = Float[np.ndarray, " point"]
Names = Int[np.ndarray, " point"]


class Within(NamedTuple):
    """A common within-run correlation.

    Interval and p come from the seeds and are NaN below `MIN_SEEDS`.
    """

    r: float
    low: float
    high: float
    p: float
    seeds: int
    points: int  # the points that have both numbers, in runs long enough
    runs: int  # the runs that have a correlation of their own
    negative: int  # the runs whose own correlation is below 0

    @property
    def significance(self) -> str:
        """The p-value in words."""
        return significance(self.p)


def repeated_measures(
    x: Points,
    y: Points,
    run: Names,
    seed: Names,
    given: Float[np.ndarray, "point covariate"] | None = None,
) -> Within:
    """Correlate x and y within runs, with one slope for all runs (Bakdash and Marusich 2017).

    Each run is centred, or regressed on its own covariates where some are given, and the residuals
    of all runs are pooled. Runs of one seed share data and initial weights, so the interval and the
    p-value are those of a t-test over seeds, on Fisher's z of each seed's own pooled correlation.
    Points with a NaN are left out, and so are runs too short to leave a residual.

    Args:
        x: the first measure, at each point.
        y: the second measure.
        run: the run of each point.
        seed: the seed of each point; one for all points of a run.
        given: covariates of each point, if any.
    """
    covariates = np.empty((len(x), 0)) if given is None else given
    columns = np.column_stack([x, y, covariates])
    known = np.isfinite(columns).all(axis=1)
    parts = []
    for name in np.unique(run[known]):
        here = known & (run == name)
        # the mean and each covariate take one degree of freedom
        freedom = int(here.sum()) - 1 - covariates.shape[1]
        if freedom > 0:
            rest_x = residuals(x[here], covariates[here])
            rest_y = residuals(y[here], covariates[here])
            parts.append((int(seed[here][0]), freedom, rest_x, rest_y))
    return _over_seeds(parts)


def residuals(values: Points, covariates: Float[np.ndarray, "point covariate"]) -> Points:
    """The part of values that a constant and covariates do not explain, by least squares.

    It is exactly 0 where it comes from rounding alone.
    """
    centred = covariates - covariates.mean(axis=0)
    design = np.column_stack([np.ones(len(values)), centred])
    # columns of one scale keep the least squares well conditioned
    scale = np.abs(design).max(axis=0)
    design = design / np.where(scale > 0, scale, 1)
    solution = np.linalg.lstsq(design, values, rcond=None)[0]
    residual = values - design @ solution
    largest = np.abs(values).max(initial=0)
    tiny = np.abs(residual).max(initial=0) <= ROUNDING * largest
    return np.zeros_like(values) if tiny else np.asarray(residual)


Part = tuple[int, int, Float[np.ndarray, " _"], Float[np.ndarray, " _"]]
"""A run: its seed, its degrees of freedom, and the residuals of x and y, as many as its points."""


def _over_seeds(runs: list[Part]) -> Within:
    """Pool all runs for the correlation, and those of each seed for its interval."""
    of_runs = _finite([_correlation([run]) for run in runs])
    by_seed = defaultdict(list)
    for run in runs:
        by_seed[run[0]].append(run)
    of_seeds = _finite([_pooled(by_seed[seed]) for seed in sorted(by_seed)])
    low, high, p = _interval(of_seeds)
    return Within(
        r=_pooled(runs),
        low=low,
        high=high,
        p=p,
        seeds=len(of_seeds),
        points=sum(len(run[2]) for run in runs),
        runs=len(of_runs),
        negative=int((of_runs < 0).sum()),
    )


def _finite(correlations: list[float]) -> Float[np.ndarray, " _"]:
    """The correlations that are not NaN."""
    values = np.array(correlations, dtype=float)
    return np.asarray(values[np.isfinite(values)])


def _pooled(runs: list[Part]) -> float:
    """The correlation of the residuals of some runs; NaN below two degrees of freedom."""
    # with one degree of freedom a correlation is 1 or -1
    return _correlation(runs) if sum(run[1] for run in runs) > 1 else float("nan")


def _correlation(runs: list[Part]) -> float:
    """The correlation of the residuals of some runs; NaN where one side does not vary."""
    x = np.concatenate([run[2] for run in runs])
    y = np.concatenate([run[3] for run in runs])
    lengths = np.linalg.norm(x) * np.linalg.norm(y)
    if not lengths > 0:
        return float("nan")
    cosine = x @ y / lengths
    # rounding may lead outside
    return float(np.clip(cosine, -1, 1))


def _interval(correlations: Float[np.ndarray, " seed"]) -> tuple[float, float, float]:
    """The 95 % interval of the mean of Fisher's z, as correlations, and its p-value against 0."""
    from scipy.stats import ttest_1samp

    if len(correlations) < MIN_SEEDS:
        return float("nan"), float("nan"), float("nan")
    z = np.arctanh(correlations.clip(-MAX_CORRELATION, MAX_CORRELATION))
    _, low, high, _ = t_interval(z)
    p = float(ttest_1samp(z, 0).pvalue) if np.ptp(z) > 0 else float("nan")
    return float(np.tanh(low)), float(np.tanh(high)), p
