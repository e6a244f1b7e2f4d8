"""Scores of the whole way along a stream, not of task ends alone: pure functions of the accuracies at every test on it.

A[n, i] is the accuracy on task i at test n, of the course of one replicate; tests come every so many steps (`test_every`) and
at task ends. e_k is the test at the end of task k, and test 0 comes before any training.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
from jaxtyping import Float

from retrograde.metrics.metric import Metric
from retrograde.records.online_accuracy import Course


def average_anytime_accuracy(course: Course) -> float:
    """Over all tests after the first, the mean of the mean accuracy on the tasks so far, the one in training included."""
    so_far = [
        row[: task + 1].mean() for task, row in zip(course.task, course.accuracy, strict=True)
    ]
    return float(np.mean(so_far[1:]))


def min_acc(course: Course) -> float:
    """1/(T-1) sum_{i<T} min_{n > e_i} A[n, i]: how low a task ever falls once another is learned."""
    accuracy = course.accuracy
    return _mean([accuracy[end + 1 :, task].min() for task, end in enumerate(course.ends[:-1])])


def wc_acc(course: Course) -> float:
    """1/T A[e_T, T] + (1 - 1/T) min-ACC: the worst case of the earlier tasks, beside the last one."""
    tasks, last = len(course.tests), float(course.accuracy[-1, -1])
    return last if tasks == 1 else last / tasks + (1 - 1 / tasks) * min_acc(course)


def stability_gap(course: Course) -> float:
    """The mean of A[e_k, i] - min_{e_k <= n <= e_(k+1)} A[n, i] over each switch to task k + 1 and each task i <= k.

    By how much a task falls below what it was at the switch, at worst while the next task is learned; at least 0. It does not
    ask whether that comes back: see `recovery`.
    """
    return _mean([way[0] - way.min() for way in _after_switches(course)])


def recovery(course: Course) -> float:
    """The mean of A[e_(k+1), i] - min_{e_k <= n <= e_(k+1)} A[n, i], likewise, over the stability gap.

    The share of the fall that is made up for when that task ends; NaN where nothing fell.
    """
    gap = stability_gap(course)
    return (
        _mean([way[-1] - way.min() for way in _after_switches(course)]) / gap
        if gap
        else float("nan")
    )


def windowed_forgetting(course: Course, window: int) -> float:
    """1/T sum_i max A[m, i] - A[n, i] over tests m < n less than so many steps apart: the steepest fall, at least 0.

    From before its training on. NaN where two tests that follow each other are not.
    """
    return float(np.mean([_steepest(course, -way, window) for way in course.accuracy.T]))


def windowed_plasticity(course: Course, window: int) -> float:
    """The same of A[n, i] - A[m, i]: the steepest rise."""
    return float(np.mean([_steepest(course, way, window) for way in course.accuracy.T]))


def learning_curve_area(course: Course, beta: int) -> float:
    """The mean over tasks of the mean accuracy on a task at the tests after 0 to beta steps of its training.

    1/(beta+1) sum_b Z_b where every step is tested. NaN where there is no test after beta steps of each task.
    """
    areas, accuracy, step = [], course.accuracy, np.array(course.step)
    for task, start in enumerate([0, *course.ends[:-1]]):
        early = slice(start, course.ends[task] + 1)
        since = step[early] - step[start]
        areas.append(accuracy[early, task][since <= beta].mean() if beta in since else np.nan)
    return float(np.mean(areas))


def _after_switches(course: Course) -> Iterator[Float[np.ndarray, " test"]]:
    """For each switch and each task before it: its accuracy from there to the end of the next task."""
    accuracy = course.accuracy
    for number, (start, end) in enumerate(zip(course.ends, course.ends[1:], strict=False)):
        yield from accuracy[start : end + 1, : number + 1].T


def _steepest(course: Course, way: Float[np.ndarray, " test"], window: int) -> float:
    step, lags = np.array(course.step), range(1, min(window, len(course.step)))
    if np.diff(step).max(initial=0) >= window:
        return float("nan")
    rises = [(way[lag:] - way[:-lag])[step[lag:] - step[:-lag] < window] for lag in lags]
    found = np.concatenate([np.empty(0), *rises])
    found = found[np.isfinite(found)]
    return float(found.max(initial=0)) if len(found) else float("nan")


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


_WINDOWS, _BETA, _DE_LANGE = (10, 100), 10, "De Lange et al. 2023"
METRICS = (
    Metric(
        "AAA",
        average_anytime_accuracy,
        "average anytime accuracy on the tasks so far",
        "Caccia et al. 2022",
        ("course",),
    ),
    Metric(
        "min_ACC", min_acc, "lowest accuracy on a task after it was learned", _DE_LANGE, ("course",)
    ),
    Metric(
        "WC_ACC",
        wc_acc,
        "worst case: of min_ACC and the accuracy on the last task",
        _DE_LANGE,
        ("course",),
    ),
    Metric(
        "stability_gap",
        stability_gap,
        "fall of an earlier task while the next one is learned, at its worst",
        f"after {_DE_LANGE}",
        ("course",),
        higher_is_better=False,
    ),
    Metric(
        "recovery",
        recovery,
        "share of that fall made up for when that task ends",
        f"ours, after {_DE_LANGE}",
        ("course",),
    ),
    *(
        Metric(
            f"WF{window}",
            partial(windowed_forgetting, window=window),
            f"steepest fall within {window} steps",
            _DE_LANGE,
            ("course",),
            higher_is_better=False,
        )
        for window in _WINDOWS
    ),
    *(
        Metric(
            f"WP{window}",
            partial(windowed_plasticity, window=window),
            f"steepest rise within {window} steps",
            _DE_LANGE,
            ("course",),
        )
        for window in _WINDOWS
    ),
    Metric(
        f"LCA{_BETA}",
        partial(learning_curve_area, beta=_BETA),
        f"mean accuracy on a task at steps 0 to {_BETA} of it",
        "Chaudhry et al. 2019",
        ("course",),
    ),
)
