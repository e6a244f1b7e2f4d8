"""Scores in which test examples count alike, whatever their task; and those of the incoming ones.

A stream whose experiences are not its tasks may have classes of one task in many experiences.
"""

import numpy as np
from jaxtyping import Float, Int64

from retrograde.metrics.metric import Metric, R, Score
from retrograde.records.class_counts import ClassCounts
from retrograde.records.experiences import Experiences
from retrograde.records.online_accuracy import OnlineAccuracy
from retrograde.records.prequential import Prequential
from retrograde.records.record import Record

Pooled = Float[np.ndarray, "*replicates experiences"]
"""The pooled accuracy after each experience."""


def seen_accuracy(record: Record) -> Pooled:
    """The pooled accuracy on the classes seen so far, or else on the tasks seen so far."""
    if record.classes:
        counts = record.classes
        return accuracy_so_far(
            np.array(counts.correct), np.array(counts.examples), np.array(counts.first)
        )
    first = np.array(record.timeline.first)
    return accuracy_so_far(np.array(record.correct), np.array(record.test_examples), first)


def accuracy_so_far(
    correct: Float[np.ndarray, "*replicates rows n"] | Int64[np.ndarray, "*replicates rows n"],
    examples: Float[np.ndarray, " n"] | Int64[np.ndarray, " n"],
    first: Int64[np.ndarray, " n"],
) -> Pooled:
    """The share of correct answers among the test examples of everything seen so far.

    Args:
        correct: the number of correct answers on each class or task; a row before training and
            after each experience.
        examples: the number of test examples of each.
        first: the experience, from 0, in which each is first seen.
    """
    experiences = np.arange(correct.shape[-2] - 1)
    seen = first <= experiences[:, None]
    tests = (examples * seen).sum(axis=-1)
    right = (correct[..., 1:, :] * seen).sum(axis=-1)
    return np.asarray(right / np.where(tests > 0, tests, np.nan))


def average_incremental_accuracy(seen: Pooled) -> Score:
    """Average incremental accuracy: 1/E sum_i A_i, with A_i the pooled accuracy on what is seen."""
    return np.asarray(seen.mean(axis=-1))


def pooled_acc(r: R, examples: Int64[np.ndarray, "*replicates tasks"]) -> Score:
    """Accuracy on the test examples of all tasks at the end: sum_j n_j R[E, j] / sum_j n_j."""
    right = (r[..., -1, :] * examples).sum(axis=-1)
    return np.asarray(right / examples.sum(axis=-1))


def area_under_curve(history: OnlineAccuracy, timeline: Experiences) -> float:
    """Area under the curve of accuracy over steps, divided by the number of steps.

    The accuracy is pooled over the tasks seen so far, and straight between tests (trapezoids).
    """
    tests = np.cumsum([0, *history.test_examples])
    seen = [timeline.seen(experience) for experience in history.task]
    right = [sum(counts[:n]) for counts, n in zip(history.correct, seen, strict=True)]
    accuracy = right / tests[seen]
    step = np.array(history.step)
    between = (accuracy[1:] + accuracy[:-1]) / 2
    return float((between * np.diff(step)).sum() / step[-1])


def recency_bias(classes: ClassCounts, timeline: Experiences) -> float:
    """Share of the predictions at the end that are newest classes, less their share of tests.

    Classes that never came in training are left out of both. The newest classes are those that
    come first in the last experience. NaN if there are none or no others, or if predictions were
    not counted.
    """
    if not classes.predicted:
        return float("nan")
    predicted = np.array(classes.predicted[-1])
    tests = np.bincount(classes.output, weights=classes.examples, minlength=len(predicted))
    first = np.full(len(predicted), timeline.count)
    np.minimum.at(first, classes.output, classes.first)
    newest = first == timeline.count - 1
    seen = first < timeline.count
    # in one experience, all classes are equally new
    if not newest.any() or newest.sum() == seen.sum() or not predicted[seen].any():
        return float("nan")
    share = predicted[newest].sum() / predicted[seen].sum()
    return float(share - tests[newest].sum() / tests[seen].sum())


def online_acc(prequential: Prequential) -> float:
    """Accuracy on incoming examples before training on them: sum_i correct_i / sum_i examples_i."""
    return sum(prequential.correct) / sum(prequential.examples)


POOLED = (
    Metric(
        "AIA",
        average_incremental_accuracy,
        "average incremental accuracy: pooled over the test examples of the classes seen so far",
        "Rebuffi et al. 2017",
        ("seen",),
    ),
    Metric(
        "ACC_pooled",
        pooled_acc,
        "accuracy at the end, pooled over the test examples of all tasks",
        "Rebuffi et al. 2017",
        ("R", "examples"),
    ),
    Metric(
        "AUC",
        area_under_curve,
        "area under the curve of accuracy on the tasks seen so far, over steps",
        "after Koh et al. 2022",
        ("online_accuracy", "timeline"),
    ),
    Metric(
        "recency_bias",
        recency_bias,
        "share of predictions that are classes of the last experience, less their share of tests",
        "ours, after Chrysakis and Moens 2023",
        ("classes", "timeline"),
        higher_is_better=False,
    ),
    Metric(
        "online_ACC",
        online_acc,
        "accuracy on incoming examples before they are trained on",
        "Cai et al. 2021",
        ("prequential",),
    ),
)
