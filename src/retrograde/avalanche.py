"""Streams of ours as Avalanche's benchmarks, and the other way round; importing this takes seconds."""

import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from retrograde.data import Dataset, import_torchvision
from retrograde.errors import UserError
from retrograde.stream import Examples, Scenario, Stream, Task

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import_torchvision()
        from avalanche.benchmarks import CLScenario, DatasetExperience, EagerCLStream
        from avalanche.benchmarks.utils import ConstantSequence, DataAttribute, TaskAwareSupervisedClassificationDataset
except ImportError as error:
    raise UserError(
        f"Avalanche's strategies and benchmarks need the package avalanche-lib, which does not import ({error}). "
        "Install it: pip install -c constraints.txt avalanche-lib."
    ) from error


class Labelled(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Examples as Avalanche wants them: an item is (tensor, int), and `targets` is a list."""

    def __init__(self, x: Float[Tensor, "row *shape"], y: Int64[Tensor, " row"]) -> None:
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
    label = DataAttribute(ConstantSequence(number if told else 0, len(y)), "targets_task_labels", use_in_getitem=True)
    rows = Labelled(x, y)
    data = TaskAwareSupervisedClassificationDataset([rows], data_attributes=[DataAttribute(rows.targets, "targets"), label])
    made: Any = Replaceable(dataset=data, current_experience=number)
    classes = [set(np.flatnonzero(own).tolist()) for own in units]
    made.classes_in_this_experience = classes[number]
    made.previous_classes = set().union(*classes[:number])
    made.classes_seen_so_far = made.previous_classes | classes[number]
    made.future_classes = set().union(*classes[number + 1 :]) - made.classes_seen_so_far
    made.benchmark = SimpleNamespace(  # where iCaRL looks for them
        n_classes_per_exp=[len(own) for own in classes], classes_order=[unit for own in classes for unit in sorted(own)]
    )
    if told:
        made.task_label, made.task_labels = number, [number]
    EagerCLStream("train", [made])
    made.current_experience = number
    return made


def as_avalanche(stream: Stream, scenario: Scenario) -> Any:
    """A stream as an Avalanche benchmark with a `train_stream` and a `test_stream`; labels are output units."""

    def part(name: str) -> Any:
        x = getattr(stream.data, f"x_{name}")
        made = []
        for number, task in enumerate(stream.tasks):
            row, y = getattr(task, name)
            images = torch.from_numpy(stream.images(x, row, number))
            made.append(experience(images, torch.from_numpy(y.copy()), number, stream.units, scenario))
        return EagerCLStream(name, made)

    return CLScenario([part("train"), part("test")])


def from_avalanche(benchmark: Any, name: str = "avalanche") -> Stream:
    """An Avalanche benchmark as a stream: what its train and test experiences hold, with the transforms for evaluation.

    Classes are either each of one experience, or all of every one. A single test experience is that of every task.
    """
    train = [_examples(each) for each in benchmark.train_stream]
    test = [_examples(each) for each in benchmark.test_stream]
    x_train, y_train, own_train = _pool(train)
    x_test, y_test, own_test = _pool(test)
    own_test = own_test * len(train) if len(test) == 1 else own_test
    if len(own_test) != len(train):
        raise UserError(f"Each task has a test; the benchmark has {len(train)} train and {len(test)} test experiences.")
    units = np.zeros((len(train), int(y_train.max()) + 1), dtype=bool)
    for number, (_, y) in enumerate(train):
        units[number, y] = True
    if units.sum(0).max() > 1 and not units.all():
        raise UserError("Experiences share all of their classes or none; here some classes are in several, not in all.")
    tasks = tuple(Task(*pair) for pair in zip(own_train, own_test, strict=True))
    return Stream(Dataset(name, x_train, y_train, x_test, y_test), tasks, units)


def _examples(experience: Any) -> tuple[np.ndarray, np.ndarray]:
    items = [item[:2] for item in experience.dataset.eval()]
    return np.stack([np.asarray(x, np.float32) for x, _ in items]), np.array([int(y) for _, y in items])


def _pool(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, list[Examples]]:
    """All examples one after the other, and those of each part."""
    x, y = (np.concatenate(each) for each in zip(*parts, strict=True))
    ends = np.cumsum([len(labels) for _, labels in parts])
    rows = np.split(np.arange(len(y)), ends[:-1])
    return x, y, [Examples(row, y[row]) for row in rows]
