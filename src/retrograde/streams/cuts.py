"""Ways to cut a dataset into tasks: by class, or by a rearrangement of pixels."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int64

from retrograde.data.dataset import Dataset
from retrograde.errors import UserError, gigabytes
from retrograde.machine import physical_bytes
from retrograde.streams.stream import Examples, Scenario, Stream


def split_classes(
    data: Dataset,
    groups: list[Int64[np.ndarray, " _"]],
    scenario: Scenario,
) -> Stream:
    """Cut a dataset by class.

    Args:
        data: The dataset.
        groups: The classes of each task.
        scenario: In domain-incremental streams, every task numbers its classes from 0. In others,
            each class has an output unit of its own.
    """
    unit_of, units = units_of(groups, data.classes, scenario)
    parts = []
    for group in groups:
        unit = np.full(data.classes, -1)
        unit[group] = unit_of[group]
        train = of_classes(data.y_train, unit)
        test = of_classes(data.y_test, unit)
        parts.append((train, test))
    return Stream.of_tasks(data, parts, units)


def units_of(
    groups: Sequence[Int64[np.ndarray, " _"]], classes: int, scenario: Scenario
) -> tuple[Int64[np.ndarray, " class"], Bool[np.ndarray, "task unit"]]:
    """The output unit of each class, -1 for classes in no task, and the units of each task.

    Args:
        groups: The classes of each task.
        classes: The number of classes of the dataset.
        scenario: In domain-incremental streams, every task numbers its classes from 0. In others,
            each class has an output unit of its own.
    """
    domain = scenario == "domain"
    outputs = max(map(len, groups)) if domain else classes
    units = np.zeros((len(groups), outputs), dtype=bool)
    unit = np.full(classes, -1)
    for number, group in enumerate(groups):
        unit[group] = np.arange(len(group)) if domain else group
        units[number, unit[group]] = True
    return unit, units


def of_classes(y: np.ndarray, unit: np.ndarray) -> Examples:
    """The examples of some classes.

    Args:
        y: The class of every example of the dataset.
        unit: The output unit of each class; -1 leaves a class out.
    """
    row = np.flatnonzero(unit[y] >= 0)
    return Examples(row, unit[y[row]])


def same_classes(
    data: Dataset,
    pixels: Int64[np.ndarray, "task pixel"],
    scenario: Scenario,
) -> Stream:
    """Cut a dataset into tasks that hold all examples, with pixels rearranged.

    Args:
        data: The dataset.
        pixels: For each task, the source of every pixel; see `Stream.pixels`.
        scenario: In domain-incremental streams, all tasks have one label set. In others, each task
            has output units of its own.

    Raises:
        UserError: The rows of all tasks do not fit into memory.
    """
    count = len(pixels)
    _check_rows(data, count)
    shared = scenario == "domain"
    # One block of units for all tasks, or a block of its own for each.
    blocks = np.ones((count, 1), dtype=bool) if shared else np.eye(count, dtype=bool)
    units = np.kron(blocks, np.ones(data.classes, dtype=bool))

    def part(y: np.ndarray, number: int) -> Examples:
        return Examples(np.arange(len(y)), y if shared else y + number * data.classes)

    parts = [(part(data.y_train, number), part(data.y_test, number)) for number in range(count)]
    return Stream.of_tasks(data, parts, units, pixels)


def _check_rows(data: Dataset, count: int) -> None:
    # A row and a label of 8 bytes each, for every example of every task.
    needed = 2 * 8 * count * (len(data.y_train) + len(data.y_test))
    if needed > physical_bytes():
        raise UserError(
            f"The rows of all tasks are kept in memory, here {gigabytes(physical_bytes())}; "
            f"tasks={count} with all examples of {data.name} take about {gigabytes(needed)}. "
            "Lower it."
        )


def regression_tasks(
    data: Dataset,
    train: Float[np.ndarray, "train value"],
    test: Float[np.ndarray, "test _"],
) -> Stream:
    """Cut a dataset of regression, in which the label of an example is its task.

    Args:
        data: The dataset.
        train: The values to predict of each training example, at least one.
        test: Those of each test example.

    Raises:
        UserError: The values do not fit the examples, or are not finite.
    """
    for name, values, examples in (("train", train, data.x_train), ("test", test, data.x_test)):
        if values.ndim != 2 or len(values) != len(examples) or not values.shape[1]:
            raise UserError(
                "Every example has as many values to predict; "
                f"{data.name} has {len(examples)} {name} examples, and {name} has the shape "
                f"{values.shape}. Give an array of shape (example, value)."
            )
        if not np.isfinite(values).all():
            raise UserError(f"Values to predict are finite; {name} holds NaN or infinity.")
    if train.shape[1] != test.shape[1]:
        raise UserError(
            "Training and test examples have as many values; they have "
            f"{train.shape[1]} and {test.shape[1]}."
        )
    parts = []
    for task in range(data.classes):
        of_train = np.flatnonzero(data.y_train == task)
        of_test = np.flatnonzero(data.y_test == task)
        # The targets of test examples follow those of training examples.
        parts.append((Examples(of_train, of_train), Examples(of_test, len(train) + of_test)))
    units = np.ones((data.classes, train.shape[1]), dtype=bool)
    targets = np.concatenate([train, test]).astype(np.float32)
    return Stream.of_tasks(data, parts, units, targets=targets)


def need_images(data: Dataset, what: str) -> tuple[int, int, int]:
    """The (channel, height, width) of a dataset of images.

    Args:
        data: The dataset.
        what: The name, in an error, of what needs images.

    Raises:
        UserError: The examples are not images.
    """
    if len(data.shape) != 3:
        raise UserError(
            f"{what} needs images; the examples of {data.name} have shape {data.shape}."
        )
    channel, height, width = data.shape
    return channel, height, width
