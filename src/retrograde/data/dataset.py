"""A dataset: training and test examples as arrays."""

import hashlib
import warnings
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped

from retrograde.data.channels import Channels, measured
from retrograde.errors import DataWarning, UserError, gigabytes, shown
from retrograde.machine import physical_bytes

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
"""The arrays that every dataset has."""

OPTIONAL = ("x_val", "y_val", "task_train", "task_test", "task_val")
"""The arrays that a dataset may have besides."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test examples with their labels.

    Args:
        name: The name in messages and records.
        x_train: Training examples as they are stored, of any one shape.
        y_train: Labels 0, 1, 2, ... of the training examples; every class occurs.
        x_test: Test examples, of the shape and dtype of the training examples.
        y_test: Labels of the test examples; every class occurs.
        scale: The factor from a stored value to the value that a model sees.
        class_names: The names of the classes, in the order of their labels; empty: they have none.
        joined: The numbers of classes of the datasets that were joined, in their order; empty for
            one dataset.
        x_val: Examples for validation, which are never trained on; None: there are none.
        y_val: Their labels; every class occurs.
        task_train: The number of the task of each training example; None: there are no tasks.
        task_test: The number of the task of each test example, one of those of `task_train`; None:
            a task is tested on all test examples of its classes.
        task_val: The same for `x_val`.

    Raises:
        UserError: The arrays do not fit together.

    Example:
        >>> x, y = np.zeros((4, 6), np.float32), np.array([0, 1, 0, 1])
        >>> rg.Dataset("mine", x_train=x, y_train=y, x_test=x, y_test=y).classes
        2
    """

    name: str
    x_train: Shaped[np.ndarray, "train *shape"]
    y_train: Int64[np.ndarray, " train"]
    x_test: Shaped[np.ndarray, "test *shape"]
    y_test: Int64[np.ndarray, " test"]
    scale: float = 1.0
    class_names: tuple[str, ...] = ()
    joined: tuple[int, ...] = ()
    x_val: Shaped[np.ndarray, "val *shape"] | None = None
    y_val: Int64[np.ndarray, " val"] | None = None
    task_train: Int64[np.ndarray, " train"] | None = None
    task_test: Int64[np.ndarray, " test"] | None = None
    task_val: Int64[np.ndarray, " val"] | None = None

    def __post_init__(self) -> None:
        """Raise `UserError` if the arrays do not fit together."""
        _check_examples(self)
        _check_classes(self)
        _check_names(self)
        _check_validation(self)
        _check_tasks(self)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example: (channel, height, width) for images."""
        return tuple(self.x_train.shape[1:])

    @property
    def classes(self) -> int:
        """The number of classes."""
        return int(self.y_train.max()) + 1

    @property
    def arrays(self) -> dict[str, Any]:
        """The arrays by name: the four of every dataset, and those of the others that it has."""
        given = {name: getattr(self, name) for name in (*ARRAYS, *OPTIONAL)}
        return {name: array for name, array in given.items() if array is not None}

    @cached_property
    def with_validation(self) -> "Dataset":
        """The dataset with its validation examples after its training examples.

        Streams refer to training and validation examples by their rows in one array.
        """
        if self.x_val is None or self.y_val is None:
            return self
        return Dataset(
            self.name,
            np.concatenate([self.x_train, self.x_val]),
            np.concatenate([self.y_train, self.y_val]),
            self.x_test,
            self.y_test,
            self.scale,
            self.class_names,
            self.joined,
        )

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits that identify the content."""
        sha = hashlib.sha256(repr(self.scale).encode())
        for name, values in self.arrays.items():
            array = np.ascontiguousarray(values)
            # Equal bytes of another shape or type are other data.
            sha.update(repr((name, array.shape, array.dtype.str)).encode())
            sha.update(array.tobytes())
        return sha.hexdigest()[:12]

    @cached_property
    def channels(self) -> Channels:
        """The mean and standard deviation of each channel of the training images.

        As in the literature, they are of the whole training set, all pixels alike. A learner thus
        knows from the start the mean colour of classes that come later, as of validation examples.

        Raises:
            UserError: The examples are not images, or a channel has one value alone.
        """
        if len(self.shape) != 3:
            raise UserError(
                f"Images alone have channels to normalise; the examples of {self.name} have shape "
                f"{self.shape}. Leave out normalise=channels."
            )
        lowest = self.x_train.min((0, 2, 3))
        constant = np.flatnonzero(lowest == self.x_train.max((0, 2, 3)))
        if len(constant):
            raise UserError(
                f"A channel that is normalised has several values; channel {constant[0]} of "
                f"{self.name} is {lowest[constant[0]]:g} everywhere. Leave out normalise=channels."
            )
        return measured(self.x_train, self.scale)


CHANNELS = (1, 3, 4)
"""Possible numbers of channels: grey, colours, and colours with transparency."""


def has_channels_last(shape: tuple[int, ...]) -> bool:
    """True if the last axis of one example looks like channels, and the first does not."""
    if len(shape) != 3:
        return False
    first, second, last = shape
    # A square of one channel may be as small as a number of channels.
    small = last == 1 and first == second
    return last in CHANNELS and second != last and (first not in CHANNELS or small)


def warn_misread(data: Dataset) -> None:
    """Warn if a model would take the examples for something else than they seem to be."""
    if has_channels_last(data.shape):
        warnings.warn(
            "Images are (channel, height, width); the examples of "
            f"{data.name} have shape {data.shape}, as if their channels were last. "
            "Transpose them: x.transpose(0, 3, 1, 2).",
            DataWarning,
            stacklevel=3,
        )


LARGE = 10.0
"""The root mean square of inputs above which initial weights and usual rates no longer fit."""


SMALL = 0.1
"""The largest absolute input below which a model sees hardly more than its biases."""


def warn_unscaled(data: Dataset) -> None:
    """Warn if a model would see large numbers, such as pixels up to 255 that are no bytes.

    Or only small ones, such as bytes up to 16, which are divided by 255 as pixels are. Only bytes
    are known to be pixels; whole numbers and fractions may mean anything, and stay.
    """
    some = data.x_train[:1000].astype(np.float64) * data.scale
    is_bytes = data.x_train.dtype == np.uint8
    if float(np.sqrt(np.mean(some**2))) > LARGE:
        scaling = "not scaled"
        remedy = "Divide them, or store pixels as bytes (uint8), which are scaled."
        if is_bytes:
            remedy = "Give the Dataset scale=1/255."
    elif 0 < np.abs(some).max() < SMALL:
        scaling = "not scaled" if data.scale == 1 else f"scaled by {data.scale:.4g}"
        remedy = "Multiply them."
        if is_bytes:
            remedy = "Store them as fractions (float32) up to 1, which are not scaled."
    else:
        return
    if len(data.shape) == 3:
        remedy += " In a stream, normalise=channels does too."
    warnings.warn(
        f"A model learns from inputs of about 1; those of {data.name} are from {some.min():.6g} to "
        f"{some.max():.6g}, and are {scaling}. {remedy}",
        DataWarning,
        stacklevel=3,
    )


@lru_cache(maxsize=1)  # all replicates share it
def bordered(data: Dataset, pixels: int) -> Dataset:
    """The dataset with black pixels around every image.

    Args:
        data: The dataset.
        pixels: The number of black pixels on each side.

    Raises:
        UserError: The examples are not images.
    """
    if len(data.shape) != 3:
        raise UserError(
            f"Images alone have a border; the examples of {data.name} have shape {data.shape}. "
            "Leave out border."
        )
    channels, height, width = data.shape
    images = len(data.x_train) + len(data.x_test)
    size = channels * (height + 2 * pixels) * (width + 2 * pixels) * data.x_train.itemsize
    if images * size > physical_bytes():
        raise UserError(
            f"All images are in memory, here {gigabytes(physical_bytes())}; border={pixels} makes "
            f"them take {gigabytes(images * size)}. Lower it."
        )
    sides = (0, 0), (0, 0), (pixels, pixels), (pixels, pixels)
    bordered: dict[str, Any] = {
        name: np.pad(x, sides) for name, x in data.arrays.items() if name.startswith("x_")
    }
    return replace(data, **bordered)


def _check_examples(data: Dataset) -> None:
    _check_part("train", data.x_train, data.y_train, data.name)
    _check_part("test", data.x_test, data.y_test, data.name)
    _check_alike(data, data.x_test, "test")


def _check_alike(data: Dataset, x: np.ndarray, part: str) -> None:
    """Raise `UserError` unless examples have the shape and type of the training examples."""
    train = data.x_train
    if train.shape[1:] != x.shape[1:] or train.dtype != x.dtype:
        raise UserError(
            f"Train and {part} examples have one shape and type; {data.name} has "
            f"{train.shape[1:]} {train.dtype} and {x.shape[1:]} {x.dtype}."
        )


def _check_part(
    part: str,
    x: np.ndarray,
    y: np.ndarray,
    name: str,
) -> None:
    for array, of in ((x, "x"), (y, "y")):
        if not isinstance(array, np.ndarray):
            raise UserError(
                f"The examples and labels of a dataset are NumPy arrays; {of}_{part} of {name} is "
                f"{shown(array)}. Give np.asarray of it."
            )
    if not x.size:
        raise UserError(
            f"There are examples, of at least one number each; x_{part} of {name} "
            f"has shape {x.shape}."
        )
    if len(x) != len(y):
        raise UserError(
            f"There is one label for each example; {name} has {len(x)} x_{part}, {len(y)} y_{part}."
        )
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise UserError(
            f"Examples are finite; x_{part} of {name} holds NaN or infinity. Clean it first."
        )


def _check_classes(data: Dataset) -> None:
    # Labels index output units, so a gap would be a unit without examples.
    trained = np.unique(data.y_train)
    if not np.array_equal(trained, np.arange(len(trained))):
        raise UserError(
            "Labels are 0, 1, 2, ... and each class has training examples; "
            f"y_train of {data.name} holds {_few(trained)}."
        )
    tested = np.unique(data.y_test)
    if not np.array_equal(trained, tested):
        raise UserError(
            f"Every class has training and test examples; of {data.name}, "
            f"y_train holds {_few(trained)}, y_test {_few(tested)}."
        )


def _check_names(data: Dataset) -> None:
    names = data.class_names
    if names and (len(names) != data.classes or len(set(names)) != len(names)):
        raise UserError(
            f"Each class has one name of its own; {data.name} has {data.classes} classes, and "
            f"class_names has {len(set(names))} different ones of {len(names)}."
        )


def _check_validation(data: Dataset) -> None:
    if data.x_val is None and data.y_val is None:
        return
    if data.x_val is None or data.y_val is None:
        missing = "x_val" if data.x_val is None else "y_val"
        raise UserError(
            f"Validation examples and their labels come together; {data.name} lacks {missing}."
        )
    _check_part("val", data.x_val, data.y_val, data.name)
    _check_alike(data, data.x_val, "validation")
    trained, found = np.unique(data.y_train), np.unique(data.y_val)
    if not np.array_equal(trained, found):
        raise UserError(
            f"Every class has validation examples, if there are some; of {data.name}, "
            f"y_train holds {_few(trained)}, y_val {_few(found)}."
        )


def _check_tasks(data: Dataset) -> None:
    of_part = {"test": (data.task_test, data.y_test), "val": (data.task_val, data.y_val)}
    if data.task_train is None:
        stray = [part for part, (task, _) in of_part.items() if task is not None]
        if stray:
            raise UserError(
                f"Tasks are made of training examples; {data.name} has task_{stray[0]} and no "
                "task_train. Give task_train."
            )
        return
    _check_column(data, "train", data.task_train, data.y_train)
    for part, (task, y) in of_part.items():
        # One that is forgotten would be measured on the examples of all tasks.
        if y is not None and (task is None) != (data.task_test is None):
            raise UserError(
                "Test and validation examples have tasks or neither has; "
                f"{data.name} lacks {'task_test' if data.task_test is None else 'task_val'}. Give "
                "the task of each, or leave out both: a task then has all of its classes."
            )
        if task is None:
            continue
        _check_column(data, part, task, y)
        trained, found = np.unique(data.task_train), np.unique(task)
        if not np.array_equal(trained, found):
            raise UserError(
                f"Every task has training examples and examples in task_{part}; of {data.name}, "
                f"task_train holds {_few(trained)}, task_{part} {_few(found)}."
            )


def _check_column(data: Dataset, part: str, task: np.ndarray, y: np.ndarray | None) -> None:
    """Raise `UserError` unless a column of tasks has a whole number for each example."""
    count = 0 if y is None else len(y)
    if not isinstance(task, np.ndarray) or task.dtype.kind not in "iu" or task.shape != (count,):
        found = f"{task.dtype} of {task.shape}" if isinstance(task, np.ndarray) else shown(task)
        raise UserError(
            f"A column of tasks has a whole number for each example; task_{part} of {data.name} is "
            f"{found}, for {count} examples."
        )


def _few(labels: np.ndarray) -> str:
    """The first labels as text, for a message."""
    first = ", ".join(map(str, labels[:12].tolist()))
    return f"{first}, ..." if len(labels) > 12 else first
