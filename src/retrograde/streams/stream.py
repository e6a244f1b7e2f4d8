"""A stream: experiences to learn from in order, and the tasks that are tested."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

from retrograde.data.channels import Channels
from retrograde.data.dataset import Dataset

if TYPE_CHECKING:
    from torch.utils.data import TensorDataset

Index = Int64[np.ndarray, " _"] | Bool[np.ndarray, " _"] | slice
"""A choice of examples."""

Targets = Int64[np.ndarray, " n"] | Float32[np.ndarray, "n value"]
"""The label (output unit) of each example or, in regression, its values."""

Scenario = Literal["task", "domain", "class"]
"""Incremental learning of tasks, domains or classes (van de Ven et al. 2022).

Task: the task is given at test. Domain: all tasks have one label set. Class: all classes compete.
"""


class Examples(NamedTuple):
    """Some examples of a dataset that belong to one task.

    Args:
        row: Their rows in the dataset.
        y: The output unit that is right for each; in regression, its row of `Stream.targets`.
        view: The row of `Stream.pixels` by which each is seen; None: that of its task.
    """

    row: Int64[np.ndarray, " n"]
    y: Int64[np.ndarray, " n"]
    view: Int64[np.ndarray, " n"] | None = None

    def views(self, task: int) -> int | Int64[np.ndarray, " n"]:
        """The view of each, or the one of their task if they have no others."""
        return task if self.view is None else self.view

    def at(self, index: Index) -> "Examples":
        """Some of the examples."""
        view = None if self.view is None else self.view[index]
        return Examples(self.row[index], self.y[index], view)


def _none() -> Examples:
    """No examples, as arrays that nobody can change."""
    empty = np.zeros(0, np.int64)
    empty.flags.writeable = False
    return Examples(empty, empty)


class Experience(NamedTuple):
    """The training examples of one experience.

    Args:
        row: Their rows of the dataset's training examples.
        y: The output unit that is right for each; in regression, its row of `Stream.targets`.
        task: The task of each.
        view: The row of `Stream.pixels` by which each is seen; None: that of its task.
    """

    row: Int64[np.ndarray, " n"]
    y: Int64[np.ndarray, " n"]
    task: Int64[np.ndarray, " n"]
    view: Int64[np.ndarray, " n"] | None = None

    @classmethod
    def of(cls, examples: Examples, task: int) -> "Experience":
        """Training examples that all belong to one task."""
        return cls(examples.row, examples.y, np.full(len(examples.row), task), examples.view)

    @classmethod
    def concat(cls, parts: Sequence["Experience"]) -> "Experience":
        """Training examples one after the other."""
        row = np.concatenate([part.row for part in parts])
        y = np.concatenate([part.y for part in parts])
        task = np.concatenate([part.task for part in parts])
        if all(part.view is None for part in parts):
            return cls(row, y, task)
        return cls(row, y, task, np.concatenate([part.views for part in parts]))

    @property
    def views(self) -> Int64[np.ndarray, " n"]:
        """The view of each; that of its task if it has no other."""
        return self.task if self.view is None else self.view

    @property
    def tasks(self) -> Int64[np.ndarray, " _"]:
        """The tasks of its examples, each once."""
        return np.unique(self.task)

    def at(self, index: Index) -> "Experience":
        """Some of the examples."""
        view = None if self.view is None else self.view[index]
        return Experience(self.row[index], self.y[index], self.task[index], view)


class Task(NamedTuple):
    """The examples on which accuracy on one task is measured.

    Args:
        test: The test examples, rows of the dataset's test examples.
        validation: Rows of the dataset's training examples that are never trained on; none unless
            the benchmark's `validation` says so, or the dataset has validation examples.
    """

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


class ExperienceData(NamedTuple):
    """The examples of one experience as a model sees them.

    Targets are labels or, in regression, values. Images are normalised, but not augmented. Test and
    validation examples are those of the tasks that count as learned after the experience;
    `Stream.test` gives those of any task. Those for validation, `x_val` and `y_val`, are none
    unless the benchmark's `validation` says so, or the dataset has some.
    """

    number: int
    x_train: Float[np.ndarray, "train *shape"]
    y_train: Targets
    task_train: Int64[np.ndarray, " train"]
    x_test: Float[np.ndarray, "test *shape"]
    y_test: Targets
    outputs: Int64[np.ndarray, " _"]
    """The output units of the tasks that the training examples belong to."""
    x_val: Float[np.ndarray, "val *shape"]
    y_val: Targets

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
    """Experiences and tasks of one replicate, cut from one dataset.

    No pixel is copied: `pixels` is a table of the source of each one.
    """

    data: Dataset
    experiences: tuple[Experience, ...]
    """The training examples in the order of learning; every experience is evaluated at its end."""
    tasks: tuple[Task, ...]
    """The tasks in the order in which training examples of them first come."""
    units: Bool[np.ndarray, "task unit"]
    """True for the output units of each task."""
    pixels: Int64[np.ndarray, "view pixel"] | None = None
    """For each view, the source of every pixel, channel by channel and row by row.

    The index after the last pixel stands for a black one. Unless examples say otherwise, a task has
    one view, with its number.
    """
    ordered: bool = False
    """If True, the examples of an experience come in their order; if False, they are shuffled."""
    pretraining: Pretraining | None = None
    channels: Channels | None = None
    """The mean and standard deviation with which images are normalised; None: not at all."""
    learned_after: tuple[int, ...] | None = None
    """For each task, the experience after which it counts as learned; None: its last one."""
    targets: Float32[np.ndarray, "target value"] | None = None
    """In regression, the values to predict, of which the `y` of an example is a row.

    There is an output unit for each value, the same ones for all tasks. None: classification.
    """

    @classmethod
    def of_tasks(
        cls,
        data: Dataset,
        parts: Sequence[tuple[Examples, Examples]],
        units: Bool[np.ndarray, "task unit"],
        pixels: Int64[np.ndarray, "task pixel"] | None = None,
        targets: Float32[np.ndarray, "target value"] | None = None,
    ) -> "Stream":
        """A stream in which each experience trains one task.

        Args:
            data: The dataset.
            parts: The training and the test examples of each task.
            units: True for the output units of each task.
            pixels: The source of every pixel in each task; see `pixels`.
            targets: The values to predict, in regression; see `targets`.
        """
        experiences = tuple(Experience.of(train, number) for number, (train, _) in enumerate(parts))
        tasks = tuple(Task(test) for _, test in parts)
        return cls(data, experiences, tasks, units, pixels, targets=targets)

    def __len__(self) -> int:
        """The number of experiences."""
        return len(self.experiences)

    def __iter__(self) -> "Iterator[ExperienceData]":
        """The experiences in order, with their examples as arrays, for a loop of one's own."""
        return (self._experience(number) for number in range(len(self.experiences)))

    @property
    def regression(self) -> bool:
        """True if values are predicted, and no classes."""
        return self.targets is not None

    @cached_property
    def first(self) -> Int64[np.ndarray, " task"]:
        """For each task, the first experience with training examples of it."""
        found = np.full(len(self.tasks), -1)
        for number, experience in reversed([*enumerate(self.experiences)]):
            found[experience.tasks] = number
        return found

    @cached_property
    def learned(self) -> Int64[np.ndarray, " task"]:
        """For each task, the experience after which it counts as learned."""
        if self.learned_after is not None:
            return np.array(self.learned_after, np.int64)
        found = np.full(len(self.tasks), -1)
        for number, experience in enumerate(self.experiences):
            found[experience.tasks] = number
        return found

    def tasks_until(self, experience: int) -> int:
        """The number of tasks that have come up to an experience, without a gap from the first."""
        all_before = np.maximum.accumulate(self.first)
        return int(np.searchsorted(all_before, experience, side="right"))

    @property
    def task_by_task(self) -> bool:
        """True if each experience trains one task, the task of its number."""
        return len(self.experiences) == len(self.tasks) and all(
            (experience.task == number).all() for number, experience in enumerate(self.experiences)
        )

    @property
    def learns_task_by_task(self) -> bool:
        """True if after each experience one more task counts as learned, that of its number."""
        return np.array_equal(self.learned, np.arange(len(self.experiences)))

    def test(self, task: int) -> tuple[np.ndarray, Targets]:
        """The test examples of a task and their targets, as arrays."""
        return self._seen(self.data.x_test, [task], "test")

    def _experience(self, number: int) -> "ExperienceData":
        experience = self.experiences[number]
        images = self.images(self.data.x_train, experience.row, experience.views)
        learned = np.flatnonzero(self.learned == number).tolist()
        trained = self.units[experience.tasks].any(0)
        x_test, y_test = self._seen(self.data.x_test, learned, "test")
        x_val, y_val = self._seen(self.data.x_train, learned, "validation")
        return ExperienceData(
            number,
            x_train=self.normalised(images),
            y_train=self._targets_of(experience.y),
            task_train=experience.task.copy(),
            x_test=x_test,
            y_test=y_test,
            outputs=np.flatnonzero(trained),
            x_val=x_val,
            y_val=y_val,
        )

    def _seen(
        self, x: np.ndarray, tasks: Sequence[int], part: Literal["test", "validation"]
    ) -> tuple[np.ndarray, Targets]:
        """The test or validation examples of some tasks as a model sees them, and their targets."""
        images = [np.zeros((0, *self.data.shape), np.float32)]
        labels = [np.zeros(0, np.int64)]
        for number in tasks:
            examples: Examples = getattr(self.tasks[number], part)
            seen = self.images(x, examples.row, examples.views(number))
            images.append(self.normalised(seen))
            labels.append(examples.y)
        return np.concatenate(images), self._targets_of(np.concatenate(labels))

    def _targets_of(self, y: Int64[np.ndarray, " n"]) -> Targets:
        """The targets of examples, as a copy."""
        return y.copy() if self.targets is None else self.targets[y]

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
        view: int | Int64[np.ndarray, " n"],
    ) -> np.ndarray:
        """Examples before augmentation and normalisation.

        Args:
            x: The examples of the dataset, as they are stored.
            row: The rows to take.
            view: The row of `pixels` by which they are seen, or that of each.

        Returns:
            An array of shape (n, *shape).
        """
        flat = x.reshape(len(x), -1)[row]
        if self.pixels is not None:
            sources = self.pixels[view]
            flat = np.pad(flat, ((0, 0), (0, 1)))
            # One view serves all rows, or each has its own.
            each = sources.ndim > 1
            flat = np.take_along_axis(flat, sources, 1) if each else flat[:, sources]
        scaled = np.asarray(flat * np.float32(self.data.scale))
        return scaled.reshape(len(row), *self.data.shape)
