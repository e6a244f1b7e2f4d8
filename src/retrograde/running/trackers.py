"""Trackers: programs that show curves of many runs, and what they are given of a record."""

import importlib.util
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from retrograde.errors import UserError, nearest, shown
from retrograde.records.record import Record

TRACKERS = ("tensorboard",)
"""The trackers; each is a package, and an extra of the same name installs it."""


class Point(NamedTuple):
    """One point of a curve.

    Attributes:
        curve: the name of the curve.
        step: the experience for curves of accuracy and error; a training step for those during
            experiences and for statistics.
        value: the value.
    """

    curve: str
    step: int
    value: float


def check_tracker(name: str) -> None:
    """Raise `UserError` if a tracker is unknown or not installed."""
    if name not in TRACKERS:
        raise UserError(
            f"Curves are logged for {', '.join(TRACKERS)}; log was {shown(name)}. "
            f"{nearest(name, TRACKERS)}"
        )
    if importlib.util.find_spec(name) is None:
        raise UserError(
            f"log={name} needs the package {name}, which is not installed. Install the extra: "
            f"pip install -c constraints.txt '.[{name}]'."
        )


def track(record: Record, store: Path) -> None:
    """Write the curves of a record to a store, as TensorBoard reads them; none if it has failed."""
    if record.status == "failed":
        return
    from torch.utils.tensorboard import SummaryWriter

    folder = curves_folder(record, store)
    # TensorBoard would show the curves of an earlier record of the replicate as well.
    shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(str(folder)) as writer:
        writer.add_text("cell", record.cell.spec)
        for point in curves(record):
            writer.add_scalar(point.curve, point.value, point.step)


def curves_folder(record: Record, store: Path) -> Path:
    """The folder of the curves of a record in a store."""
    return store.joinpath("tensorboard", record.cell.path, f"seed-{record.seed}")


def curves(record: Record) -> Iterator[Point]:
    """The curves of a record, point by point."""
    errors = record.MSE
    if errors is not None:
        yield from _by_experience("MSE", errors)
    elif record.correct:
        yield from _by_experience("accuracy", record.R)
    if record.online_accuracy:
        steps = record.online_accuracy.step
        means = np.nanmean(record.online_accuracy.accuracy, axis=1).tolist()
        yield from _curve("accuracy during experiences", steps, means)
    if record.prequential:
        counts = zip(record.prequential.correct, record.prequential.examples, strict=True)
        rates = [right / examples if examples else None for right, examples in counts]
        yield from _curve("online accuracy", range(1, len(rates) + 1), rates)
    if record.statistics:
        for name, values in record.statistics.means.items():
            yield from _curve(f"statistics/{name}", record.statistics.step, values)
    if record.adaptation:
        evaluations = record.adaptation.evaluations
        iterations = [evaluation.iteration for evaluation in evaluations]
        losses = [evaluation.loss[-1] for evaluation in evaluations]
        yield from _curve("validation loss after adaptation", iterations, losses)


def _curve(name: str, steps: Sequence[int], values: Sequence[float | None]) -> Iterator[Point]:
    """A curve, without the points whose value was not finite."""
    for step, value in zip(steps, values, strict=True):
        if value is not None:
            yield Point(name, step, value)


def _by_experience(name: str, matrix: np.ndarray) -> Iterator[Point]:
    """The curves of a matrix whose rows are before training and after each experience."""
    for experience, row in enumerate(matrix):
        yield Point(f"{name}/mean of all tasks", experience, float(row.mean()))
        for task, value in enumerate(row):
            yield Point(f"{name} by task/task {task + 1}", experience, float(value))
