"""The interface of a benchmark of streams."""

import math
from abc import abstractmethod
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal

import numpy as np

from retrograde.data.dataset import Dataset
from retrograde.data.sources import data_folder, load
from retrograde.errors import UserError, gigabytes, shown
from retrograde.machine import physical_bytes
from retrograde.parts.fields import Count, Limit
from retrograde.parts.part import Part
from retrograde.randomness import generator
from retrograde.streams.stream import Examples, Scenario, Stream, Task

TASKS = 10_000
"""The largest number of tasks of a stream, since all of them are evaluated after each."""


@dataclass(frozen=True, kw_only=True)
class Benchmark(Part):
    """A stream, a model and a training budget; a benchmark's file defines `cut`."""

    kind: ClassVar[str] = "benchmarks"

    dataset: str = "digits"
    scenario: Scenario = "class"
    # Training examples per task; 0: all.
    train_examples: Limit = 0
    # Test examples per task; 0: all.
    test_examples: Limit = 0
    epochs: Count = 1
    # Steps per task, in as many epochs as they take; 0: as many as the epochs take.
    steps: Limit = 0
    batch_size: Count = 10
    # Updates on each mini-batch, one after the other.
    updates_per_batch: Count = 1
    # Weights of losses on incoming and replayed examples: per example, or 1 to t - 1 at task t.
    weighting: Literal["examples", "tasks"] = "examples"
    # Test examples per task for gradient probes; 0: none.
    probe_examples: Limit = 100
    # Steps of the benchmark's own pace between two probes; 0: only at the end of each task.
    probe_every: Limit = 0
    # Steps between two evaluations during a task; 0: only at the end of each task.
    eval_every: Limit = 0
    # Test examples per task for these evaluations; 0: all.
    eval_examples: Limit = 0
    # Steps between two means of the statistics that a strategy logs; 0: one for each experience.
    log_every: Limit = 0
    model: str = "mlp-100-100"
    optimizer: Literal["sgd", "momentum", "adam"] = "sgd"

    def __post_init__(self) -> None:
        """Raise `UserError` if a setting has no effect because of another one."""
        super().__post_init__()
        default = {field.name: field.default for field in fields(self)}
        ignored = [
            ("epochs", "steps", self.steps > 0),
            ("probe_every", "probe_examples", not self.probe_examples),
            ("eval_examples", "eval_every", not self.eval_every),
        ]
        for name, decides, idle in ignored:
            value = getattr(self, name)
            if idle and value != default[name]:
                raise UserError(
                    f"Every setting must have an effect; with {decides}={getattr(self, decides)}, "
                    f"{name}={value} has none. Leave one of them out."
                )

    @abstractmethod
    def cut(self, data: Dataset, seed: int) -> Stream:
        """Cut the dataset into tasks; every random choice comes from `generator(seed, axis)`."""

    def stream(
        self,
        data: Dataset | None = None,
        seed: int = 0,
    ) -> Stream:
        """The stream of one replicate, with no more examples per task than the settings allow.

        Args:
            data: The dataset to cut; None: the benchmark's `dataset`, from the data folder.
            seed: The seed of the replicate. Class order, examples and data order follow from it.

        Raises:
            UserError: The dataset is not available, or cannot be cut as the settings say.
        """
        check_given(data, seed, "stream")
        data = load(self.dataset, data_folder()) if data is None else data
        self._check_tasks(data)
        stream = self.cut(data, seed)
        tasks = [self._limited(task, number, seed) for number, task in enumerate(stream.tasks)]
        return replace(stream, tasks=tuple(tasks))

    def _limited(
        self,
        task: Task,
        number: int,
        seed: int,
    ) -> Task:
        """The task with no more examples than the settings allow."""
        train = _sample(task.train, self.train_examples, generator(seed, "train", number))
        test = _sample(task.test, self.test_examples, generator(seed, "test", number))
        return Task(train, test)

    def _check_tasks(self, data: Dataset) -> None:
        """Raise `UserError` if there are too many tasks, or their tables exceed physical memory."""
        tasks = int(getattr(self, "tasks", 1))
        # 8 bytes for each pixel of a task's table, with room for copies of it.
        table = 3 * 8 * math.prod(data.shape)
        if tasks > TASKS:
            raise UserError(f"A stream has at most {TASKS} tasks; tasks={tasks}. Lower it.")
        if tasks * table > physical_bytes():
            raise UserError(
                f"The pixel tables of all tasks are in memory, here {gigabytes(physical_bytes())}; "
                f"tasks={tasks} take about {gigabytes(tasks * table)}. "
                "Lower it, or take smaller examples."
            )


def check_given(data: object, seed: object, method: str) -> None:
    """Raise `UserError` unless `method` of a benchmark was given a dataset or None, and a seed."""
    if data is not None and not isinstance(data, Dataset):
        raise UserError(
            f"Examples come from an rg.Dataset; data was {shown(data)}. "
            f"Give a seed by its name: {method}(seed=0)."
        )
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise UserError(f"A seed is a whole number, at least 0; it was {shown(seed)}.")


def _sample(
    examples: Examples,
    limit: int,
    random: np.random.Generator,
) -> Examples:
    """At most `limit` of the examples, in their order; 0: all."""
    if not limit or limit >= len(examples.row):
        return examples
    chosen = np.sort(random.permutation(len(examples.row))[:limit])
    return Examples(examples.row[chosen], examples.y[chosen])
