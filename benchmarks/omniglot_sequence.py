"""Omniglot, one class after the other, after pretraining on held-out classes."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Int64

from retrograde import (
    Benchmark,
    Count,
    Dataset,
    Examples,
    Ints,
    Pretraining,
    Stream,
    UserError,
    generator,
    of_classes,
)


@dataclass(frozen=True, kw_only=True)
class OmniglotSequence(Benchmark):
    """New classes one after the other, each example once (after Javed and White 2019).

    This is a smaller form of the benchmark of arXiv 1905.12588: images are 28 x 28 and the network
    is small, so results are not comparable with the paper's.

    A task has the classes between two evaluations. The first classes of the dataset
    are for pretraining, the next for choosing settings, and the last for tests. The seed draws the
    stream's classes and their order. Held-out class c is output unit c, and the stream's k-th class
    is unit k.
    """

    dataset: str = "omniglot"
    batch_size: Count = 1
    model: str = "plainconv-32"
    optimizer: Literal["sgd", "momentum", "adam"] = "adam"
    split: Ints = (863, 101, 659)  # classes for pretraining, validation and tests
    classes_of: Literal["validation", "test"] = (
        "test"  # the part of the classes from which the stream is drawn
    )
    test_after: Ints = (10, 50, 100, 200)  # numbers of classes after which all tasks are tested
    pretraining_steps: Count = 4000
    trajectory_classes: Count = 5  # classes of a pretraining episode, one after the other
    shots: Count = 3  # trajectory examples of each
    queries: Count = 3  # query examples of each
    remember_examples: Count = 30  # examples of any pretraining class, in the remember set

    def cut(self, data: Dataset, seed: int) -> Stream:
        self._check(data)
        bounds = np.cumsum(self.split[:2])
        held_out, validation, test = np.split(np.arange(sum(self.split)), bounds)
        available = test if self.classes_of == "test" else validation
        order = generator(seed, "classes").permutation(available)
        classes = order[: self.test_after[-1]]
        groups = np.split(classes, self.test_after[:-1])
        # Wide enough for the pretraining, in which held-out class c is unit c.
        width = max(len(held_out), len(classes))
        units = np.zeros((len(groups), width), dtype=bool)
        parts = []
        for number, group in enumerate(groups):
            unit = np.arange(len(group)) + self._first_unit(number)
            units[number, unit] = True
            parts.append(_examples(data, group, unit, generator(seed, "drawings", number)))
        pretraining = self._pretraining(data, held_out)
        # Classes come one after the other, so incoming examples must not be shuffled.
        stream = Stream.of_tasks(data, parts, units)
        return replace(stream, ordered=True, pretraining=pretraining)

    def _first_unit(self, task: int) -> int:
        """The output unit of a task's first class; domain-incremental tasks share their units."""
        return 0 if self.scenario == "domain" or not task else self.test_after[task - 1]

    def _pretraining(self, data: Dataset, classes: Int64[np.ndarray, " n"]) -> Pretraining:
        examples = of_classes(data.y_train, _numbered(data, classes, classes))
        return Pretraining(
            examples,
            self.pretraining_steps,
            self.trajectory_classes,
            self.shots,
            self.queries,
            self.remember_examples,
        )

    def _check(self, data: Dataset) -> None:
        if len(self.split) != 3 or min(self.split) < 1 or sum(self.split) > data.classes:
            raise UserError(
                "split gives three numbers of classes, each at least 1, for pretraining, "
                f"validation and tests, and {data.name} has {data.classes} in all; "
                f"split={_listed(self.split)}. Give such as split=4,2,4."
            )
        have = self.split[1 if self.classes_of == "validation" else 2]
        # The first number must be positive too, hence the difference to 0.
        if (
            not self.test_after
            or min(np.diff((0, *self.test_after))) < 1
            or self.test_after[-1] > have
        ):
            raise UserError(
                f"test_after gives rising numbers of classes, here at most the {have} for "
                f"{self.classes_of}; test_after={_listed(self.test_after)}. "
                f"Give such as test_after={have}."
            )
        if self.trajectory_classes > self.split[0]:
            raise UserError(
                f"A trajectory has different classes, at most the {self.split[0]} for pretraining; "
                f"trajectory_classes={self.trajectory_classes}. Lower it."
            )


def _listed(numbers: Ints) -> str:
    return ",".join(map(str, numbers))


def _examples(
    data: Dataset,
    classes: Int64[np.ndarray, " n"],
    units: Int64[np.ndarray, " n"],
    random: np.random.Generator,
) -> tuple[Examples, Examples]:
    """The training examples of some classes, in class order, and the test examples.

    Their labels are the given output units.
    """
    numbered = _numbered(data, classes, units)
    train = of_classes(data.y_train, numbered)
    test = of_classes(data.y_test, numbered)
    return _by_class(train, random), test


def _numbered(
    data: Dataset, classes: Int64[np.ndarray, " n"], units: Int64[np.ndarray, " n"]
) -> Int64[np.ndarray, " class"]:
    """The output unit of every class of the dataset; -1 for all but the given classes."""
    unit = np.full(data.classes, -1)
    unit[classes] = units
    return unit


def _by_class(examples: Examples, random: np.random.Generator) -> Examples:
    """Order examples by class, and randomly within each class."""
    mixed = random.permutation(len(examples.y))
    # A stable sort keeps the random order within a class.
    order = mixed[np.argsort(examples.y[mixed], kind="stable")]
    return Examples(examples.row[order], examples.y[order])
