"""N-way K-shot tasks, drawn from the classes of a dataset."""

import numpy as np
from jaxtyping import Int64, Shaped

from retrograde.data.dataset import Dataset
from retrograde.episodes.distribution import PARTITIONS, Distribution, Drawn, Partition
from retrograde.randomness import distinct


class Images(Distribution):
    """N-way K-shot tasks: each takes `ways` classes, and names them 0 to ways - 1 in a random order."""

    def __init__(
        self,
        data: Dataset,
        groups: list[Int64[np.ndarray, " _"]],
        ways: int,
        turned: tuple[Partition, ...],
    ) -> None:
        self.shape, self.outputs, self.ways, self.scale = data.shape, ways, ways, data.scale
        y = np.concatenate([data.y_train, data.y_test])
        self.pool = np.concatenate([data.x_train, data.x_test])[np.argsort(y, kind="stable")]
        self.sizes = np.bincount(y)
        self.first = np.cumsum(self.sizes) - self.sizes
        self.groups = dict(zip(PARTITIONS, groups, strict=True))
        self.turns = {partition: 4 if partition in turned else 1 for partition in PARTITIONS}

    def support(self, shots: int) -> int:
        """See `Distribution.support`."""
        return self.ways * shots

    def draw(
        self,
        partition: Partition,
        tasks: int,
        shots: int,
        queries: int,
        random: np.random.Generator,
    ) -> Drawn:
        """See `Distribution.draw`."""
        group, turns, each = self.groups[partition], self.turns[partition], shots + queries
        kinds, _ = distinct(np.full(tasks, len(group) * turns), self.ways, random)
        label, turn = np.divmod(random.permuted(kinds, axis=1), turns)
        of = group[label]  # (task, way)
        place, _ = distinct(self.sizes[of].ravel(), each, random)
        place = random.permuted(place, axis=1).reshape(tasks, self.ways, each)
        x = _turned(self.pool[self.first[of][..., None] + place], turn)
        y = np.broadcast_to(np.arange(self.ways)[:, None], place.shape)
        parts = [
            np.concatenate([_flat(a[:, :, :shots]), _flat(a[:, :, shots:])], axis=1) for a in (x, y)
        ]
        return Drawn(parts[0], parts[1], np.zeros((tasks, 0), np.float32))


def _flat(a: np.ndarray) -> np.ndarray:
    """Merge the axes of ways and examples, all ways in turn, so that a strategy's mini-batches are balanced."""
    return a.swapaxes(1, 2).reshape(len(a), -1, *a.shape[3:])


def _turned(
    x: Shaped[np.ndarray, "task way example *shape"], turn: Int64[np.ndarray, "task way"]
) -> np.ndarray:
    """The examples of each class turned by so many quarters."""
    for quarters in range(1, int(turn.max(initial=0)) + 1):
        x[turn == quarters] = np.rot90(x[turn == quarters], quarters, axes=(-2, -1))
    return x
