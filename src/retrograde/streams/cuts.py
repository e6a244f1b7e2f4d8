"""Ways to cut a dataset into tasks: by class, or by a rearrangement of pixels."""

import numpy as np
from jaxtyping import Int64

from retrograde.data.dataset import Dataset
from retrograde.errors import UserError, gigabytes
from retrograde.machine import physical_bytes
from retrograde.streams.stream import Examples, Scenario, Stream, Task


def split_classes(
    data: Dataset, groups: list[Int64[np.ndarray, " _"]], scenario: Scenario
) -> Stream:
    """Cut by class: task i holds the classes of `groups[i]`."""
    domain = scenario == "domain"
    outputs = max(map(len, groups)) if domain else data.classes
    units = np.zeros((len(groups), outputs), dtype=bool)
    tasks = []
    for number, group in enumerate(groups):
        unit = np.full(data.classes, -1)
        unit[group] = np.arange(len(group)) if domain else group
        units[number, unit[group]] = True
        tasks.append(Task(of_classes(data.y_train, unit), of_classes(data.y_test, unit)))
    return Stream(data, tuple(tasks), units)


def of_classes(y: np.ndarray, unit: np.ndarray) -> Examples:
    """The examples whose class has an output unit; `unit` is -1 for the others."""
    row = np.flatnonzero(unit[y] >= 0)
    return Examples(row, unit[y[row]])


def same_classes(
    data: Dataset, pixels: Int64[np.ndarray, "task pixel"], scenario: Scenario
) -> Stream:
    """Every task holds all examples, their pixels rearranged; unless domain-incremental, with classes of its own."""
    count = len(pixels)
    rows = 2 * 8 * count * (len(data.y_train) + len(data.y_test))
    if rows > physical_bytes():
        raise UserError(
            f"The rows of all tasks are held in memory, here {gigabytes(physical_bytes())}; tasks={count} with all examples of "
            f"{data.name} take about {gigabytes(rows)}. Lower it."
        )
    own = scenario != "domain"
    units = np.kron(np.eye(count, dtype=bool), np.ones(data.classes, dtype=bool)) if own else None

    def part(y: np.ndarray, number: int) -> Examples:
        return Examples(np.arange(len(y)), y + number * data.classes if own else y)

    tasks = tuple(Task(part(data.y_train, n), part(data.y_test, n)) for n in range(count))
    return Stream(
        data, tasks, np.ones((count, data.classes), dtype=bool) if units is None else units, pixels
    )


def need_images(data: Dataset, what: str) -> tuple[int, int, int]:
    """The (channel, height, width) of a dataset of images; raises `UserError` for other data."""
    if len(data.shape) != 3:
        raise UserError(
            f"{what} needs images; the examples of {data.name} have shape {data.shape}."
        )
    channel, height, width = data.shape
    return channel, height, width
