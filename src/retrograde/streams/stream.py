"""A stream: tasks in order, cut from one dataset."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64

from retrograde.data.channels import Channels
from retrograde.data.dataset import Dataset

if TYPE_CHECKING:
    from torch.utils.data import TensorDataset

Scenario = Literal["task", "domain", "class"]
"""Incremental learning of tasks, domains or classes (van de Ven et al. 2022).

Task: the task is given at test. Domain: all tasks have one label set. Class: all classes compete.
"""


class Examples(NamedTuple):
    """Some examples of a dataset.

    Args:
        row: Their rows in the dataset.
        y: The output unit that is right for each.
    """

    row: Int64[np.ndarray, " n"]
    y: Int64[np.ndarray, " n"]


def _none() -> Examples:
    """No examples, as arrays that nobody can change."""
    empty = np.zeros(0, np.int64)
    empty.flags.writeable = False
    return Examples(empty, empty)


class Task(NamedTuple):
    """The examples of one task.

    Args:
        train: The examples to train on, rows of the dataset's training examples.
        test: The test examples, rows of the dataset's test examples.
        validation: Other rows of the training examples, which are never trained on; none unless
            the benchmark's `validation` says so.
    """

    train: Examples
    test: Examples
    validation: Examples = _none()


class Pretraining(NamedTuple):
    """The data of pretraining: examples of classes that the stream does not have.

    Args:
        examples: Training examples of the held-out classes.
        steps: The number of pretraining steps, each on one episode.
        trajectory_classes: The number of classes of an episode, which come one after the other.
        shots: The number of examples of each of these to learn from.
        queries: The number of other examples of each.
        remember_examples: The number of examples of any held-out class.
    """

    examples: Examples
    steps: int
    trajectory_classes: int
    shots: int
    queries: int
    remember_examples: int


class TaskData(NamedTuple):
    """The examples of one task as a model sees them, and the output units of its classes.

    They are normalised, but not augmented. Those for validation, `x_val` and `y_val`, are none
    unless the benchmark's `validation` says so.
    """

    number: int
    x_train: Float[np.ndarray, "train *shape"]
    y_train: Int64[np.ndarray, " train"]
    x_test: Float[np.ndarray, "test *shape"]
    y_test: Int64[np.ndarray, " test"]
    outputs: Int64[np.ndarray, " _"]
    x_val: Float[np.ndarray, "val *shape"]
    y_val: Int64[np.ndarray, " val"]

    def datasets(self) -> "tuple[TensorDataset, TensorDataset]":
        """The training and the test examples, each for a `DataLoader` of PyTorch."""
        return _tensors(self.x_train, self.y_train), _tensors(self.x_test, self.y_test)

    def validation_dataset(self) -> "TensorDataset":
        """The validation examples for a `DataLoader` of PyTorch."""
        return _tensors(self.x_val, self.y_val)


def _tensors(x: np.ndarray, y: np.ndarray) -> "TensorDataset":
    import torch
    from torch.utils.data import TensorDataset

    return TensorDataset(torch.from_numpy(x), torch.from_numpy(y))


@dataclass(frozen=True)
class Stream:
    """Tasks in order, for one replicate.

    No pixel is copied: `pixels` is a table of the source of each one.
    """

    data: Dataset
    tasks: tuple[Task, ...]
    units: Bool[np.ndarray, "task unit"]
    """True for the output units of each task."""
    pixels: Int64[np.ndarray, "task pixel"] | None = None
    """For each task, the source of every pixel, channel by channel and row by row.

    The index after the last pixel stands for a black one.
    """
    ordered: bool = False
    """If True, examples arrive in the order of `Task.train`; if False, they are shuffled."""
    pretraining: Pretraining | None = None
    channels: Channels | None = None
    """The mean and standard deviation with which images are normalised; None: not at all."""

    def __len__(self) -> int:
        """The number of tasks."""
        return len(self.tasks)

    def __iter__(self) -> "Iterator[TaskData]":
        """The tasks in order, with their examples as arrays, for a loop of one's own."""
        return (self._task(number) for number in range(len(self.tasks)))

    def _task(self, number: int) -> "TaskData":
        train, test, validation = self.tasks[number]
        return TaskData(
            number,
            x_train=self._seen(self.data.x_train, train, number),
            y_train=train.y.copy(),
            x_test=self._seen(self.data.x_test, test, number),
            y_test=test.y.copy(),
            outputs=np.flatnonzero(self.units[number]),
            x_val=self._seen(self.data.x_train, validation, number),
            y_val=validation.y.copy(),
        )

    def _seen(self, x: np.ndarray, examples: Examples, task: int) -> np.ndarray:
        return self.normalised(self.images(x, examples.row, task))

    def normalised(self, images: np.ndarray) -> np.ndarray:
        """Images with each channel normalised, if the stream has `channels`.

        Args:
            images: The result of `images`, which may have been augmented.
        """
        return images if self.channels is None else self.channels.normalised(images)

    def images(
        self,
        x: np.ndarray,
        row: Int64[np.ndarray, " n"],
        task: int,
    ) -> np.ndarray:
        """The examples of a task before augmentation and normalisation.

        Args:
            x: The examples of the dataset, as they are stored.
            row: The rows to take.
            task: The number of the task.

        Returns:
            An array of shape (n, *shape).
        """
        flat = x.reshape(len(x), -1)[row]
        if self.pixels is not None:
            black = ((0, 0), (0, 1))
            flat = np.pad(flat, black)[:, self.pixels[task]]
        scaled = np.asarray(flat * np.float32(self.data.scale))
        return scaled.reshape(len(row), *self.data.shape)
