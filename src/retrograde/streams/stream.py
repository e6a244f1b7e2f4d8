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
"""Task-incremental: told the task at test. Domain: one label set. Class: all classes compete (van de Ven 2022)."""


class Examples(NamedTuple):
    """Some examples of a dataset: their rows, and the output unit that is right for each."""

    row: Int64[np.ndarray, " n"]
    y: Int64[np.ndarray, " n"]


class Task(NamedTuple):
    """What one task trains on and is tested on."""

    train: Examples
    test: Examples


class Preparation(NamedTuple):
    """Training examples of classes that the stream does not have, to learn from before it begins, and what a lesson takes."""

    examples: Examples
    lessons: int
    classes: int  # of one lesson, which come one after the other
    shots: int  # examples of each of these to learn from
    queries: int  # other examples of each
    rehearsed: int  # examples of any held-out class


class TaskData(NamedTuple):
    """The examples of one task as a model sees them, and the outputs that belong to it."""

    number: int
    x_train: Float[np.ndarray, "train *shape"]
    y_train: Int64[np.ndarray, " train"]
    x_test: Float[np.ndarray, "test *shape"]
    y_test: Int64[np.ndarray, " test"]
    outputs: Int64[np.ndarray, " _"]

    def datasets(self) -> "tuple[TensorDataset, TensorDataset]":
        """Training and test examples for a `DataLoader` of PyTorch."""
        import torch
        from torch.utils.data import TensorDataset

        pairs = ((self.x_train, self.y_train), (self.x_test, self.y_test))
        train, test = (TensorDataset(torch.from_numpy(x), torch.from_numpy(y)) for x, y in pairs)
        return train, test


@dataclass(frozen=True)
class Stream:
    """Tasks in order, for one replicate. No pixel is copied: `pixels` says where each one comes from."""

    data: Dataset
    tasks: tuple[Task, ...]
    units: Bool[np.ndarray, "task unit"]
    """Which output units belong to each task."""
    pixels: Int64[np.ndarray, "task pixel"] | None = None
    """For each task, the source of every pixel (channel by channel, row by row); one past the last is black."""
    ordered: bool = False
    """Whether arrivals come in the order of `Task.train`; if not, they are shuffled."""
    preparation: Preparation | None = None

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
        return TaskData(number, x_train, train.y, x_test, test.y, units)

    def images(self, x: np.ndarray, row: Int64[np.ndarray, " n"], task: int) -> np.ndarray:
        """The examples as a model sees them in that task, (n, *shape); for learners that are not pure."""
        flat = x.reshape(len(x), -1)[row]
        if self.pixels is not None:
            flat = np.pad(flat, ((0, 0), (0, 1)))[:, self.pixels[task]]
        return np.asarray(flat * np.float32(self.data.scale)).reshape(len(row), *self.data.shape)
