"""Scores of an accuracy matrix that other code has made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64
from pydantic import TypeAdapter, ValidationError

from retrograde.errors import UserError, shown
from retrograde.metrics.metric import Metric
from retrograde.metrics.pooled import accuracy_so_far
from retrograde.paths import reason
from retrograde.records.experiences import Experiences

Stack = Float[np.ndarray, "replicates rows tasks"]


def score_matrix(
    given: object,
    tests: object,
    experiences: object,
    wanted: Sequence[Metric],
) -> pd.DataFrame:
    """The metrics for which a matrix suffices, with the columns seed, metric and value.

    Args:
        given: a matrix or a stack of them: an array, nested lists or a CSV file.
        tests: the number of test examples of each task, if it has counts of right answers, or
            None.
        experiences: its `Experiences`; None if each trains one task, in order.
        wanted: the metrics.

    Raises:
        UserError: it is no such matrix.
    """
    matrix = _stack(given)
    timeline = _timeline(matrix, experiences)
    examples = None if tests is None else _counts(tests, matrix.shape[2])
    if examples is not None:
        matrix = _divided(matrix, examples)
    _check_accuracies(matrix)
    return _scored(_inputs(_with_first_row(matrix, timeline), timeline, examples), wanted)


def _inputs(
    matrix: Stack, timeline: Experiences, examples: Int64[np.ndarray, " tasks"] | None
) -> dict[str, Any]:
    """The inputs of metrics that a matrix has, by name."""
    first = np.array(timeline.first)
    inputs: dict[str, Any] = {"R": matrix, "first": first, "learned": np.array(timeline.learned)}
    if examples is not None:
        replicates, _, tasks = matrix.shape
        inputs["examples"] = np.broadcast_to(examples, (replicates, tasks))
        inputs["seen"] = accuracy_so_far(matrix * examples, examples, first)
    return inputs


def _scored(inputs: dict[str, Any], wanted: Sequence[Metric]) -> pd.DataFrame:
    """The metrics whose inputs are all there."""
    rows = []
    for metric in wanted:
        if inputs.keys() >= set(metric.needs):
            of_seeds = metric.of(*(inputs[need] for need in metric.needs))
            rows += [(seed, metric.name, float(value)) for seed, value in enumerate(of_seeds)]
    frame = pd.DataFrame(rows, columns=["seed", "metric", "value"])
    # Without a row before training, metrics of forward transfer are NaN.
    return frame.dropna().reset_index(drop=True)


def _timeline(matrix: Stack, experiences: object) -> Experiences:
    """The experiences of a matrix; raise `UserError` if they do not fit it."""
    _, rows, tasks = matrix.shape
    timeline = Experiences.one_per_task(tasks) if experiences is None else _checked(experiences)
    fault = timeline.inconsistency(tasks)
    if fault:
        raise UserError(f"The experiences of a matrix fit its {tasks} tasks. {fault}.")
    if rows - timeline.count not in (0, 1):
        raise UserError(
            "An accuracy matrix has a row after each experience, or one more before the first, and "
            f"a column for each task. There are {timeline.count} experiences, and its shape is "
            f"{_shape(matrix)}. If its experiences are not its tasks, say in Python which task "
            "comes when: rg.scores(matrix, experiences=rg.Experiences(count, first, learned))."
        )
    return timeline


def _checked(experiences: object) -> Experiences:
    try:
        return _EXPERIENCES.validate_python(vars(experiences))
    except (TypeError, ValidationError) as error:
        raise UserError(
            "experiences is an Experiences(count, first, learned) of whole numbers, at least 0; it "
            f"was {shown(experiences)}."
        ) from error


_EXPERIENCES = TypeAdapter(Experiences)


def _shape(matrix: np.ndarray) -> tuple[int, ...]:
    """The shape of a matrix as it was given: a single one without the axis of replicates."""
    shape = matrix.shape
    return shape[1:] if matrix.ndim == 3 and shape[0] == 1 else shape


def _with_first_row(
    matrix: Stack, timeline: Experiences
) -> Float[np.ndarray, "replicates all_rows tasks"]:
    """The matrix with a row before training, of NaN if it has none."""
    replicates, rows, tasks = matrix.shape
    if rows > timeline.count:
        return matrix
    before = np.full((replicates, 1, tasks), np.nan)
    return np.concatenate([before, matrix], axis=1)


def _divided(counts: Stack, examples: Int64[np.ndarray, " tasks"]) -> Stack:
    """The accuracies of counts of right answers."""
    if not (counts == np.round(counts)).all():
        raise UserError(
            "With tests, a matrix has counts of right answers, which are whole numbers; "
            "leave tests out for accuracies."
        )
    return np.asarray(counts / examples)


def _stack(given: object) -> Stack:
    """Numbers with three axes, none of them empty; raise `UserError` for anything else."""
    if isinstance(given, str | Path):
        given = _read(Path(given))
    try:
        matrix = _as_floats(given)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise UserError(
            f"An accuracy matrix holds numbers, as many in each row; it was {shown(given)}."
        ) from error
    if matrix.ndim == 2:
        matrix = matrix[None]
    if matrix.ndim != 3 or 0 in matrix.shape:
        raise UserError(
            "An accuracy matrix has a row after each of T tasks, or one more before the first, and "
            f"T columns; its shape is {_shape(matrix)}."
        )
    return matrix


def _as_floats(given: Any) -> np.ndarray:
    # NumPy would drop a mask without a word, and an imaginary part with a warning.
    if np.ma.isMaskedArray(given) or np.iscomplexobj(given):
        raise TypeError("masked or complex")
    return np.asarray(given, dtype=float)


def _check_accuracies(matrix: np.ndarray) -> None:
    """Raise `UserError` if some number is not an accuracy."""
    if np.isnan(matrix).any():
        raise UserError(
            "An accuracy matrix is full; this one has NaN. Test every task after every task, or "
            "put 0 for tasks that were not trained yet and leave the row before training out: only "
            "forward transfer asks for them."
        )
    least = matrix.min()
    greatest = matrix.max()
    if least < 0 or greatest > 1:
        raise UserError(
            f"Accuracies lie between 0 and 1; these go from {least:g} to {greatest:g}. Divide "
            "percentages by 100; with counts of right answers, give tests, the number of test "
            "examples of each task."
        )


def _read(path: Path) -> np.ndarray:
    try:
        # A spreadsheet may put a byte-order mark before the numbers.
        text = path.read_text(encoding="utf-8-sig")
        if not text.strip():
            raise ValueError("it is empty")
        return np.loadtxt(text.splitlines(), delimiter=",", ndmin=2)
    except OSError as error:
        raise UserError(
            f"An accuracy matrix is read from a CSV file; {path} cannot be read: {reason(error)}."
        ) from error
    except ValueError as error:
        raise UserError(
            "An accuracy matrix is read from a CSV file of numbers without a heading; "
            f"{path}: {str(error).rstrip('.')}."
        ) from error


def _counts(tests: object, tasks: int) -> Int64[np.ndarray, " tasks"]:
    """The test examples of each task; raise `UserError` if they are not such numbers."""
    try:
        counts = np.asarray(tests, dtype=float)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"tests has the number of test examples of each task; it was {shown(tests)}."
        ) from error
    whole = np.isfinite(counts) & (counts == np.round(counts))
    if counts.shape != (tasks,) or not (whole & (counts >= 1)).all():
        raise UserError(
            f"tests has a number, at least 1, for each of {tasks} tasks; it was {shown(tests)}."
        )
    return counts.astype(np.int64)
