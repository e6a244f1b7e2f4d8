"""Toy data for the contract."""

from dataclasses import dataclass, replace

import numpy as np

from retrograde.data.dataset import Dataset
from retrograde.interface.benchmark import Benchmark
from retrograde.randomness import generator
from retrograde.streams.cuts import of_classes, split_classes
from retrograde.streams.stream import Examples, Preparation, Stream, Task


@dataclass(frozen=True, kw_only=True)
class Blobs(Benchmark):
    """Well separated clusters, two classes per task, the highest first: the easiest stream there is."""

    model: str = "mlp-16"
    tasks: int = 3
    held: int = 0  # classes that the stream does not have, for a preparation
    uneven: bool = False  # tasks are of other sizes for every seed

    def cut(self, data: Dataset, seed: int) -> Stream:
        """See `Benchmark.cut`."""
        stream = split_classes(
            data, np.split(np.arange(2 * self.tasks)[::-1], self.tasks), self.scenario
        )
        if self.uneven:
            stream = replace(
                stream,
                tasks=tuple(
                    _shortened(task, 12 * ((seed + i) % 3)) for i, task in enumerate(stream.tasks)
                ),
            )
        if not self.held:
            return stream
        unit = np.arange(data.classes) - 2 * self.tasks
        unit = np.where(unit < 0, -1, unit % stream.units.shape[1])
        lessons = Preparation(
            of_classes(data.y_train, unit), lessons=20, classes=2, shots=3, queries=2, rehearsed=6
        )
        return replace(stream, preparation=lessons)


def _shortened(task: Task, by: int) -> Task:
    return task._replace(train=Examples(task.train.row[by:], task.train.y[by:]))


def blobs(tasks: int = 3, train: int = 23, scramble_last: bool = False, held: int = 0) -> Dataset:
    """Clusters in 12 dimensions; `scramble_last` replaces the examples of the last task by noise; `held` more are in none."""
    random = generator(0, "blobs")
    centres = 2 * random.standard_normal((2 * tasks, 12))
    centres = np.concatenate([centres, 2 * generator(0, "held").standard_normal((held, 12))])

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        y = np.repeat(np.arange(len(centres)), count)
        x = centres[y] + 0.3 * random.standard_normal((len(y), 12))
        if scramble_last:
            x = np.where(y[:, None] < 2, generator(1, "noise").standard_normal(x.shape), x)
        return x.astype(np.float32), y

    return Dataset("blobs", *part(train), *part(10))
