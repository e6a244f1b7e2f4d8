"""Streams: tasks in order, cut from one dataset; and the benchmarks that cut them."""

import math
from abc import abstractmethod
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from retrograde.data import Dataset
from retrograde.environment import physical_bytes
from retrograde.errors import UserError, gigabytes
from retrograde.seeds import generator
from retrograde.settings import Count, Limit, Part

Scenario = Literal["task", "domain", "class"]
"""Task-incremental: told the task at test. Domain: one label set. Class: all classes compete (van de Ven 2022)."""


TASKS = 10_000
"""Tasks of a stream: all are tested after each."""


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

    def images(self, x: np.ndarray, row: Int64[np.ndarray, " n"], task: int) -> np.ndarray:
        """The examples as a model sees them in that task, (n, *shape); for learners that are not pure."""
        flat = x.reshape(len(x), -1)[row]
        if self.pixels is not None:
            flat = np.pad(flat, ((0, 0), (0, 1)))[:, self.pixels[task]]
        return np.asarray(flat * np.float32(self.data.scale)).reshape(len(row), *self.data.shape)


@dataclass(frozen=True, kw_only=True)
class Benchmark(Part):
    """A stream, a model and a training budget; `cut` is what a benchmark's file adds."""

    kind: ClassVar[str] = "benchmarks"
    later: ClassVar[tuple[str, ...]] = ("steps", "weighting", "test_every", "test_examples")

    dataset: str = "digits"
    scenario: Scenario = "class"
    examples: Limit = 0  # training examples per task; 0: all
    tests: Limit = 0  # test examples per task; 0: all
    epochs: Count = 1
    steps: Limit = 0  # per task, in as many epochs as they take; 0: as many as the epochs take
    batch: Count = 10
    glances: Count = 1  # consecutive steps on each mini-batch
    weighting: Literal["examples", "tasks"] = "examples"  # of arrivals and replay in one loss: alike, or 1 and t - 1 at task t
    probe: Limit = 100  # test examples of each task whose gradients are compared; 0: none
    probe_every: Limit = 0  # steps between two probes, at the pace of batch and glances; 0: at the end of each task only
    test_every: Limit = 0  # steps between two tests amid a task; 0: at the end of each task only
    test_examples: Limit = 0  # test examples of each task for those; 0: all
    model: str = "mlp-100-100"
    optimizer: Literal["sgd", "momentum", "adam"] = "sgd"

    def __post_init__(self) -> None:
        """Refuse settings that others leave without effect."""
        super().__post_init__()
        default = {field.name: field.default for field in fields(self)}
        ignored = [
            ("epochs", "steps", self.steps > 0),
            ("probe_every", "probe", not self.probe),
            ("test_examples", "test_every", not self.test_every),
        ]
        for name, decides, idle in ignored:
            if idle and (value := getattr(self, name)) != default[name]:
                raise UserError(
                    f"Every setting has an effect; with {decides}={getattr(self, decides)}, {name}={value} has none. "
                    "Leave one of them out."
                )

    @abstractmethod
    def cut(self, data: Dataset, seed: int) -> Stream:
        """Cut the dataset into tasks; every random choice comes from `seeds.generator(seed, axis)`."""

    def stream(self, data: Dataset, seed: int) -> Stream:
        """The stream of one replicate, with the stated numbers of examples per task."""
        self._check_tasks(data)
        stream = self.cut(data, seed)
        limits = {"train": self.examples, "test": self.tests}

        def limited(number: int, task: Task) -> Task:
            parts = (
                _sample(part, limits[name], generator(seed, name, number))
                for name, part in zip(task._fields, task, strict=True)
            )
            return Task(*parts)

        return replace(stream, tasks=tuple(limited(number, task) for number, task in enumerate(stream.tasks)))

    def _check_tasks(self, data: Dataset) -> None:
        """Raise `UserError` where there are far too many tasks, or a table of the pixels of each exceeds the memory."""
        tasks, table = int(getattr(self, "tasks", 1)), 3 * 8 * math.prod(data.shape)
        if tasks > TASKS:
            raise UserError(f"A stream has at most {TASKS} tasks; tasks={tasks}. Lower it.")
        if tasks * table > physical_bytes():
            raise UserError(
                f"Tables of all tasks are held in memory, here {gigabytes(physical_bytes())}; tasks={tasks} take about "
                f"{gigabytes(tasks * table)}. Lower it, or take smaller examples."
            )


def _sample(examples: Examples, limit: int, random: np.random.Generator) -> Examples:
    if not limit or limit >= len(examples.row):
        return examples
    chosen = np.sort(random.permutation(len(examples.row))[:limit])
    return Examples(examples.row[chosen], examples.y[chosen])


def split_classes(data: Dataset, groups: list[Int64[np.ndarray, " _"]], scenario: Scenario) -> Stream:
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


def same_classes(data: Dataset, pixels: Int64[np.ndarray, "task pixel"], scenario: Scenario) -> Stream:
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
    return Stream(data, tasks, np.ones((count, data.classes), dtype=bool) if units is None else units, pixels)


def need_images(data: Dataset, what: str) -> tuple[int, int, int]:
    """The (channel, height, width) of a dataset of images; raises `UserError` for other data."""
    if len(data.shape) != 3:
        raise UserError(f"{what} needs images; the examples of {data.name} have shape {data.shape}.")
    channel, height, width = data.shape
    return channel, height, width
