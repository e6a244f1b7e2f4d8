"""Toy data for the contract."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from retrograde.data.dataset import Dataset
from retrograde.interface.benchmark import Benchmark
from retrograde.randomness import generator
from retrograde.streams.cuts import of_classes, split_classes
from retrograde.streams.stream import Experience, Pretraining, Stream


@dataclass(frozen=True, kw_only=True)
class Blobs(Benchmark):
    """The easiest stream: well separated clusters, a few classes per task, the highest first."""

    model: str = "mlp-16"
    tasks: int = 3
    # The number of classes of a task.
    classes: int = 2
    # The number of classes that are held out of the stream, for pretraining.
    held: int = 0
    # If True, the sizes of tasks depend on the seed.
    uneven: bool = False
    # If True, the examples of all tasks come in one experience, shuffled.
    mixed: bool = False
    # If True, the values to predict are 1 for an example's class and 0 for the others.
    regression: bool = False

    def cut(self, data: Dataset, seed: int) -> Stream:
        """See `Benchmark.cut`."""
        classes = np.arange(self.classes * self.tasks)[::-1]
        groups = np.split(classes, self.tasks)
        stream = split_classes(data, groups, self.scenario)
        if self.uneven:
            experiences = [
                experience.at(slice(12 * ((seed + number) % 3), None))
                for number, experience in enumerate(stream.experiences)
            ]
            stream = replace(stream, experiences=tuple(experiences))
        if self.mixed:
            columns = [np.concatenate(parts) for parts in zip(*_columns(stream), strict=True)]
            stream = replace(stream, experiences=(Experience(*columns),))
        if self.regression:
            classes = stream.units.shape[1]
            stream = replace(stream, targets=np.eye(classes, dtype=np.float32))
        if not self.held:
            return stream
        return replace(stream, pretraining=self._pretraining(data, stream))

    def _pretraining(
        self,
        data: Dataset,
        stream: Stream,
    ) -> Pretraining:
        """Pretraining on the classes that are held out, which share the stream's output units."""
        unit = np.arange(data.classes) - self.classes * self.tasks
        unit = np.where(unit < 0, -1, unit % stream.units.shape[1])
        examples = of_classes(data.y_train, unit)
        return Pretraining(
            examples,
            steps=20,
            trajectory_classes=2,
            shots=3,
            queries=2,
            remember_examples=6,
        )


def _columns(stream: Stream) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The row, the output unit and the task of the training examples of each experience."""
    return [(each.row, each.y, each.task) for each in stream.experiences]


VECTOR = (12,)
"""The shape of a toy example, unless a model needs another."""
IMAGES = ((1, 8, 8), (3, 8, 8), (1, 32, 32), (3, 32, 32))
"""The shapes of toy images, of which a model gets the first that it can take."""


def blobs(
    tasks: int = 3,
    train: int = 23,
    scramble_last: bool = False,
    held: int = 0,
    shape: tuple[int, ...] = VECTOR,
    classes: int = 2,
) -> Dataset:
    """A dataset of separate clusters.

    Args:
        tasks: The number of tasks.
        train: The number of training examples of each cluster.
        scramble_last: If True, the examples of the last task are replaced by noise.
        held: The number of further clusters that are in no task.
        shape: The shape of one example.
        classes: The number of clusters of each task.
    """
    random = generator(0, "blobs")
    size = math.prod(shape)
    centres = _centres(classes * tasks, shape, random)
    # A generator of their own: the tasks are the same with and without held-out clusters.
    further = _centres(held, shape, generator(0, "held"))
    centres = np.concatenate([centres, further])
    # Images have the norm of vectors: with a larger one, a model would diverge at the usual rates.
    scale = math.sqrt(math.prod(VECTOR) / size)

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        y = np.repeat(np.arange(len(centres)), count)
        x = centres[y] + 0.3 * random.standard_normal((len(y), size))
        if scramble_last:
            noise = generator(1, "noise").standard_normal(x.shape)
            # Classes come in descending order, so the last task has the first ones.
            x = np.where(y[:, None] < classes, noise, x)
        return (scale * x).astype(np.float32).reshape(len(y), *shape), y

    x_train, y_train = part(train)
    x_test, y_test = part(10)
    return Dataset("blobs", x_train, y_train, x_test, y_test)


def _centres(
    count: int,
    shape: tuple[int, ...],
    random: np.random.Generator,
) -> np.ndarray:
    """The centres of clusters, one to a row.

    Images are coarse and symmetric: a flip or a small crop leaves them in their cluster.
    """
    if len(shape) != 3:
        return 2 * random.standard_normal((count, math.prod(shape)))
    channels, height, width = shape
    coarse = 2 * random.standard_normal((count, channels, 4, 4))
    symmetric = (coarse + coarse[..., ::-1] + coarse[..., ::-1, :] + coarse[..., ::-1, ::-1]) / 2
    row, column = (np.arange(sides) * 4 // sides for sides in (height, width))
    return symmetric[..., row, :][..., column].reshape(count, math.prod(shape))


@dataclass(frozen=True)
class Ground:
    """Ground on which a strategy is tried: the form of toy examples, and settings of `Blobs`.

    Args:
        shape: The shape of one example.
        classes: The number of classes of a task.
        held: The number of further classes, which are held out for pretraining.
        settings: Settings of the toy benchmark.
    """

    shape: tuple[int, ...] = VECTOR
    classes: int = 2
    held: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    def benchmark(self, **changes: Any) -> Blobs:
        """The toy benchmark, with changed settings."""
        own = {"classes": self.classes, "held": self.held, **self.settings}
        return Blobs(**own | changes)

    def data(
        self,
        tasks: int = 3,
        train: int | None = None,
        scramble_last: bool = False,
    ) -> Dataset:
        """The toy dataset; see `blobs`."""
        of_cluster = train or ROWS // self.classes
        return blobs(tasks, of_cluster, scramble_last, self.held, self.shape, self.classes)


CARRIED = ("model", "optimizer", "weighting", "augment", "normalise", "weight_decay", "clip")
"""The settings of a benchmark that its toy version has too, besides the scenario.

Amounts are not among them: the toys are small.
"""
MOST_CLASSES = 5
"""The largest number of classes of a toy task."""
ROWS = 46
"""About the number of training examples of a toy task, unless a check needs more."""


def like(benchmark: Benchmark, stream: Stream) -> Ground:
    """The toy version of a benchmark.

    Args:
        benchmark: The benchmark.
        stream: One of its streams.
    """
    known = {field.name for field in fields(benchmark)}
    settings = {name: getattr(benchmark, name) for name in CARRIED if name in known}
    classes = min(MOST_CLASSES, int(stream.units[0].sum()))
    shape = stream.data.shape
    return Ground(shape, max(2, classes), 0, settings | {"scenario": benchmark.scenario})
