"""Conversion of streams to Avalanche's benchmarks and back; importing this takes seconds."""

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from retrograde.data.dataset import Dataset
from retrograde.data.sources import data_folder
from retrograde.data.torchvision import import_torchvision
from retrograde.errors import UserError, nearest
from retrograde.randomness import seeded, torch_seed
from retrograde.streams.stream import Examples, Experience, Scenario, Stream, Task

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import_torchvision()
        from avalanche import benchmarks
        from avalanche.benchmarks import CLScenario, DatasetExperience, EagerCLStream
        from avalanche.benchmarks.utils import (
            ConstantSequence,
            DataAttribute,
            TaskAwareSupervisedClassificationDataset,
        )
except ImportError as error:
    raise UserError(
        "Avalanche's strategies and benchmarks need the package avalanche-lib, "
        f"which does not import ({error}). "
        "Install it: pip install -c constraints.txt avalanche-lib."
    ) from error

COUNTS = {"n_experiences", "num_experiences"}
"""Arguments of functions that make a benchmark: each of them takes one or the other."""


class Labelled(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Examples in the form that Avalanche needs: items are (tensor, int), `targets` is a list."""

    def __init__(
        self,
        x: Shaped[Tensor, "row *shape"],
        y: Int64[Tensor, " row"],
    ) -> None:
        self.x = x
        self.targets: Any = y.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        return self.x[place], int(self.targets[place])


class Replaceable(DatasetExperience[Any]):  # type: ignore[misc]
    """An experience whose data a strategy may replace, as BiC does."""

    @property
    def dataset(self) -> Any:
        """The examples of the experience."""
        return self._dataset

    @dataset.setter
    def dataset(self, other: Any) -> None:
        self._dataset = other


def experience(
    x: Float[Tensor, "row *shape"],
    y: Int64[Tensor, " row"],
    number: int,
    units: Bool[np.ndarray, "task unit"],
    scenario: Scenario,
) -> Any:
    """The examples of a task as an experience of Avalanche.

    Args:
        x: The examples.
        y: The label (output unit) of each.
        number: The task.
        units: True for the output units of each task of the stream.
        scenario: The experience has a task label in task-incremental streams only.
    """
    is_task_aware = scenario == "task"
    label = number if is_task_aware else 0
    result: Any = Replaceable(dataset=_dataset(Labelled(x, y), label), current_experience=number)
    _add_classes(result, number, units)
    if is_task_aware:
        result.task_label = number
        result.task_labels = [number]
    # A stream registers itself with its experiences, and numbers them from 0.
    EagerCLStream("train", [result])
    result.current_experience = number
    return result


def _add_classes(
    result: Any,
    number: int,
    units: Bool[np.ndarray, "task unit"],
) -> None:
    """Give an experience the classes of its own task, of tasks before it and of those after it."""
    classes = [set(np.flatnonzero(task).tolist()) for task in units]
    result.classes_in_this_experience = classes[number]
    result.previous_classes = set().union(*classes[:number])
    result.classes_seen_so_far = result.previous_classes | classes[number]
    later_classes = set().union(*classes[number + 1 :])
    result.future_classes = later_classes - result.classes_seen_so_far
    # Avalanche's iCaRL looks for them here.
    result.benchmark = SimpleNamespace(
        n_classes_per_exp=[len(task) for task in classes],
        classes_order=[unit for task in classes for unit in sorted(task)],
    )


def _dataset(rows: Labelled, label: int) -> Any:
    """The rows as a dataset of Avalanche, all with one task label."""
    labels = ConstantSequence(label, len(rows))
    attributes = [
        DataAttribute(rows.targets, "targets"),
        DataAttribute(labels, "targets_task_labels", use_in_getitem=True),
    ]
    return TaskAwareSupervisedClassificationDataset([rows], data_attributes=attributes)


def as_avalanche(stream: Stream, scenario: Scenario) -> Any:
    """A stream as a benchmark of Avalanche, with a `train_stream` and a `test_stream`.

    Labels are output units.
    """

    def part(name: str) -> Any:
        x = getattr(stream.data, f"x_{name}")
        experiences = []
        tests = [Experience.of(task.test, number) for number, task in enumerate(stream.tasks)]
        parts = stream.experiences if name == "train" else tests
        for number, examples in enumerate(parts):
            images = torch.from_numpy(stream.images(x, examples.row, examples.views))
            labels = torch.from_numpy(examples.y.copy())
            experiences.append(experience(images, labels, number, stream.units, scenario))
        return EagerCLStream(name, experiences)

    return CLScenario([part("train"), part("test")])


def from_avalanche(benchmark: Any, data: Dataset | None = None) -> Stream:
    """A benchmark of Avalanche as a stream, with the transforms that it has for evaluation.

    Args:
        benchmark: The benchmark. Its experiences share all of their classes or none. A single test
            experience is the test of every task.
        data: The dataset. If it is given, each example of the benchmark is the number of a row of
            it; if not, the examples of the benchmark become the dataset.

    Raises:
        UserError: The benchmark is not of that form.
    """
    train = [_examples(experience) for experience in benchmark.train_stream]
    test = [_examples(experience) for experience in benchmark.test_stream]
    if len(test) not in (1, len(train)):
        raise UserError(
            f"Each task needs a test experience; the benchmark has {len(train)} train and "
            f"{len(test)} test experiences."
        )
    if data is None:
        x_train, y_train, train = _pooled(train)
        x_test, y_test, test = _pooled(test)
        data = Dataset("avalanche", x_train, y_train, x_test, y_test)
    units = _units([y for _, y in train], data.classes)
    # A single test experience is the test of every task, as in Avalanche's evaluation.
    if len(test) == 1:
        test = test * len(train)
    pairs = [
        (Examples(*trained), Examples(*tested)) for trained, tested in zip(train, test, strict=True)
    ]
    return Stream.of_tasks(data, pairs, units)


def _units(labels: list[np.ndarray], classes: int) -> Bool[np.ndarray, "task unit"]:
    """True for the classes of each experience."""
    units = np.zeros((len(labels), classes), dtype=bool)
    for task, y in zip(units, labels, strict=True):
        task[y] = True
    if units.sum(0).max() > 1 and not units.all():
        raise UserError(
            "Experiences must share all of their classes or none; "
            "here some classes are in several, not in all."
        )
    return units


def _examples(experience: Any) -> tuple[np.ndarray, np.ndarray]:
    """The examples of an experience, or the numbers of their rows, and their labels."""
    # An item has a task label after these two.
    items = [item[:2] for item in experience.dataset.eval()]
    x = np.stack([np.asarray(value) for value, _ in items])
    return x, np.array([int(label) for _, label in items])


def _pooled(
    parts: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """All examples and labels one after the other, and the rows and labels of each part."""
    x = np.concatenate([examples for examples, _ in parts])
    y = np.concatenate([labels for _, labels in parts])
    ends = np.cumsum([len(labels) for _, labels in parts])
    rows = np.split(np.arange(len(y)), ends[:-1])
    return x, y, [(row, y[row]) for row in rows]


def for_scenario(stream: Stream, scenario: Scenario) -> Stream:
    """The stream with the labels of a scenario.

    In domain-incremental streams, all tasks have one label set. In others, each class has an output
    unit of its own.
    """
    has_own_labels = stream.units.sum(0).max() == 1
    if has_own_labels == (scenario != "domain"):
        return stream
    labels = _shared_labels(stream.units) if has_own_labels else _own_labels(stream.units)
    units = np.zeros((len(labels), labels.max() + 1), dtype=bool)
    for task_units, label in zip(units, labels, strict=True):
        task_units[label[label >= 0]] = True
    experiences = [
        experience._replace(y=labels[experience.task, experience.y])
        for experience in stream.experiences
    ]
    tasks = []
    for task, label in zip(stream.tasks, labels, strict=True):
        parts = [part._replace(y=label[part.y]) for part in task]
        tasks.append(Task(*parts))
    return replace(stream, experiences=tuple(experiences), tasks=tuple(tasks), units=units)


def _shared_labels(units: Bool[np.ndarray, "task unit"]) -> Int64[np.ndarray, "task unit"]:
    """The number of each unit among those of its task, from 0; -1 for other tasks' units."""
    return np.where(units, units.cumsum(1) - 1, -1)


def _own_labels(units: Bool[np.ndarray, "task unit"]) -> Int64[np.ndarray, "task unit"]:
    """A label of its own for every unit of every task."""
    return np.arange(units.size).reshape(units.shape)


def cut(
    name: str,
    arguments: Mapping[str, Any],
    data: Dataset,
    seed: int,
) -> Stream:
    """The stream of a function of `avalanche.benchmarks`.

    Args:
        name: The name of the function.
        arguments: Its arguments.
        data: The dataset to cut, unless the function brings its own data.
        seed: The seed of the function's choices. Data that it brings itself are cut the same for
            every seed.

    Raises:
        UserError: There is no such function, or it does not accept the arguments.
    """
    makers = _makers()
    if name not in makers:
        raise UserError(f"Avalanche has no benchmark {name!r}. {nearest(name, makers)}")
    maker = makers[name]
    known = _arguments(maker)
    for argument in arguments:
        if argument not in known:
            raise UserError(f"Avalanche's {name} takes no {argument!r}. {nearest(argument, known)}")
    # Row numbers instead of examples: the examples stay in `data`.
    train = _numbered(data.y_train)
    test = _numbered(data.y_test)
    provided = {
        "datasets_dict": {"train": train, "test": test},
        "train_dataset": train,
        "test_dataset": test,
    }
    if not provided.keys() & known:
        return _stream_with_own_data(maker, tuple(sorted(arguments.items())), data_folder())
    benchmark = _call_maker(maker, provided | dict(arguments), torch_seed(seed, "classes"))
    return from_avalanche(benchmark, data)


def _makers() -> dict[str, Callable[..., Any]]:
    """The functions of `avalanche.benchmarks` that make a benchmark, by name."""
    return {
        name: value
        for name, value in vars(benchmarks).items()
        if inspect.isfunction(value) and COUNTS & _arguments(value)
    }


@cache
def _stream_with_own_data(
    function: Callable[..., Any],
    arguments: tuple[tuple[str, Any], ...],
    folder: Path,
) -> Stream:
    """The stream of a function that brings its own data.

    It is read once per process and is the same for every seed, since replicates share examples.
    """
    benchmark = _call_maker(function, {"dataset_root": folder} | dict(arguments), 0)
    return from_avalanche(benchmark)


def _call_maker(
    function: Callable[..., Any],
    given: dict[str, Any],
    seed: int,
) -> Any:
    """The benchmark that a function makes from those arguments that it knows."""
    # Avalanche takes an order of classes or a seed, not both.
    if not {"class_order", "fixed_class_order"} & given.keys():
        given = {"seed": seed} | given
    known = _arguments(function)
    accepted = {name: value for name, value in given.items() if name in known}
    try:
        # Not every function passes its seed on to all of its draws.
        with seeded(seed):
            return function(**accepted)
    except Exception as error:
        raise UserError(
            f"Avalanche's {function.__name__} cannot be made: {error!r}. Check its arguments."
        ) from error


def _arguments(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)


def _numbered(y: np.ndarray) -> Any:
    """A dataset of Avalanche whose examples are row numbers."""
    rows = torch.arange(len(y))
    labels = torch.from_numpy(y.copy())
    return _dataset(Labelled(rows, labels), 0)
