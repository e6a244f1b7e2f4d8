"""MNIST-360: pairs of digits that turn slowly, three rounds, without a boundary."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Int64

from retrograde import (
    Benchmark,
    Count,
    Dataset,
    Examples,
    Experience,
    Limit,
    Stream,
    Task,
    UserError,
    generator,
    need_images,
    of_classes,
)

from ._rotation import rotation

VIEWS = 1440
"""The number of angles that are told apart, a quarter of a degree each."""


@dataclass(frozen=True, kw_only=True)
class MNIST360(Benchmark):
    """MNIST-360 (Buzzega et al. 2020, arXiv 2004.07211): general continual learning.

    Two neighbouring digits of 0 to 8 come at a time, in shares of what is left of them: (0, 1),
    (1, 2), ..., (8, 0), and so on for three rounds. The images of digit j turn by 360 degrees over
    the whole stream, from (j - 1) 60 degrees on. All of it is one experience; the test digits have
    turned by every angle. The authors draw each example anew from those of its stretch, so that
    some come twice and others never: `draw=anew`.
    """

    dataset: str = "mnist"
    boundaries: Literal["known", "unknown"] = "unknown"
    batch_size: Count = 16
    probe_examples: Limit = 0
    rounds: Count = 3
    # The number of classes, from 0 on.
    classes: Count = 9
    # Every example of a stretch comes once, or each is drawn from the whole stretch.
    draw: Literal["once", "anew"] = "once"

    def cut(self, data: Dataset, seed: int) -> Stream:
        shape = need_images(data, "MNIST-360")
        if not 3 <= self.classes <= data.classes:
            raise UserError(
                f"MNIST-360 has pairs of neighbouring classes, of 3 to {data.classes} classes of "
                f"{data.name}; classes={self.classes}."
            )
        unit = np.where(np.arange(data.classes) < self.classes, np.arange(data.classes), -1)
        test = of_classes(data.y_test, unit)
        turned = np.empty(len(test.row), np.int64)
        for digit in range(self.classes):
            members = np.flatnonzero(test.y == digit)
            turned[members] = _views(360 * np.arange(len(members)) / max(1, len(members)))
        row, views = self._train(data, seed)
        experience = Experience(row, data.y_train[row], np.zeros(len(row), np.int64), views)
        pixels = _turned(shape)
        units = np.ones((1, self.classes), dtype=bool)
        tasks = (Task(Examples(test.row, test.y, turned)),)
        return Stream(data, (experience,), tasks, units, pixels, ordered=True)

    def _train(
        self, data: Dataset, seed: int
    ) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """The rows and the views of the training examples in order."""
        stretches = [self._stretches(data, digit, seed) for digit in range(self.classes)]
        pieces: list[Int64[np.ndarray, " _"]] = []
        for turn in range(self.rounds * self.classes):
            pair = [stretches[(turn + place) % self.classes].pop(0) for place in (0, 1)]
            pieces += _in_shares(pair, self.batch_size)
        row = np.concatenate(pieces)
        y = data.y_train[row]
        degrees = np.empty(len(row))
        for digit in range(self.classes):
            come = np.flatnonzero(y == digit)
            step = 360 / (data.y_train == digit).sum()
            degrees[come] = 60 * (digit - 1) + step * np.arange(len(come))
        return row, _views(degrees)

    def _stretches(self, data: Dataset, digit: int, seed: int) -> list[Int64[np.ndarray, " _"]]:
        """The rows of a digit for each pair that it is in, in the order of the authors."""
        rows = np.flatnonzero(data.y_train == digit)
        count = 2 * self.rounds
        # As the authors cut them: the last stretch takes what is left.
        size = len(rows) // count + 1
        if len(rows) <= (count - 1) * size:
            raise UserError(
                f"Each class needs an example for each of {count} pairs; class {digit} of "
                f"{data.name} has {len(rows)}, in stretches of {size}. Lower rounds."
            )
        bounds = range(size, count * size, size)
        random = generator(seed, "stretch", digit)
        # The last part of the dataset comes first.
        parts = np.split(rows, bounds)[::-1]
        if self.draw == "anew":
            return [random.choice(part, len(part)) for part in parts]
        return [random.permutation(part) for part in parts]


@lru_cache(maxsize=1)
def _turned(shape: tuple[int, int, int]) -> Int64[np.ndarray, "view pixel"]:
    """The source of every pixel in each view; all replicates share it."""
    pixels = np.stack([rotation(*shape, 360 * view / VIEWS) for view in range(VIEWS)])
    pixels.flags.writeable = False
    return pixels


def _in_shares(pair: list[Int64[np.ndarray, " _"]], size: int) -> Iterator[Int64[np.ndarray, " _"]]:
    """The rows of two classes in batches, in shares of what is left, until one class is over."""
    first, second = pair
    while len(first) and len(second):
        of_first = min(round(len(first) / (len(first) + len(second)) * size), len(first))
        of_second = min(size - of_first, len(second))
        yield first[:of_first]
        yield second[:of_second]
        first = first[of_first:]
        second = second[of_second:]


def _views(degrees: np.ndarray) -> Int64[np.ndarray, " _"]:
    """The nearest view of each angle."""
    return np.round(degrees * VIEWS / 360).astype(np.int64) % VIEWS
