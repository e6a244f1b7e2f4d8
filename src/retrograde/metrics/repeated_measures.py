"""Repeated-measures correlation: how two measures go together within runs, with seeds as clusters."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from retrograde.metrics.intervals import significance, t_interval

FEWEST_SEEDS = 3
"""Seeds from which on an interval and a p-value are given."""
NEVER_ONE = 1 - 1e-9
"""The largest correlation whose Fisher z is taken, so that a perfect one stays finite."""
ROUNDING = 1e-12
"""A spread below this share of the values is rounding error, not variation."""

Points = Float[np.ndarray, " point"]
Names = Int[np.ndarray, " point"]


class Within(NamedTuple):
    """A common within-run correlation; interval and p come from the seeds and are NaN below `FEWEST_SEEDS`."""

    r: float
    low: float
    high: float
    p: float
    seeds: int
    points: int  # that have both numbers, in runs long enough
    runs: int  # that have a correlation of their own
    negative: int  # of these, how many have one below 0

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

    Each run is centred, or regressed on its own covariates where some are given, and the residuals of all runs are pooled.
    Runs of one seed share data and initial weights. So the interval and p-value are those of a t-test over seeds, on Fisher's
    z of each seed's own pooled correlation. Points with a NaN are left out, and so are runs too short to leave a residual.
    """
    covariates = np.empty((len(x), 0)) if given is None else given
    known = np.isfinite(np.column_stack([x, y, covariates])).all(axis=1)
    parts = []
    for name in np.unique(run[known]):
        here = known & (run == name)
        freedom = int(here.sum()) - 1 - covariates.shape[1]
        if freedom > 0:
            rest_x = residuals(x[here], covariates[here])
            rest_y = residuals(y[here], covariates[here])
            parts.append((int(seed[here][0]), freedom, rest_x, rest_y))
    return _over_seeds(parts)


def residuals(values: Points, covariates: Float[np.ndarray, "point covariate"]) -> Points:
    """The part of values that a constant and covariates do not explain, by least squares; exactly 0 where that is rounding."""
    design = np.column_stack([np.ones(len(values)), covariates - covariates.mean(axis=0)])
    scale = np.abs(design).max(axis=0)
    design = design / np.where(scale > 0, scale, 1)
    solution = np.linalg.lstsq(design, values, rcond=None)[0]
    rest = values - design @ solution
    tiny = np.abs(rest).max(initial=0) <= ROUNDING * np.abs(values).max(initial=0)
    return np.zeros_like(values) if tiny else np.asarray(rest)


Part = tuple[int, int, Float[np.ndarray, " _"], Float[np.ndarray, " _"]]
"""A run: its seed, its degrees of freedom, and the residuals of x and y, which differ in number between runs."""


def _over_seeds(runs: list[Part]) -> Within:
    """Pool the runs: all for the correlation, those of each seed for its interval."""
    alone = np.array([_correlation([run]) for run in runs])
    own = alone[np.isfinite(alone)]
    by_seed = {
        seed: [run for run in runs if run[0] == seed] for seed in sorted({run[0] for run in runs})
    }
    found = np.array([_pooled(mine) for mine in by_seed.values()])
    of_seeds = found[np.isfinite(found)]
    low, high, p = _interval(of_seeds)
    points = sum(len(run[2]) for run in runs)
    return Within(
        _pooled(runs), low, high, p, len(of_seeds), points, len(own), int((own < 0).sum())
    )


def _pooled(runs: list[Part]) -> float:
    """The correlation of the residuals of some runs; NaN where two points at most decide its size."""
    return _correlation(runs) if sum(run[1] for run in runs) > 1 else float("nan")


def _correlation(runs: list[Part]) -> float:
    """The correlation of the residuals of some runs; of two points, its sign. NaN where one side does not vary."""
    x = np.concatenate([run[2] for run in runs])
    y = np.concatenate([run[3] for run in runs])
    lengths = np.linalg.norm(x) * np.linalg.norm(y)
    return float(np.clip(x @ y / lengths, -1, 1)) if lengths > 0 else float("nan")


def _interval(correlations: Float[np.ndarray, " seed"]) -> tuple[float, float, float]:
    """The 95 % interval of the mean of Fisher's z, as correlations, and the p-value of its being 0."""
    from scipy.stats import ttest_1samp

    if len(correlations) < FEWEST_SEEDS:
        return float("nan"), float("nan"), float("nan")
    z = np.arctanh(correlations.clip(-NEVER_ONE, NEVER_ONE))
    _, low, high, _ = t_interval(z)
    p = float(ttest_1samp(z, 0).pvalue) if np.ptp(z) > 0 else float("nan")
    return float(np.tanh(low)), float(np.tanh(high)), p
