"""Episodes: distributions of few-shot tasks, and the benchmarks that draw from them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, cast

import numpy as np
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from retrograde.data import Dataset
from retrograde.errors import UserError
from retrograde.memory import distinct
from retrograde.net import cross_entropies
from retrograde.seeds import generator
from retrograde.settings import Count, Ints, Limit, Part

Partition = Literal["train", "validation", "test"]
"""Tasks to meta-train on, to watch meta-training with, and to be judged by; no class is in two of them."""

PARTITIONS: tuple[Partition, ...] = ("train", "validation", "test")


class Drawn(NamedTuple):
    """Tasks with their examples, the support before the query."""

    x: Shaped[np.ndarray, "task example *shape"]
    y: Int64[np.ndarray, "task example"] | Float[np.ndarray, "task example value"]
    truth: Float[np.ndarray, "task fact"]  # what an oracle is told of each task; nothing, where there are no facts


class Distribution(ABC):
    """What tasks are drawn from, for one replicate; `scale` turns a stored value into what a model sees."""

    shape: tuple[int, ...]
    outputs: int
    facts: int = 0
    scale: float = 1.0

    @abstractmethod
    def draw(self, partition: Partition, tasks: int, shots: int, queries: int, random: np.random.Generator) -> Drawn:
        """Draw tasks; shots and queries are per class in classification."""

    def support(self, shots: int) -> int:
        """How many of a task's examples are its support."""
        return shots

    def curve(self, truth: Float[np.ndarray, "task fact"]) -> tuple[np.ndarray, np.ndarray] | None:
        """Where a task is a function that can be drawn: inputs (n, 1) and the true values (task, n, 1) there."""
        return None


@dataclass(frozen=True, kw_only=True)
class Episodic(Part):
    """A distribution of tasks, a model and a meta-training budget; `stream` is what a benchmark's file adds."""

    kind: ClassVar[str] = "benchmarks"
    dataset: str = ""

    iterations: Count = 60_000  # meta-iterations
    tasks: Count = 32  # per meta-iteration
    shots: Count = 1  # support examples, per class in classification
    queries: Count = 1  # query examples while meta-training
    test_shots: Limit = 0  # 0: as in meta-training
    test_queries: Count = 1
    test_tasks: Count = 600
    checks: Count = 20  # how often meta-training is watched, on new tasks
    transductive: bool = True  # at test, query examples share normalisation; if not, each stands beside the support alone
    model: str = "mlp-40-40"
    optimizer: Literal["sgd", "momentum", "adam"] = "adam"

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The loss of each example, given the model's outputs."""
        return cross_entropies(outputs, y)

    @abstractmethod
    def stream(self, data: Dataset | None, seed: int) -> Distribution:
        """The distribution of one replicate; every random choice comes from `seeds.generator(seed, axis)`."""


class Images(Distribution):
    """N-way K-shot tasks: each takes `ways` classes, and names them 0 to ways - 1 in a random order."""

    def __init__(self, data: Dataset, groups: list[Int64[np.ndarray, " _"]], ways: int, turned: tuple[Partition, ...]) -> None:
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

    def draw(self, partition: Partition, tasks: int, shots: int, queries: int, random: np.random.Generator) -> Drawn:
        """See `Distribution.draw`."""
        group, turns, each = self.groups[partition], self.turns[partition], shots + queries
        kinds, _ = distinct(np.full(tasks, len(group) * turns), self.ways, random)
        label, turn = np.divmod(random.permuted(kinds, axis=1), turns)
        of = group[label]  # (task, way)
        place, _ = distinct(self.sizes[of].ravel(), each, random)
        place = random.permuted(place, axis=1).reshape(tasks, self.ways, each)
        x = _turned(self.pool[self.first[of][..., None] + place], turn)
        y = np.broadcast_to(np.arange(self.ways)[:, None], place.shape)
        parts = [np.concatenate([_flat(a[:, :, :shots]), _flat(a[:, :, shots:])], axis=1) for a in (x, y)]
        return Drawn(parts[0], parts[1], np.zeros((tasks, 0), np.float32))


def _flat(a: np.ndarray) -> np.ndarray:
    """Merge the axes of ways and examples, all ways in turn, so that a strategy's mini-batches are balanced."""
    return a.swapaxes(1, 2).reshape(len(a), -1, *a.shape[3:])


def _turned(x: Shaped[np.ndarray, "task way example *shape"], turn: Int64[np.ndarray, "task way"]) -> np.ndarray:
    """The examples of each class turned by so many quarters."""
    for quarters in range(1, int(turn.max(initial=0)) + 1):
        x[turn == quarters] = np.rot90(x[turn == quarters], quarters, axes=(-2, -1))
    return x


@dataclass(frozen=True, kw_only=True)
class ClassEpisodes(Episodic):
    """N-way K-shot classification: the classes of a dataset, divided among meta-training, -validation and -test."""

    ways: Count = 5
    split: Ints = ()  # classes for meta-training, -validation, -test
    rotations: Literal["none", "train", "all"] = "none"  # where classes turned by 90, 180, 270 degrees are classes of their own

    def stream(self, data: Dataset | None, seed: int) -> Distribution:
        """See `Episodic.stream`."""
        data = cast("Dataset", data)
        turned: tuple[Partition, ...] = {"none": (), "train": PARTITIONS[:1], "all": PARTITIONS}[self.rotations]
        self._check(data, turned)
        order = generator(seed, "classes").permutation(data.classes)
        groups = np.split(order, np.cumsum(self.split))[:3]
        return Images(data, groups, self.ways, turned)

    def _check(self, data: Dataset, turned: tuple[Partition, ...]) -> None:
        if len(self.split) != 3 or min(self.split) < 1 or sum(self.split) > data.classes:
            raise UserError(
                f"split gives three numbers of classes, each at least 1, for meta-training, -validation and -test, and "
                f"{data.name} has {data.classes} in all; split={','.join(map(str, self.split))}. Give such as split=6,2,2."
            )
        if turned and (len(data.shape) != 3 or data.shape[1] != data.shape[2]):
            raise UserError(
                f"Rotations need square images; the examples of {data.name} have shape {data.shape}. Use rotations=none."
            )
        for partition, classes in zip(PARTITIONS, self.split, strict=True):
            if self.ways > (kinds := classes * (4 if partition in turned else 1)):
                raise UserError(
                    f"A task has at most as many ways as meta-{partition} has classes, here {kinds}; ways={self.ways}. "
                    "Lower ways or change split."
                )
        smallest = int((np.bincount(data.y_train) + np.bincount(data.y_test)).min())
        needed = max(self.shots + self.queries, (self.test_shots or self.shots) + self.test_queries)
        if needed > smallest:
            raise UserError(
                f"Shots and queries of a class are different images, and a class of {data.name} has {smallest}; "
                f"shots + queries is {needed}. Lower one of them."
            )
