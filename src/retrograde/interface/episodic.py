"""The interface of a benchmark of few-shot tasks."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import numpy as np
from torch import Tensor

from retrograde.data.dataset import Dataset
from retrograde.episodes.distribution import PARTITIONS, Distribution, Partition
from retrograde.episodes.images import Images
from retrograde.errors import UserError
from retrograde.losses import cross_entropies
from retrograde.parts.fields import Count, Ints, Limit
from retrograde.parts.part import Part
from retrograde.randomness import generator


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
        """The distribution of one replicate; every random choice comes from `generator(seed, axis)`."""


@dataclass(frozen=True, kw_only=True)
class ClassEpisodes(Episodic):
    """N-way K-shot classification: the classes of a dataset, divided among meta-training, -validation and -test."""

    ways: Count = 5
    split: Ints = ()  # classes for meta-training, -validation, -test
    rotations: Literal["none", "train", "all"] = (
        "none"  # where classes turned by 90, 180, 270 degrees are classes of their own
    )

    def stream(self, data: Dataset | None, seed: int) -> Distribution:
        """See `Episodic.stream`."""
        data = cast("Dataset", data)
        turned: tuple[Partition, ...] = {"none": (), "train": PARTITIONS[:1], "all": PARTITIONS}[
            self.rotations
        ]
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
