"""Scores: pure functions of the accuracy matrix R, each with its name, version and source.

R has one row before training and one after each of T tasks, and T columns. R[i, j] is the accuracy
on task j after training task i; tasks count from 1 in the formulas, from 0 in the arrays.
"""

import numpy as np
from jaxtyping import Float

from retrograde.metrics.metric import Metric, R, Score


def acc(r: R) -> Score:
    """Mean accuracy after the last task: 1/T sum_i R[T, i]."""
    return np.asarray(r[..., -1, :].mean(axis=-1))


def la(r: R) -> Score:
    """Mean accuracy on each task right after it was trained: 1/T sum_i R[i, i]."""
    return np.asarray(_learned(r).mean(axis=-1))


def bwt(r: R) -> Score:
    """Backward transfer: 1/(T-1) sum_{i<T} (R[T, i] - R[i, i]); NaN for one task."""
    changes = r[..., -1, :] - _learned(r)
    return _mean(changes[..., :-1])


def bti(r: R) -> Score:
    """Backward transfer and interference: 1/T sum_i (R[T, i] - R[i, i]).

    The last task, whose term is 0, is included.
    """
    changes = r[..., -1, :] - _learned(r)
    return np.asarray(changes.mean(axis=-1))


def fwt(r: R) -> Score:
    """Forward transfer: 1/(T-1) sum_{i>1} (R[i-1, i] - R[0, i]); NaN for one task."""
    # the diagonal of the array is the row before each task: row 0 comes before training
    before = np.diagonal(r, axis1=-2, axis2=-1)
    changes = before - r[..., 0, :]
    return _mean(changes[..., 1:])


def forgetting(r: R) -> Score:
    """Mean forgetting: 1/(T-1) sum_{j<T} f_j, with f_j = max_{1<=l<T} R[l, j] - R[T, j].

    A term is below 0 where the last accuracy on a task is its best. NaN for one task.
    """
    return _mean(_forgotten(r))


def worst_forgetting(r: R) -> Score:
    """Largest forgetting of a task: max_{j<T} f_j, f_j as in `forgetting`; NaN for one task."""
    drops = _forgotten(r)
    # the maximum of nothing is the initial value
    initial = -np.inf if drops.shape[-1] else np.nan
    return np.asarray(drops.max(axis=-1, initial=initial))


def intransigence(r: R, joint: R) -> Score:
    """Mean shortfall against joint training: 1/T sum_k (a*_k - R[k, k]).

    Args:
        r: the accuracy matrix.
        joint: the matrix of a model whose a*_k = R[k, k] follows training on tasks 1 to k together.
    """
    shortfall = _learned(joint) - _learned(r)
    return np.asarray(shortfall.mean(axis=-1))


def _learned(r: R) -> Float[np.ndarray, "*replicates tasks"]:
    """The accuracy on each task right after it was trained."""
    return np.asarray(np.diagonal(r[..., 1:, :], axis1=-2, axis2=-1))


def _forgotten(r: R) -> Float[np.ndarray, "*replicates tasks_but_one"]:
    """The forgetting f_j of each task but the last."""
    # with one task there is no row to take the maximum of
    best = r[..., 1:-1, :].max(axis=-2, initial=0)
    drops = np.asarray(best - r[..., -1, :])
    return drops[..., :-1]


def _mean(values: Float[np.ndarray, "*replicates n"]) -> Score:
    """The mean over the last axis; NaN where that is empty."""
    *replicates, n = values.shape
    return np.asarray(values.mean(axis=-1)) if n else np.full(replicates, np.nan)


METRICS = (
    Metric(
        "ACC", acc, "mean accuracy at the end; also called RA, A_T", "Lopez-Paz and Ranzato 2017"
    ),
    Metric(
        "ACC_task_aware",
        acc,
        "ACC with the task given at test: Mammoth's Task-IL",
        "Buzzega et al. 2020",
        ("R_task_aware",),
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
        "shortfall right after learning against joint training, or where that was not run the "
        "first upper bound by name, on the seeds that it has too",
        "Chaudhry et al. 2018",
        ("R", "joint"),
        higher_is_better=False,
        version=2,
    ),
)
