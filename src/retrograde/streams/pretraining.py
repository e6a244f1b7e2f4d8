"""The examples of pretraining as rows, which are the same for every strategy."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from retrograde.randomness import distinct
from retrograde.streams.rows import Rows
from retrograde.streams.stream import Pretraining


class EpisodeRows(NamedTuple):
    """The rows of one pretraining step or of several, in the order of an `Episode`.

    Their task is 0.
    """

    trajectory: Int64[Rows, "... n"]
    query: Int64[Rows, "... n"]
    remember_set: Int64[Rows, "... n"]


def draw(
    pretraining: Pretraining,
    count: int,
    random: np.random.Generator,
) -> EpisodeRows:
    """Draw the examples of pretraining steps.

    Args:
        pretraining: The examples to draw from, and the numbers of classes and examples of a step.
        count: The number of steps.
        random: The generator of the choices.

    Returns:
        Rows of shape (count, example): different examples of a few classes for the trajectory
        and the query, and the remember set of any class.
    """
    row, y, _ = pretraining.examples
    by_class = np.argsort(y, kind="stable")
    units, first, sizes = np.unique(y[by_class], return_index=True, return_counts=True)
    kinds, _ = distinct(np.full(count, len(units)), pretraining.trajectory_classes, random)
    kinds = random.permuted(kinds, axis=1)
    each = pretraining.shots + pretraining.queries
    place, _ = distinct(sizes[kinds].ravel(), each, random)
    place = random.permuted(place, axis=1).reshape(*kinds.shape, each)
    chosen = by_class[first[kinds][..., None] + place]  # (step, class, example)
    trajectory = chosen[..., : pretraining.shots]
    query = chosen[..., pretraining.shots :]
    remembered = random.integers(0, len(row), (count, pretraining.remember_examples))

    def rows(index: Int64[np.ndarray, "step *_"]) -> Int64[Rows, "step n"]:
        index = index.reshape(count, -1)
        real = np.ones(index.shape, dtype=bool)
        return Rows.of(row[index], 0, y[index]).weighted(real)

    return EpisodeRows(rows(trajectory), rows(query), rows(remembered))
