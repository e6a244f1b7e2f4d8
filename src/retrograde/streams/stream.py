"""A stream: tasks in order, cut from one dataset."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64

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


class Task(NamedTuple):
    """The training and test examples of one task."""

    train: Examples
    test: Examples


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
    """The examples of one task as a model sees them, and the output units of its classes."""

    number: int
    x_train: Float[np.ndarray, "train *shape"]
    y_train: Int64[np.ndarray, " train"]
    x_test: Float[np.ndarray, "test *shape"]
    y_test: Int64[np.ndarray, " test"]
    outputs: Int64[np.ndarray, " _"]

    def datasets(self) -> "tuple[TensorDataset, TensorDataset]":
        """The training and the test examples, each for a `DataLoader` of PyTorch."""
        import torch
        from torch.utils.data import TensorDataset

        train = TensorDataset(torch.from_numpy(self.x_train), torch.from_numpy(self.y_train))
        test = TensorDataset(torch.from_numpy(self.x_test), torch.from_numpy(self.y_test))
        return train, test


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

    def __len__(self) -> int:
        """The number of tasks."""
        return len(self.tasks)

    def __iter__(self) -> "Iterator[TaskData]":
        """The tasks in order, with their examples as arrays, for a loop of one's own."""
        return (self._task(number) for number in range(len(self.tasks)))

    def _task(self, number: int) -> "TaskData":
        train, test = self.tasks[number]
        units = np.flatnonzero(self.units[number])
        x_train = self.images(self.data.x_train, train.row, number)
        x_test = self.images(self.data.x_test, test.row, number)
        return TaskData(number, x_train, train.y.copy(), x_test, test.y.copy(), units)

    def images(
        self,
        x: np.ndarray,
        row: Int64[np.ndarray, " n"],
        task: int,
    ) -> np.ndarray:
        """The examples of a task as a model sees them, for learners that are not pure.

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
