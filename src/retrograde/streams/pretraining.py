"""The examples of pretraining as index arrays, which are the same for every strategy."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from retrograde.randomness import distinct, generator
from retrograde.streams.stream import Pretraining

BLOCK = 50
"""The number of pretraining steps (lessons) that are drawn at once."""

PretrainingRows = Int64[np.ndarray, "... _ 4"]
"""Examples as in `schedule.Rows`; their task is 0."""


class EpisodeRows(NamedTuple):
    """The rows of one pretraining step or of several, in the order of `strategy.Lesson`."""

    trajectory: PretrainingRows
    query: PretrainingRows
    remember_set: PretrainingRows


def pretraining_rows(preparation: Pretraining, seed: int) -> Iterator[EpisodeRows]:
    """The rows of every pretraining step of one replicate, in order."""
    for block in range(-(-preparation.steps // BLOCK)):
        # Always a whole block, so that a longer pretraining begins with the same examples.
        drawn = draw(preparation, BLOCK, generator(seed, "lessons", block))
        left = preparation.steps - block * BLOCK
        for number in range(min(BLOCK, left)):
            yield EpisodeRows(*(part[number] for part in drawn))


def draw(
    preparation: Pretraining,
    count: int,
    random: np.random.Generator,
) -> EpisodeRows:
    """Draw the examples of pretraining steps.

    Args:
        preparation: The examples to draw from, and the numbers of classes and examples of a step.
        count: The number of steps.
        random: The generator of the choices.

    Returns:
        Rows of shape (count, examples, 4): different examples of a few classes for the trajectory
        and the query, and examples of any class to rehearse.
    """
    row, y = preparation.examples
    by_class = np.argsort(y, kind="stable")
    units, first, sizes = np.unique(y[by_class], return_index=True, return_counts=True)
    kinds, _ = distinct(np.full(count, len(units)), preparation.trajectory_classes, random)
    kinds = random.permuted(kinds, axis=1)
    each = preparation.shots + preparation.queries
    place, _ = distinct(sizes[kinds].ravel(), each, random)
    place = random.permuted(place, axis=1).reshape(*kinds.shape, each)
    chosen = by_class[first[kinds][..., None] + place]  # (lesson, class, example)
    trajectory = chosen[..., : preparation.shots]
    query = chosen[..., preparation.shots :]
    rehearsed = random.integers(0, len(row), (count, preparation.remember_examples))

    def rows(index: Int64[np.ndarray, "lesson *_"]) -> PretrainingRows:
        index = index.reshape(count, -1)
        task = np.zeros_like(index)
        real = np.ones_like(index)
        return np.stack([row[index], task, y[index], real], axis=-1)

    return EpisodeRows(rows(trajectory), rows(query), rows(rehearsed))
