"""Scores: pure functions of the accuracy matrix R, each with its name, version and source.

R has one row before training and one after each of E experiences, and T columns. R[i, j] is the
accuracy on task j after experience i; tasks and experiences count from 1 in the formulas, from 0 in
the arrays. Task j is first seen in experience s_j and counts as learned after experience l_j. Where
each experience trains one task, E = T and s_j = l_j = j: the scores are then those of the sources.
"""

import numpy as np
from jaxtyping import Bool, Float

from retrograde.metrics.metric import Metric, OfTasks, R, Score


def acc(r: R) -> Score:
    """Mean accuracy at the end: 1/T sum_j R[E, j]."""
    return np.asarray(r[..., -1, :].mean(axis=-1))


def la(r: R, learned: OfTasks) -> Score:
    """Mean accuracy on each task right after it was learned: 1/T sum_j R[l_j, j]."""
    return np.asarray(_at_learning(r, learned).mean(axis=-1))


def bwt(r: R, learned: OfTasks) -> Score:
    """Backward transfer: the mean of R[E, j] - R[l_j, j] over the tasks with l_j < E; NaN if none.

    With an experience for each task, 1/(T-1) sum_{j<T} (R[T, j] - R[j, j]).
    """
    changes = r[..., -1, :] - _at_learning(r, learned)
    return _mean(changes, before_last(r, learned))


def bti(r: R, learned: OfTasks) -> Score:
    """Backward transfer and interference: 1/T sum_j (R[E, j] - R[l_j, j]).

    A task that is learned last has a term of 0 and is included.
    """
    changes = r[..., -1, :] - _at_learning(r, learned)
    return np.asarray(changes.mean(axis=-1))


def fwt(r: R, first: OfTasks) -> Score:
    """Forward transfer: the mean of R[s_j - 1, j] - R[0, j] over the tasks with s_j > 1.

    It is NaN if there is none. With an experience for each task, 1/(T-1) sum_{j>1} (R[j-1, j] -
    R[0, j]).
    """
    # counted from 0, the row of this number is the one before the experience
    changes = _picked(r, first) - r[..., 0, :]
    return _mean(changes, first > 0)


def forgetting(r: R, learned: OfTasks) -> Score:
    """Mean forgetting: the mean of f_j = max_{1<=i<E} R[i, j] - R[E, j].

    It is over the tasks with l_j < E, and NaN if there is none. A term is below 0 where the last
    accuracy on a task is its best.
    """
    return _mean(forgetting_by_task(r), before_last(r, learned))


def worst_forgetting(r: R, learned: OfTasks) -> Score:
    """Largest forgetting of a task: max f_j over the tasks of `forgetting`; NaN without one."""
    drops = np.compress(before_last(r, learned), forgetting_by_task(r), axis=-1)
    # the maximum of nothing is the initial value
    initial = -np.inf if drops.shape[-1] else np.nan
    return np.asarray(drops.max(axis=-1, initial=initial))


def intransigence(r: R, joint: R, learned: OfTasks) -> Score:
    """Mean shortfall against joint training: 1/T sum_j (a*_j - R[l_j, j]).

    Args:
        r: the accuracy matrix.
        joint: the matrix of a model whose a*_j = R[l_j, j] follows training on everything up to
            experience l_j together.
        learned: l_j of each task.
    """
    shortfall = _at_learning(joint, learned) - _at_learning(r, learned)
    return np.asarray(shortfall.mean(axis=-1))


def before_last(r: R, learned: OfTasks) -> Bool[np.ndarray, " tasks"]:
    """True for the tasks that are learned before the last experience."""
    return np.asarray(learned < r.shape[-2] - 2)


def _at_learning(r: R, learned: OfTasks) -> Float[np.ndarray, "*replicates tasks"]:
    """The accuracy on each task right after it was learned."""
    return _picked(r, learned + 1)


def _picked(r: R, row: OfTasks) -> Float[np.ndarray, "*replicates tasks"]:
    """The accuracy on each task in a row of its own."""
    # a sum depends on the layout in memory, and indexing would transpose it
    return np.ascontiguousarray(r[..., row, np.arange(len(row))])


def forgetting_by_task(r: R) -> Float[np.ndarray, "*replicates tasks"]:
    """The forgetting of each task, also of those that are learned last."""
    # with one experience there is no row to take the maximum of
    best = r[..., 1:-1, :].max(axis=-2, initial=0)
    return np.asarray(best - r[..., -1, :])


def _mean(
    values: Float[np.ndarray, "*replicates tasks"], chosen: Bool[np.ndarray, " tasks"]
) -> Score:
    """The mean over the chosen tasks; NaN where there is none."""
    some = np.compress(chosen, values, axis=-1)
    *replicates, n = some.shape
    return np.asarray(some.mean(axis=-1)) if n else np.full(replicates, np.nan)


_LEARNED = ("R", "learned")
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
    Metric(
        "ACC_validation",
        acc,
        "ACC on the validation examples, which are held out of the training data",
        "Lopez-Paz and Ranzato 2017",
        ("R_validation",),
    ),
    Metric("LA", la, "mean accuracy right after learning", "Riemer et al. 2019", _LEARNED),
    Metric(
        "BWT",
        bwt,
        "backward transfer, over T-1 tasks",
        "Lopez-Paz and Ranzato 2017, eq. 3",
        _LEARNED,
    ),
    Metric(
        "BTI",
        bti,
        "backward transfer and interference, over T tasks",
        "Riemer et al. 2019",
        _LEARNED,
    ),
    Metric(
        "FWT",
        fwt,
        "forward transfer against the untrained model",
        "Lopez-Paz and Ranzato 2017, eq. 4",
        ("R", "first"),
    ),
    Metric(
        "forgetting",
        forgetting,
        "mean drop from a task's best earlier accuracy",
        "Chaudhry et al. 2018",
        _LEARNED,
        higher_is_better=False,
    ),
    Metric(
        "worst_forgetting",
        worst_forgetting,
        "largest such drop",
        "Chaudhry et al. 2019",
        _LEARNED,
        higher_is_better=False,
    ),
    Metric(
        "intransigence",
        intransigence,
        "shortfall right after learning against joint training, or where that was not run the "
        "first upper bound by name, on the seeds that it has too",
        "Chaudhry et al. 2018",
        ("R", "joint", "learned"),
        higher_is_better=False,
        version=2,
    ),
)
