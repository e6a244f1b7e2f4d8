"""Validation examples: a part of the training examples, or those of the dataset itself."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float64, Int64

from retrograde.data.dataset import Dataset
from retrograde.errors import UserError
from retrograde.streams.stream import Examples, Experience, Stream, Task


def held_out(
    stream: Stream,
    share: float,
    turns: Float64[np.ndarray, " row"],
    limit: int = 0,
) -> Stream:
    """The stream with a share of each class of each task held out from its training examples.

    Of a class, examples are held out in the order of their turns. Tasks that show the same rows in
    other ways, such as rotations, thus hold out the same ones. An example that is held out is in no
    experience.

    Args:
        stream: The stream.
        share: The share of each class, above 0; at least one example of it is held out, and one
            stays to be trained on.
        turns: A number for each training example of the dataset.
        limit: The number of a task's examples for training and validation together; 0: all. What
            is held out beyond its share of them is left out altogether.

    Raises:
        UserError: A class has one example alone, which cannot be both, or an experience has no
            other examples.
    """
    drawn = np.zeros(len(turns), dtype=bool)
    tasks = []
    for number, task in enumerate(stream.tasks):
        train = _of_task(stream, number)
        chosen, used = _chosen(train, share, turns, number, limit)
        drawn[train.row[chosen]] = True
        tasks.append(Task(task.test, _joined(task.validation, train.at(used))))
    experiences = [experience.at(~drawn[experience.row]) for experience in stream.experiences]
    _check_experiences(experiences, share)
    return replace(stream, experiences=tuple(experiences), tasks=tuple(tasks))


def given_validation(stream: Stream, data: Dataset, cut: Callable[[Dataset], Stream]) -> Stream:
    """The stream with the validation examples that its dataset has, if any.

    They belong to tasks as test examples do. Their rows follow those of the training examples.

    Args:
        stream: The stream, cut from `data`.
        data: The dataset, perhaps with `x_val` and `y_val`.
        cut: Cuts another dataset as `data` was cut.

    Raises:
        UserError: The stream has examples of its own, and not those of `data`.
    """
    if data.x_val is None or data.y_val is None:
        return stream
    if stream.data is not data:
        raise UserError(
            f"Validation examples are those of the dataset that a stream is cut from; {data.name} "
            "has x_val, and the stream has other data. Leave out x_val and y_val."
        )
    # With the validation examples in place of the test examples.
    judged = replace(
        data,
        x_test=data.x_val,
        y_test=data.y_val,
        task_test=data.task_val,
        x_val=None,
        y_val=None,
        task_val=None,
    )
    other = cut(judged)
    start = len(data.y_train)
    tasks = [
        task._replace(validation=each.test._replace(row=each.test.row + start))
        for task, each in zip(stream.tasks, other.tasks, strict=True)
    ]
    return replace(stream, data=data.with_validation, tasks=tuple(tasks))


def _of_task(stream: Stream, number: int) -> Examples:
    """The training examples of a task, each once, in the order in which they first come."""
    parts = [experience.at(experience.task == number) for experience in stream.experiences]
    whole = Experience.concat(parts)
    _, first = np.unique(whole.row, return_index=True)
    once = whole.at(np.sort(first))
    return Examples(once.row, once.y, once.view)


def _chosen(
    train: Examples,
    share: float,
    turns: Float64[np.ndarray, " row"],
    number: int,
    limit: int,
) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """The examples of a task that are held out, and those of them that are used for validation."""
    chosen = np.zeros(len(train.y), dtype=bool)
    used = np.zeros(len(train.y), dtype=bool)
    kept = min(limit or len(train.y), len(train.y)) / len(train.y)
    for unit in np.unique(train.y):
        place = np.flatnonzero(train.y == unit)
        count = min(max(round(share * len(place)), 1), len(place) - 1)
        if not count:
            raise UserError(
                "A class needs an example to train on and one for validation; "
                f"output {unit} of task {number + 1} has {len(place)} training example, and "
                f"validation={share:g}. Leave out validation, or give more examples."
            )
        in_turn = place[np.argsort(turns[train.row[place]])]
        chosen[in_turn[:count]] = True
        used[in_turn[: max(round(kept * count), 1)]] = True
    return chosen, used


def _check_experiences(experiences: list[Experience], share: float) -> None:
    """Raise `UserError` if nothing is left to train on in an experience."""
    empty = [number for number, experience in enumerate(experiences, 1) if not len(experience.row)]
    if empty:
        raise UserError(
            "An experience needs examples to train on; all of experience "
            f"{empty[0]} are held out by validation={share:g}. Lower it."
        )


def _joined(first: Examples, second: Examples) -> Examples:
    row: Int64[np.ndarray, " n"] = np.concatenate([first.row, second.row])
    return Examples(row, np.concatenate([first.y, second.y]), second.view)
