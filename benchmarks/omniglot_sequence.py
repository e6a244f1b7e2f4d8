"""Omniglot, one class after the other, after a preparation on other classes."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int64

from retrograde import (
    Benchmark,
    Count,
    Dataset,
    Examples,
    Ints,
    Preparation,
    Stream,
    Task,
    UserError,
    generator,
    of_classes,
)


@dataclass(frozen=True, kw_only=True)
class OmniglotSequence(Benchmark):
    """New classes one after the other, each example once (after Javed and White 2019, arXiv 1905.12588; smaller).

    Images are 28 x 28 and the net is small, so that no number here is the paper's. A task is the classes between two tests of
    all of them. The first classes of the data set are for preparation, the next to choose settings by, the last for tests; the
    seed draws the stream's classes and their order. Held-out class c is output unit c, and the stream's k-th class is unit k.
    """

    dataset: str = "omniglot"
    batch: Count = 1
    model: str = "plainconv-32"
    optimizer: Literal["sgd", "momentum", "adam"] = "adam"
    split: Ints = (863, 101, 659)  # classes for preparation, validation and tests
    classes_of: Literal["validation", "test"] = "test"  # which of them the stream is made of
    after: Ints = (10, 50, 100, 200)  # numbers of classes after which all are tested
    lessons: Count = 4000
    trajectory: Count = 5  # classes of a lesson, one after the other
    shots: Count = 3  # examples of each to learn from
    queries: Count = 3  # further examples of each
    rehearsed: Count = 30  # examples of any class of the preparation

    def cut(self, data: Dataset, seed: int) -> Stream:
        self._check(data)
        held, *others = np.split(np.arange(sum(self.split)), np.cumsum(self.split[:2]))
        order = generator(seed, "classes").permutation(others[self.classes_of == "test"])
        groups = np.split(order[: self.after[-1]], self.after[:-1])
        units = np.zeros((len(groups), max(len(held), len(order[: self.after[-1]]))), dtype=bool)
        tasks = []
        for number, group in enumerate(groups):
            unit = np.arange(len(group)) + (
                0 if self.scenario == "domain" or not number else self.after[number - 1]
            )
            units[number, unit] = True
            train, test = (
                of_classes(y, _numbered(data, group, unit)) for y in (data.y_train, data.y_test)
            )
            tasks.append(Task(_in_turn(train, generator(seed, "drawings", number)), test))
        before = of_classes(data.y_train, _numbered(data, held, held))
        lessons = Preparation(
            before, self.lessons, self.trajectory, self.shots, self.queries, self.rehearsed
        )
        return Stream(data, tuple(tasks), units, ordered=True, preparation=lessons)

    def _check(self, data: Dataset) -> None:
        if len(self.split) != 3 or min(self.split) < 1 or sum(self.split) > data.classes:
            raise UserError(
                "split gives three numbers of classes, each at least 1, for preparation, validation and tests, and "
                f"{data.name} has {data.classes} in all; split={','.join(map(str, self.split))}. Give such as split=4,2,4."
            )
        have = self.split[1 if self.classes_of == "validation" else 2]
        if not self.after or min(np.diff((0, *self.after))) < 1 or self.after[-1] > have:
            raise UserError(
                f"after gives rising numbers of classes, here at most the {have} for {self.classes_of}; "
                f"after={','.join(map(str, self.after))}. Give such as after={have}."
            )
        if self.trajectory > self.split[0]:
            raise UserError(
                f"The classes of a lesson are different ones of {self.split[0]}; trajectory={self.trajectory}. Lower it."
            )


def _numbered(
    data: Dataset, classes: Int64[np.ndarray, " n"], units: Int64[np.ndarray, " n"]
) -> Int64[np.ndarray, " class"]:
    """The output unit of every class of the data set, -1 for all but these."""
    unit = np.full(data.classes, -1)
    unit[classes] = units
    return unit


def _in_turn(examples: Examples, random: np.random.Generator) -> Examples:
    """Class after class, the examples of each in random order."""
    mixed = random.permutation(len(examples.y))
    order = mixed[np.argsort(examples.y[mixed], kind="stable")]
    return Examples(examples.row[order], examples.y[order])
