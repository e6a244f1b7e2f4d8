"""Scores: pure functions of R, each with its name, version and source.

R has one row before training and one after each of T tasks, and T columns: R[i, j] is the accuracy on task j
(1 to T in the formulas, from 0 in the arrays) after training task i.
"""

import numpy as np
from jaxtyping import Float

from retrograde.metrics.metric import Metric, R, Score


def acc(r: R) -> Score:
    """1/T sum_i R[T, i]: the mean accuracy at the end."""
    return np.asarray(r[..., -1, :].mean(axis=-1))


def la(r: R) -> Score:
    """1/T sum_i R[i, i]: the mean accuracy on each task right after it was trained."""
    return np.asarray(_learned(r).mean(axis=-1))


def bwt(r: R) -> Score:
    """1/(T-1) sum_{i<T} (R[T, i] - R[i, i])."""
    return _mean((r[..., -1, :] - _learned(r))[..., :-1])


def bti(r: R) -> Score:
    """1/T sum_i (R[T, i] - R[i, i]), the last task, whose term is 0, included."""
    return np.asarray((r[..., -1, :] - _learned(r)).mean(axis=-1))


def fwt(r: R) -> Score:
    """1/(T-1) sum_{i>1} (R[i-1, i] - R[0, i])."""
    return _mean((np.diagonal(r, axis1=-2, axis2=-1) - r[..., 0, :])[..., 1:])


def forgetting(r: R) -> Score:
    """1/(T-1) sum_{j<T} f_j, with f_j = max_{1<=l<T} R[l, j] - R[T, j]; below 0 where a task improved at last."""
    return _mean(_forgotten(r))


def worst_forgetting(r: R) -> Score:
    """max_{j<T} f_j, with f_j as in `forgetting`."""
    drops = _forgotten(r)
    return np.asarray(drops.max(axis=-1, initial=-np.inf if drops.shape[-1] else np.nan))


def intransigence(r: R, joint: R) -> Score:
    """1/T sum_k (a*_k - R[k, k]), a*_k being R[k, k] of a model trained on tasks 1 to k together."""
    return np.asarray((_learned(joint) - _learned(r)).mean(axis=-1))


def _learned(r: R) -> Float[np.ndarray, "*replicates tasks"]:
    return np.asarray(np.diagonal(r[..., 1:, :], axis1=-2, axis2=-1))


def _forgotten(r: R) -> Float[np.ndarray, "*replicates tasks_but_one"]:
    best = r[..., 1:-1, :].max(axis=-2, initial=0)
    return np.asarray(best - r[..., -1, :])[..., :-1]


def _mean(values: Float[np.ndarray, "*replicates n"]) -> Score:
    return (
        np.asarray(values.mean(axis=-1)) if values.shape[-1] else np.full(values.shape[:-1], np.nan)
    )


METRICS = (
    Metric(
        "ACC", acc, "mean accuracy at the end; also called RA, A_T", "Lopez-Paz and Ranzato 2017"
    ),
    Metric(
        "ACC_told",
        acc,
        "ACC with each example's task told at test: Mammoth's Task-IL",
        "Buzzega et al. 2020",
        ("R_told",),
    ),
    Metric("LA", la, "mean accuracy right after learning", "Riemer et al. 2019"),
    Metric("BWT", bwt, "backward transfer, over T-1 tasks", "Lopez-Paz and Ranzato 2017, eq. 3"),
    Metric("BTI", bti, "backward transfer and interference, over T tasks", "Riemer et al. 2019"),
    Metric(
        "FWT",
        fwt,
        "forward transfer against the untrained model",
        "Lopez-Paz and Ranzato 2017, eq. 4",
    ),
    Metric(
        "forgetting",
        forgetting,
        "mean drop from a task's best earlier accuracy",
        "Chaudhry et al. 2018",
        higher_is_better=False,
    ),
    Metric(
        "worst_forgetting",
        worst_forgetting,
        "largest such drop",
        "Chaudhry et al. 2019",
        higher_is_better=False,
    ),
    Metric(
        "intransigence",
        intransigence,
        "shortfall right after learning against joint training, or where that was not run the first upper bound by name, on "
        "the seeds that it has too",
        "Chaudhry et al. 2018",
        ("R", "joint"),
        higher_is_better=False,
        version=2,
    ),
)
