"""Scores of regression: pure functions of the matrix of mean squared errors.

M[i, j] is the mean squared error on task j after experience i, in the layout of the accuracy
matrix (`matrix.py`): row 0 is before training, task j is first seen in experience s_j and counts as
learned after experience l_j. Lower is better for all of them.
"""

import numpy as np
from jaxtyping import Float

from retrograde.metrics.matrix import acc, before_last, la
from retrograde.metrics.metric import Metric, OfTasks, R, Score


def mse(m: R) -> Score:
    """Mean squared error at the end: 1/T sum_j M[E, j]."""
    return acc(m)


def stream_mse(m: R, first: OfTasks) -> Score:
    """Mean over the stream: 1/E sum_i of the mean of M[i, j] over the tasks with s_j <= i."""
    after_each = m[..., 1:, :]
    experiences = np.arange(after_each.shape[-2])[:, None]
    seen = experiences >= first
    means = (after_each * seen).sum(axis=-1) / seen.sum(axis=-1)
    return np.asarray(means.mean(axis=-1))


def learning_mse(m: R, learned: OfTasks) -> Score:
    """Mean squared error on each task right after it was learned: 1/T sum_j M[l_j, j]."""
    return la(m, learned)


def mse_forgetting(m: R, learned: OfTasks) -> Score:
    """Mean forgetting: the mean of M[E, j] - min_{1<=i<E} M[i, j] over the tasks with l_j < E.

    Above 0, the error on a task has risen from its lowest. It is NaN if there is no such task.
    """
    early = before_last(m, learned)
    if not early.any():
        return np.full(m.shape[:-2], np.nan)
    best: Float[np.ndarray, "*replicates tasks"] = m[..., 1:-1, :].min(axis=-2)
    rises = np.compress(early, m[..., -1, :] - best, axis=-1)
    return np.asarray(rises.mean(axis=-1))


_AS_ACCURACY = "with squared errors in place of accuracies"
ERRORS = tuple(
    Metric(name, of, what, source, ("MSE", *needs), higher_is_better=False, percent=False)
    for name, of, what, source, needs in (
        ("MSE", mse, "mean squared error at the end", "Javed and White 2019", ()),
        (
            "stream_MSE",
            stream_mse,
            "mean over experiences of the mean squared error on the tasks so far",
            "figure 3 of Javed and White 2019, averaged over its x-axis",
            ("first",),
        ),
        (
            "learning_MSE",
            learning_mse,
            "mean squared error right after learning",
            f"LA of Riemer et al. 2019, {_AS_ACCURACY}",
            ("learned",),
        ),
        (
            "MSE_forgetting",
            mse_forgetting,
            "mean rise from a task's lowest earlier mean squared error",
            f"forgetting of Chaudhry et al. 2018, {_AS_ACCURACY}",
            ("learned",),
        ),
    )
)
