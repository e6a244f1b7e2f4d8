"""The interface of a benchmark of streams."""

import math
from abc import abstractmethod
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal

import numpy as np

from retrograde.data.dataset import Dataset
from retrograde.data.sources import data_folder, load
from retrograde.errors import UserError, gigabytes
from retrograde.machine import physical_bytes
from retrograde.parts.fields import Count, Limit
from retrograde.parts.part import Part
from retrograde.randomness import generator
from retrograde.streams.stream import Examples, Scenario, Stream, Task

TASKS = 10_000
"""Tasks of a stream: all are tested after each."""


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
    weighting: Literal["examples", "tasks"] = (
        "examples"  # of arrivals and replay in one loss: alike, or 1 and t - 1 at task t
    )
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
        """Cut the dataset into tasks; every random choice comes from `generator(seed, axis)`."""

    def stream(self, data: Dataset | None = None, seed: int = 0) -> Stream:
        """The stream of one replicate, with the stated numbers of examples per task.

        Args:
            data: what it is cut from; None: the benchmark's `dataset`, from the data folder.
            seed: of the replicate; class order, examples and data order follow from it.

        Raises:
            UserError: the dataset cannot be had, or cannot be cut as the settings say.
        """
        data = load(self.dataset, data_folder()) if data is None else data
        self._check_tasks(data)
        stream = self.cut(data, seed)
        limits = {"train": self.examples, "test": self.tests}

        def limited(number: int, task: Task) -> Task:
            parts = (
                _sample(part, limits[name], generator(seed, name, number))
                for name, part in zip(task._fields, task, strict=True)
            )
            return Task(*parts)

        return replace(
            stream, tasks=tuple(limited(number, task) for number, task in enumerate(stream.tasks))
        )

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
