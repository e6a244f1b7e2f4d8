"""Which examples the lessons of a preparation are of, as index arrays; every strategy gets the same ones."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from retrograde.randomness import distinct, generator
from retrograde.streams.stream import Preparation

BLOCK = 50
"""Lessons that are drawn at once."""

LessonRows = Int64[np.ndarray, "... _ 4"]
"""Examples as in `schedule.Rows`; their task is 0."""


class Parts(NamedTuple):
    """The rows of lessons, in the order of `strategy.Lesson`."""

    trajectory: LessonRows
    query: LessonRows
    rehearsed: LessonRows


def lesson_rows(preparation: Preparation, seed: int) -> Iterator[Parts]:
    """The rows of every lesson of one replicate, in order."""
    for block in range(-(-preparation.lessons // BLOCK)):
        drawn = draw(preparation, BLOCK, generator(seed, "lessons", block))
        for number in range(min(BLOCK, preparation.lessons - block * BLOCK)):
            yield Parts(*(part[number] for part in drawn))


def draw(preparation: Preparation, count: int, random: np.random.Generator) -> Parts:
    """Draw lessons: their classes, different examples of each of these, and examples of any class."""
    row, y = preparation.examples
    by_class = np.argsort(y, kind="stable")
    units, first, sizes = np.unique(y[by_class], return_index=True, return_counts=True)
    kinds, _ = distinct(np.full(count, len(units)), preparation.classes, random)
    kinds = random.permuted(kinds, axis=1)
    each = preparation.shots + preparation.queries
    place, _ = distinct(sizes[kinds].ravel(), each, random)
    place = random.permuted(place, axis=1).reshape(*kinds.shape, each)
    own = by_class[first[kinds][..., None] + place]  # (lesson, class, example)
    parts = (
        own[..., : preparation.shots],
        own[..., preparation.shots :],
        random.integers(0, len(row), (count, preparation.rehearsed)),
    )

    def rows(index: Int64[np.ndarray, "lesson *_"]) -> LessonRows:
        index = index.reshape(count, -1)
        return np.stack([row[index], np.zeros_like(index), y[index], np.ones_like(index)], axis=-1)

    return Parts(*map(rows, parts))
