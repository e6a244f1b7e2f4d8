"""N-way K-shot tasks, drawn from the classes of a dataset."""

import numpy as np
from jaxtyping import Int64, Shaped

from retrograde.data.dataset import Dataset
from retrograde.episodes.distribution import PARTITIONS, Partition, TaskBatch, TaskDistribution
from retrograde.randomness import distinct


class Images(TaskDistribution):
    """N-way K-shot tasks, each of `ways` classes that are numbered in a random order.

    Args:
        data: The dataset; tasks draw from its training and its test examples.
        groups: The classes of each partition.
        ways: The number of classes of a task.
        rotated: Partitions in which a class rotated by 90, 180 or 270 degrees is another class.
    """

    def __init__(
        self,
        data: Dataset,
        groups: list[Int64[np.ndarray, " _"]],
        ways: int,
        rotated: tuple[Partition, ...],
    ) -> None:
        self.shape = data.shape
        self.outputs = ways
        self.ways = ways
        self.scale = data.scale
        x = np.concatenate([data.x_train, data.x_test])
        y = np.concatenate([data.y_train, data.y_test])
        # Sorted by class: an example's index is that of its class's first plus its place.
        self.pool = x[np.argsort(y, kind="stable")]
        self.sizes = np.bincount(y)
        self.first = np.cumsum(self.sizes) - self.sizes
        self.groups = dict(zip(PARTITIONS, groups, strict=True))
        # The number of rotations of each class of a partition; each is a class of its own.
        self.turns = {partition: 4 if partition in rotated else 1 for partition in PARTITIONS}

    def support(self, shots: int) -> int:
        """See `TaskDistribution.support`."""
        return self.ways * shots

    def draw(
        self,
        partition: Partition,
        tasks: int,
        shots: int,
        queries: int,
        random: np.random.Generator,
    ) -> TaskBatch:
        """See `TaskDistribution.draw`."""
        group = self.groups[partition]
        turns = self.turns[partition]
        per_class = shots + queries
        # A kind is a class and one of its rotations.
        available = np.full(tasks, len(group) * turns)
        kinds, _ = distinct(available, self.ways, random)
        index, turn = np.divmod(random.permuted(kinds, axis=1), turns)
        label = group[index]  # (task, way)
        place, _ = distinct(self.sizes[label].ravel(), per_class, random)
        place = random.permuted(place, axis=1).reshape(tasks, self.ways, per_class)
        x = _rotated(self.pool[self.first[label][..., None] + place], turn)
        y = np.broadcast_to(np.arange(self.ways)[:, None], place.shape)
        no_parameters = np.zeros((tasks, 0), np.float32)
        return TaskBatch(_support_first(x, shots), _support_first(y, shots), no_parameters)


def _support_first(values: np.ndarray, shots: int) -> np.ndarray:
    """Values of shape (task, way, example, ...) as (task, example, ...), the support first."""
    support = _flat(values[:, :, :shots])
    query = _flat(values[:, :, shots:])
    return np.concatenate([support, query], axis=1)


def _flat(values: np.ndarray) -> np.ndarray:
    """Merge the axes of ways and examples.

    All ways take turns, so that a strategy's mini-batches are balanced.
    """
    in_turn = values.swapaxes(1, 2)
    return in_turn.reshape(len(values), -1, *values.shape[3:])


def _rotated(
    x: Shaped[np.ndarray, "task way example *shape"],
    turn: Int64[np.ndarray, "task way"],
) -> np.ndarray:
    """Rotate the examples of each class by its number of quarter turns."""
    for quarters in range(1, int(turn.max(initial=0)) + 1):
        chosen = turn == quarters
        x[chosen] = np.rot90(x[chosen], quarters, axes=(-2, -1))
    return x
