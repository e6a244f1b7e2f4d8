"""A part of a task's training examples that is held out for validation."""

import numpy as np
from jaxtyping import Bool, Float64, Int64

from retrograde.errors import UserError
from retrograde.streams.stream import Examples, Task


def held_out(
    task: Task,
    share: float,
    turns: Float64[np.ndarray, " row"],
    number: int,
    limit: int = 0,
) -> Task:
    """The task with a share of each class held out from its training examples.

    Of a class, examples are held out in the order of their turns. Tasks that show the same rows in
    other ways, such as rotations, thus hold out the same ones: a validation example is not trained
    on in another task either.

    Args:
        task: The task.
        share: The share of each class, above 0; at least one example of it is held out, and one
            stays to be trained on.
        turns: A number for each training example of the dataset.
        number: The number of the task, from 0, for an error.
        limit: The number of the task's examples for training and validation together; 0: all. What
            is held out beyond its share of them is left out altogether.

    Raises:
        UserError: A class has one example alone, which cannot be both.
    """
    train = task.train
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
    validation = _joined(task.validation, _at(train, used))
    return Task(_at(train, ~chosen), task.test, validation)


def _at(examples: Examples, chosen: Bool[np.ndarray, " n"]) -> Examples:
    return Examples(examples.row[chosen], examples.y[chosen])


def _joined(first: Examples, second: Examples) -> Examples:
    row: Int64[np.ndarray, " n"] = np.concatenate([first.row, second.row])
    return Examples(row, np.concatenate([first.y, second.y]))
