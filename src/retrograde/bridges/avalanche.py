"""Streams of ours as Avalanche's benchmarks, and the other way round; importing this takes seconds."""

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
from retrograde.streams.stream import Examples, Scenario, Stream, Task

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
        f"Avalanche's strategies and benchmarks need the package avalanche-lib, which does not import ({error}). "
        "Install it: pip install -c constraints.txt avalanche-lib."
    ) from error

COUNTS = {"n_experiences", "num_experiences"}
"""What a function that makes a benchmark is told, one or the other."""


class Labelled(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Examples as Avalanche wants them: an item is (tensor, int), and `targets` is a list."""

    def __init__(self, x: Shaped[Tensor, "row *shape"], y: Int64[Tensor, " row"]) -> None:
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
        """The examples."""
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
    """Examples of a task as an experience: with a task label in task-incremental only, and the classes before and after it."""
    told = scenario == "task"
    made: Any = Replaceable(
        dataset=_dataset(Labelled(x, y), number if told else 0), current_experience=number
    )
    classes = [set(np.flatnonzero(own).tolist()) for own in units]
    made.classes_in_this_experience = classes[number]
    made.previous_classes = set().union(*classes[:number])
    made.classes_seen_so_far = made.previous_classes | classes[number]
    made.future_classes = set().union(*classes[number + 1 :]) - made.classes_seen_so_far
    made.benchmark = SimpleNamespace(  # where iCaRL looks for them
        n_classes_per_exp=[len(own) for own in classes],
        classes_order=[unit for own in classes for unit in sorted(own)],
    )
    if told:
        made.task_label, made.task_labels = number, [number]
    EagerCLStream("train", [made])
    made.current_experience = number
    return made


def _dataset(rows: Labelled, label: int) -> Any:
    task = DataAttribute(
        ConstantSequence(label, len(rows)), "targets_task_labels", use_in_getitem=True
    )
    return TaskAwareSupervisedClassificationDataset(
        [rows], data_attributes=[DataAttribute(rows.targets, "targets"), task]
    )


def as_avalanche(stream: Stream, scenario: Scenario) -> Any:
    """A stream as an Avalanche benchmark with a `train_stream` and a `test_stream`; labels are output units."""

    def part(name: str) -> Any:
        x = getattr(stream.data, f"x_{name}")
        made = []
        for number, task in enumerate(stream.tasks):
            row, y = getattr(task, name)
            images = torch.from_numpy(stream.images(x, row, number))
            made.append(
                experience(images, torch.from_numpy(y.copy()), number, stream.units, scenario)
            )
        return EagerCLStream(name, made)

    return CLScenario([part("train"), part("test")])


def from_avalanche(benchmark: Any, data: Dataset | None = None) -> Stream:
    """An Avalanche benchmark as a stream: what its train and test experiences hold, with the transforms for evaluation.

    Where `data` is given, an example is the number of its row there. Classes are either each of one experience, or all of every
    one; a single test experience is that of every task.
    """
    train, test = (
        [_examples(each) for each in stream]
        for stream in (benchmark.train_stream, benchmark.test_stream)
    )
    if len(test) not in (1, len(train)):
        raise UserError(
            f"Each task has a test; the benchmark has {len(train)} train and {len(test)} test experiences."
        )
    if data is None:
        (x_train, y_train, train), (x_test, y_test, test) = _pooled(train), _pooled(test)
        data = Dataset("avalanche", x_train, y_train, x_test, y_test)
    units = np.zeros((len(train), data.classes), dtype=bool)
    for own, (_, y) in zip(units, train, strict=True):
        own[y] = True
    if units.sum(0).max() > 1 and not units.all():
        raise UserError(
            "Experiences share all of their classes or none; here some classes are in several, not in all."
        )
    test = test * len(train) if len(test) == 1 else test
    return Stream(
        data,
        tuple(Task(Examples(*a), Examples(*b)) for a, b in zip(train, test, strict=True)),
        units,
    )


def _examples(experience: Any) -> tuple[np.ndarray, np.ndarray]:
    items = [item[:2] for item in experience.dataset.eval()]
    return np.stack([np.asarray(x) for x, _ in items]), np.array([int(y) for _, y in items])


def _pooled(
    parts: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """All examples one after the other, and the rows and labels of each part."""
    x, y = (np.concatenate(each) for each in zip(*parts, strict=True))
    rows = np.split(np.arange(len(y)), np.cumsum([len(labels) for _, labels in parts])[:-1])
    return x, y, [(row, y[row]) for row in rows]


def for_scenario(stream: Stream, scenario: Scenario) -> Stream:
    """The stream with the labels of a scenario: classes told apart across tasks, or in domain-incremental one label set."""
    count, classes = stream.units.shape
    apart = stream.units.sum(0).max() == 1
    if apart == (scenario != "domain"):
        return stream
    label = (
        np.where(stream.units, stream.units.cumsum(1) - 1, -1)
        if apart
        else np.arange(count * classes).reshape(count, classes)
    )
    units = np.zeros((count, label.max() + 1), dtype=bool)
    for own, new in zip(units, label, strict=True):
        own[new[new >= 0]] = True
    tasks = [
        Task(*(Examples(part.row, new[part.y]) for part in task))
        for new, task in zip(label, stream.tasks, strict=True)
    ]
    return replace(stream, tasks=tuple(tasks), units=units)


def cut(name: str, arguments: Mapping[str, Any], data: Dataset, seed: int) -> Stream:
    """The tasks that a function of `avalanche.benchmarks` makes: of `data` and that seed, or of data that it brings itself."""
    made = {
        n: each
        for n, each in vars(benchmarks).items()
        if inspect.isfunction(each) and COUNTS & _arguments(each)
    }
    if name not in made:
        raise UserError(f"Avalanche has no benchmark {name!r}. {nearest(name, made)}")
    known = _arguments(made[name])
    for argument in arguments:
        if argument not in known:
            raise UserError(f"Avalanche's {name} takes no {argument!r}. {nearest(argument, known)}")
    numbered = {part: _numbered(getattr(data, f"y_{part}")) for part in ("train", "test")}
    ours = {"datasets_dict": numbered} | {
        f"{part}_dataset": each for part, each in numbered.items()
    }
    if not ours.keys() & known:
        return _brought(made[name], tuple(sorted(arguments.items())), data_folder())
    return from_avalanche(
        _made(made[name], ours | dict(arguments), torch_seed(seed, "classes")), data
    )


@cache
def _brought(
    function: Callable[..., Any], arguments: tuple[tuple[str, Any], ...], folder: Path
) -> Stream:
    """Read once per process, and the same for every seed, since replicates share their examples."""
    return from_avalanche(_made(function, {"dataset_root": folder} | dict(arguments), 0))


def _made(function: Callable[..., Any], given: dict[str, Any], seed: int) -> Any:
    known = _arguments(function)
    if not {"class_order", "fixed_class_order"} & given.keys():  # Avalanche takes one or the other
        given = {"seed": seed} | given
    try:
        with seeded(seed):
            return function(**{name: value for name, value in given.items() if name in known})
    except Exception as error:
        raise UserError(
            f"Avalanche's {function.__name__} cannot be made: {error!r}. Check its arguments."
        ) from error


def _arguments(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)


def _numbered(y: np.ndarray) -> Any:
    return _dataset(Labelled(torch.arange(len(y)), torch.from_numpy(y.copy())), 0)
