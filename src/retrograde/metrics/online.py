"""Scores of online accuracy: pure functions of the accuracies at every test along a stream.

A[n, i] is the accuracy on task i at test n, of one replicate. Tests come every `eval_every` steps
and at the ends of experiences. e_k is the test at the end of experience k, and test 0 comes before
any training. The formulas are those of a stream in which experience k trains task k. In others,
task i is seen from its first experience on, and learned at the end of its last one (`Experiences`).
"""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from retrograde.metrics.metric import Metric
from retrograde.records.experiences import Experiences
from retrograde.records.online_accuracy import OnlineAccuracy


def average_anytime_accuracy(history: OnlineAccuracy, timeline: Experiences) -> float:
    """Mean accuracy on the tasks so far, over all tests after the first.

    The task in training is among the tasks so far.
    """
    tests = zip(history.task, history.accuracy, strict=True)
    so_far = [row[: timeline.seen(experience)].mean() for experience, row in tests]
    # test 0 comes before any training
    return float(np.mean(so_far[1:]))


def min_acc(history: OnlineAccuracy, timeline: Experiences) -> float:
    """Mean of the lowest accuracy on a task after its end: 1/(T-1) sum_{i<T} min_{n > e_i} A[n, i].

    It is over the tasks that are learned before the last experience; NaN if there is none.
    """
    accuracy = history.accuracy
    ends = history.ends[timeline.learned]
    after_end = [accuracy[end + 1 :, task] for task, end in enumerate(ends)]
    return _mean([later.min() for later in after_end if len(later)])


def wc_acc(history: OnlineAccuracy, timeline: Experiences) -> float:
    """Worst-case accuracy: 1/T A[e_T, T] + (1 - 1/T) min-ACC.

    It combines the task or tasks learned last, at the end, with the worst case of the earlier ones.
    """
    tasks = len(history.test_examples)
    learned_last = np.array(timeline.learned) == timeline.count - 1
    last = history.accuracy[-1, learned_last]
    at_end = float(last.sum() / tasks)
    if len(last) == tasks:
        return at_end
    return at_end + (1 - len(last) / tasks) * min_acc(history, timeline)


def stability_gap(history: OnlineAccuracy, timeline: Experiences) -> float:
    """Largest fall of an earlier task while the next one is learned, at least 0.

    The mean of A[e_k, i] - min_{e_k <= n <= e_(k+1)} A[n, i] over each switch to task k + 1 and
    each task i <= k. It does not say if the fall is made up for: see `recovery`.
    """
    falls = [curve[0] - curve.min() for curve in _after_switches(history, timeline)]
    return _mean(falls)


def recovery(history: OnlineAccuracy, timeline: Experiences) -> float:
    """Share of the stability gap that is made up for when the next task ends.

    The mean of A[e_(k+1), i] - min_{e_k <= n <= e_(k+1)} A[n, i] over the same switches and tasks
    as in `stability_gap`, divided by that gap. NaN where nothing fell.
    """
    gap = stability_gap(history, timeline)
    if not gap:
        return float("nan")
    rises = [curve[-1] - curve.min() for curve in _after_switches(history, timeline)]
    return _mean(rises) / gap


def windowed_forgetting(history: OnlineAccuracy, window: int) -> float:
    """Steepest fall of a task within a window: 1/T sum_i max A[m, i] - A[n, i], at least 0.

    The maximum is over tests m < n, from before training on.

    Args:
        history: the accuracies along a stream.
        window: m and n are less than this number of steps apart. The score is NaN where two
            consecutive tests are not.
    """
    falls = [_steepest(history, -curve, window) for curve in history.accuracy.T]
    return float(np.mean(falls))


def windowed_plasticity(history: OnlineAccuracy, window: int) -> float:
    """Steepest rise of a task within a window: as `windowed_forgetting`, of A[n, i] - A[m, i]."""
    rises = [_steepest(history, curve, window) for curve in history.accuracy.T]
    return float(np.mean(rises))


def learning_curve_area(history: OnlineAccuracy, timeline: Experiences, beta: int) -> float:
    """Mean accuracy on a task at the tests after 0 to beta steps of its training, over all tasks.

    It is 1/(beta+1) sum_b Z_b where every step is tested, and NaN where some task has no test after
    beta steps of its first experience.
    """
    accuracy = history.accuracy
    step = np.array(history.step)
    bounds = [0, *history.ends]
    areas = []
    for task, experience in enumerate(timeline.first):
        start = bounds[experience]
        during = slice(start, bounds[experience + 1] + 1)
        since = step[during] - step[start]
        early = accuracy[during, task][since <= beta]
        # without a test at beta the mean would be of a shorter curve
        areas.append(early.mean() if beta in since else np.nan)
    return float(np.mean(areas))


def _after_switches(
    history: OnlineAccuracy, timeline: Experiences
) -> Iterator[Float[np.ndarray, " test"]]:
    """The accuracy on a task seen before from a switch to the end of the next experience.

    One curve for each switch and each task seen before it.
    """
    accuracy = history.accuracy
    for number, (start, end) in enumerate(pairwise(history.ends)):
        yield from accuracy[start : end + 1, : timeline.seen(number)].T


def _steepest(history: OnlineAccuracy, curve: Float[np.ndarray, " test"], window: int) -> float:
    """The largest rise of a curve between tests less than `window` steps apart, at least 0."""
    step = np.array(history.step)
    if np.diff(step).max(initial=0) >= window:
        return float("nan")
    rises = [np.empty(0)]
    # tests are at least one step apart, so that no longer lag fits into the window
    for lag in range(1, min(window, len(step))):
        close = step[lag:] - step[:-lag] < window
        differences = curve[lag:] - curve[:-lag]
        rises.append(differences[close])
    every = np.concatenate(rises)
    known = every[np.isfinite(every)]
    return float(known.max(initial=0)) if len(known) else float("nan")


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


_WINDOWS = (10, 100)
_BETA = 10
_ALONG = ("online_accuracy", "timeline")
_DE_LANGE = "De Lange et al. 2023"
METRICS = (
    Metric(
        "AAA",
        average_anytime_accuracy,
        "average anytime accuracy on the tasks so far",
        "Caccia et al. 2022",
        _ALONG,
    ),
    Metric(
        "min_ACC",
        min_acc,
        "lowest accuracy on a task after it was learned",
        _DE_LANGE,
        _ALONG,
    ),
    Metric(
        "WC_ACC",
        wc_acc,
        "worst case: of min_ACC and the accuracy on the last task",
        _DE_LANGE,
        _ALONG,
    ),
    Metric(
        "stability_gap",
        stability_gap,
        "fall of an earlier task while the next one is learned, at its worst",
        f"after {_DE_LANGE}",
        _ALONG,
        higher_is_better=False,
    ),
    Metric(
        "recovery",
        recovery,
        "share of that fall made up for when that task ends",
        f"ours, after {_DE_LANGE}",
        _ALONG,
    ),
    *(
        Metric(
            f"WF{window}",
            partial(windowed_forgetting, window=window),
            f"steepest fall within {window} steps",
            _DE_LANGE,
            ("online_accuracy",),
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
            ("online_accuracy",),
        )
        for window in _WINDOWS
    ),
    Metric(
        f"LCA{_BETA}",
        partial(learning_curve_area, beta=_BETA),
        f"mean accuracy on a task at steps 0 to {_BETA} of it",
        "Chaudhry et al. 2019",
        _ALONG,
    ),
)
