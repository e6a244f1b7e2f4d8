"""Toy data for the contract."""

from dataclasses import dataclass, replace

import numpy as np

from retrograde.data.dataset import Dataset
from retrograde.interface.benchmark import Benchmark
from retrograde.randomness import generator
from retrograde.streams.cuts import of_classes, split_classes
from retrograde.streams.stream import Examples, Pretraining, Stream, Task


@dataclass(frozen=True, kw_only=True)
class Blobs(Benchmark):
    """The easiest stream: well separated clusters, two classes per task, the highest first."""

    model: str = "mlp-16"
    tasks: int = 3
    # The number of classes that are held out of the stream, for pretraining.
    held: int = 0
    # If True, the sizes of tasks depend on the seed.
    uneven: bool = False

    def cut(self, data: Dataset, seed: int) -> Stream:
        """See `Benchmark.cut`."""
        classes = np.arange(2 * self.tasks)[::-1]
        groups = np.split(classes, self.tasks)
        stream = split_classes(data, groups, self.scenario)
        if self.uneven:
            tasks = [
                _shortened(task, 12 * ((seed + number) % 3))
                for number, task in enumerate(stream.tasks)
            ]
            stream = replace(stream, tasks=tuple(tasks))
        if not self.held:
            return stream
        return replace(stream, pretraining=self._pretraining(data, stream))

    def _pretraining(
        self,
        data: Dataset,
        stream: Stream,
    ) -> Pretraining:
        """Pretraining on the classes that are held out, which share the stream's output units."""
        unit = np.arange(data.classes) - 2 * self.tasks
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


def _shortened(task: Task, by: int) -> Task:
    row, y = task.train
    return task._replace(train=Examples(row[by:], y[by:]))


def blobs(
    tasks: int = 3,
    train: int = 23,
    scramble_last: bool = False,
    held: int = 0,
) -> Dataset:
    """A dataset of clusters in 12 dimensions.

    Args:
        tasks: The number of tasks, of two clusters each.
        train: The number of training examples of each cluster.
        scramble_last: If True, the examples of the last task are replaced by noise.
        held: The number of further clusters that are in no task.
    """
    random = generator(0, "blobs")
    centres = 2 * random.standard_normal((2 * tasks, 12))
    # A generator of their own: the tasks are the same with and without held-out clusters.
    further = 2 * generator(0, "held").standard_normal((held, 12))
    centres = np.concatenate([centres, further])

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        y = np.repeat(np.arange(len(centres)), count)
        x = centres[y] + 0.3 * random.standard_normal((len(y), 12))
        if scramble_last:
            noise = generator(1, "noise").standard_normal(x.shape)
            # Classes come in descending order, so the last task has classes 0 and 1.
            x = np.where(y[:, None] < 2, noise, x)
        return x.astype(np.float32), y

    x_train, y_train = part(train)
    x_test, y_test = part(10)
    return Dataset("blobs", x_train, y_train, x_test, y_test)
