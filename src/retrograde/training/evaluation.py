"""Evaluation: the predictions for test examples, compared with their labels."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64
from torch import Tensor

from retrograde.streams.rows import Rows


class Predictions(NamedTuple):
    """The prediction for each test example, and its correctness.

    Attributes:
        predicted: The output unit that is predicted under the rule of the scenario.
        correct: True if the prediction is correct under the rule of the scenario.
        correct_given_task: True if the prediction is correct with the task given.
        confidence: The softmax of the scores at the predicted unit.
        finite: True if no score was NaN and every parameter was finite.
    """

    predicted: Int64[np.ndarray, "replicate row"]
    correct: Bool[np.ndarray, "replicate row"]
    correct_given_task: Bool[np.ndarray, "replicate row"]
    confidence: Float32[np.ndarray, "replicate row"]
    finite: Bool[np.ndarray, " replicate"]


class Errors(NamedTuple):
    """The error of the prediction for each test example, in regression.

    Attributes:
        squared: The squared error, averaged over the values of an example.
        finite: True if every error and every parameter was finite.
    """

    squared: Float64[np.ndarray, "replicate row"]
    finite: Bool[np.ndarray, " replicate"]


class Compared(NamedTuple):
    """The comparison of scores with labels, row by row.

    Attributes:
        predicted: The output unit that is predicted under the rule of the scenario.
        correct: True if the prediction is correct under the rule of the scenario.
        correct_given_task: True if the prediction is correct with the task given.
        confidence: The softmax of the scores at the predicted unit.
        finite: True if no score is NaN.
    """

    predicted: Int64[Tensor, "*row"]
    correct: Bool[Tensor, "*row"]
    correct_given_task: Bool[Tensor, "*row"]
    confidence: Float32[Tensor, "*row"]
    finite: Bool[Tensor, "*row"]


def compare(
    scores: Float[Tensor, "*row unit"],
    y: Int64[Tensor, "*row"],
    own_units: Bool[Tensor, "*row unit"],
    task_is_given: bool,
) -> Compared:
    """Compare the unit with the highest score with the right one.

    Args:
        scores: A score for each output unit.
        y: The output unit that is right.
        own_units: True for the output units of the example's task.
        task_is_given: True if the scenario gives the task at test.
    """
    # Units of other tasks are out of the question if the task is given.
    of_task = scores.masked_fill(~own_units, -torch.inf)
    best_of_task = of_task.argmax(-1)
    admitted = of_task if task_is_given else scores
    best = best_of_task if task_is_given else scores.argmax(-1)
    confidence = admitted.float().softmax(-1).amax(-1)
    return Compared(best, best == y, best_of_task == y, confidence, ~scores.isnan().any(-1))


def correct_per_task(
    correct: Bool[np.ndarray, " row"],
    rows: Int64[Rows, "chunk row"],
    tasks: int,
) -> list[int]:
    """Number of correct predictions on each task.

    Args:
        correct: True for each row whose prediction is correct.
        rows: The rows of one replicate, in chunks; padding has weight 0 and is not counted.
        tasks: Number of tasks of the stream.
    """
    flat = rows.reshape(-1)
    counts = np.bincount(flat.task, weights=correct & flat.real, minlength=tasks)
    by_task: list[int] = counts.astype(int).tolist()
    return by_task


def error_per_task(
    squared: Float64[np.ndarray, " row"],
    rows: Int64[Rows, "chunk row"],
    tasks: int,
) -> list[float]:
    """Sum of the squared errors on each task; see `correct_per_task`."""
    flat = rows.reshape(-1)
    sums = np.bincount(flat.task, weights=squared * flat.real, minlength=tasks)
    by_task: list[float] = sums.tolist()
    return by_task
