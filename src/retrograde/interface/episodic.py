"""The interface of a benchmark of few-shot tasks."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from torch import Tensor

from retrograde.data.dataset import Dataset, warn_misread, warn_unscaled
from retrograde.data.sources import data_folder, load
from retrograde.episodes.distribution import PARTITIONS, Partition, TaskDistribution
from retrograde.episodes.images import Images
from retrograde.errors import UserError
from retrograde.interface.benchmark import check_given
from retrograde.losses import cross_entropies
from retrograde.parts.fields import Count, Ints, Limit
from retrograde.parts.part import Part
from retrograde.randomness import generator


@dataclass(frozen=True, kw_only=True)
class EpisodicBenchmark(Part):
    """A distribution of tasks, a model and a meta-training budget.

    A benchmark's file defines `distribution`.
    """

    kind: ClassVar[str] = "benchmarks"
    dataset: str = ""

    # Meta-iterations.
    iterations: Count = 60_000
    # Tasks per meta-iteration.
    meta_batch_size: Count = 32
    # Support examples, per class in classification.
    shots: Count = 1
    # Query examples in meta-training, per class in classification.
    queries: Count = 1
    # Support examples at test; 0: as in meta-training.
    test_shots: Limit = 0
    test_queries: Count = 1
    test_tasks: Count = 600
    # Evaluations on new tasks during meta-training.
    evaluations: Count = 20
    # At test, query examples are normalised together; if False, each one with the support alone.
    transductive: bool = True
    model: str = "mlp-40-40"
    optimizer: Literal["sgd", "momentum", "adam"] = "adam"

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The loss of each example, given the model's outputs."""
        return cross_entropies(outputs, y)

    @abstractmethod
    def distribution(
        self,
        data: Dataset | None = None,
        seed: int = 0,
    ) -> TaskDistribution:
        """The distribution of one replicate.

        Args:
            data: The dataset to draw from; None: the benchmark's `dataset`, if it has one, from the
                data folder.
            seed: The seed of the replicate. Every random choice comes from `generator(seed, axis)`.
        """


@dataclass(frozen=True, kw_only=True)
class ClassEpisodes(EpisodicBenchmark):
    """N-way K-shot classification with the classes of a dataset.

    The classes are divided among meta-training, meta-validation and meta-test.
    """

    ways: Count = 5
    # Numbers of classes for meta-training, -validation and -test.
    split: Ints = ()
    # The partitions in which a class rotated by 90, 180 or 270 degrees is another class.
    rotations: Literal["none", "train", "all"] = "none"

    def distribution(
        self,
        data: Dataset | None = None,
        seed: int = 0,
    ) -> TaskDistribution:
        """See `EpisodicBenchmark.distribution`."""
        check_given(data, seed, "distribution")
        data = load(self.dataset, data_folder()) if data is None else data
        warn_misread(data)
        warn_unscaled(data)
        partitions: dict[str, tuple[Partition, ...]]
        partitions = {"none": (), "train": PARTITIONS[:1], "all": PARTITIONS}
        rotated = partitions[self.rotations]
        self._check_split(data)
        self._check_ways(data, rotated)
        self._check_examples(data)
        order = generator(seed, "classes").permutation(data.classes)
        groups = np.split(order, np.cumsum(self.split))[:3]
        return Images(data, groups, self.ways, rotated)

    def _check_split(self, data: Dataset) -> None:
        is_triple = len(self.split) == 3 and min(self.split) >= 1
        if not is_triple or sum(self.split) > data.classes:
            split = ",".join(map(str, self.split))
            raise UserError(
                "split gives three numbers of classes, each at least 1, for meta-training, "
                f"-validation and -test, and {data.name} has {data.classes} in all; "
                f"split={split}. Give such as split=6,2,2."
            )

    def _check_ways(
        self,
        data: Dataset,
        rotated: tuple[Partition, ...],
    ) -> None:
        square = len(data.shape) == 3 and data.shape[1] == data.shape[2]
        if rotated and not square:
            raise UserError(
                f"Rotations need square images; the examples of {data.name} have shape "
                f"{data.shape}. Use rotations=none."
            )
        if self.ways < 2:
            raise UserError(
                "A task has two or more classes to tell apart; ways=1 has one, so that every "
                "prediction is right. Give ways=2 or more."
            )
        for partition, classes in zip(PARTITIONS, self.split, strict=True):
            kinds = classes * (4 if partition in rotated else 1)
            if self.ways > kinds:
                raise UserError(
                    f"A task has at most as many ways as meta-{partition} has classes, here "
                    f"{kinds}; ways={self.ways}. Lower ways or change split."
                )

    def _check_examples(self, data: Dataset) -> None:
        # Episodes draw from the training and the test examples of a class.
        examples = np.bincount(data.y_train) + np.bincount(data.y_test)
        smallest = int(examples.min())
        training = self.shots + self.queries
        test = (self.test_shots or self.shots) + self.test_queries
        needed = max(training, test)
        if needed > smallest:
            raise UserError(
                f"Shots and queries of a class are different images, and a class of {data.name} "
                f"has {smallest}; shots + queries is {needed}. Lower one of them."
            )
