"""Streams whose tasks the dataset gives: a column has the number of each example's task."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from retrograde import Benchmark, Dataset, Examples, Stream, UserError


@dataclass(frozen=True, kw_only=True)
class Given(Benchmark):
    """One experience for each task number of the dataset, in rising order, for every seed.

    The dataset has `task_train`, the number of the task of each training example. A task is tested
    on its examples in `task_test`, or without that column on all test examples of its classes.
    Output units are the classes of the dataset, so that tasks may share classes. In
    domain-incremental streams every task has every class, as the sessions of CORe50 have.
    """

    dataset: str = "core50"

    def cut(self, data: Dataset, seed: int) -> Stream:
        if data.task_train is None:
            raise UserError(
                f"The tasks of a given stream are in the column task_train; {data.name} has none. "
                "Add it to the .npz or the rg.Dataset, or take another benchmark, such as split."
            )
        numbers = np.unique(data.task_train)
        units = np.zeros((len(numbers), data.classes), dtype=bool)
        parts = []
        for place, number in enumerate(numbers.tolist()):
            row = np.flatnonzero(data.task_train == number)
            train = Examples(row, data.y_train[row])
            units[place, train.y] = True
            parts.append((train, _test(data, number, units[place])))
        if self.scenario == "domain":
            _check_domains(data, numbers, units)
        return Stream.of_tasks(data, parts, units)


def _test(data: Dataset, number: int, classes: Bool[np.ndarray, " class"]) -> Examples:
    """The test examples of a task, whose classes are True.

    Raises:
        UserError: One of them is of another class.
    """
    of_task = classes[data.y_test] if data.task_test is None else data.task_test == number
    row = np.flatnonzero(of_task)
    y = data.y_test[row]
    foreign = np.setdiff1d(y, np.flatnonzero(classes))
    if len(foreign):
        raise UserError(
            f"A task is tested on classes that it trains; task {number} of {data.name} has test "
            f"examples of class {foreign[0]}, and no training example. Correct task_test or "
            "leave it out."
        )
    return Examples(row, y)


def _check_domains(
    data: Dataset, numbers: Int64[np.ndarray, " task"], units: Bool[np.ndarray, "task class"]
) -> None:
    """Raise `UserError` unless every task has every class."""
    lacking = np.argwhere(~units)
    if len(lacking):
        task, lacks = lacking[0]
        raise UserError(
            "In a domain-incremental stream every task has every class; task "
            f"{numbers[task]} of {data.name} has no class {lacks}. Take scenario=class, where "
            "tasks may share classes."
        )
