"""Blurry streams: most examples of a task come in its own experience, the rest in others."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int64

from retrograde import Dataset, Experience, Fraction, Stream, UserError, generator

from ._class_groups import ClassGroups


@dataclass(frozen=True, kw_only=True)
class Blurry(ClassGroups):
    """Classes that come mostly in their own experience (Bang et al. 2021, arXiv 2103.17230).

    A share of each class is spread evenly over all other experiences: 0.1 is "blurry-10". Some
    classes may be disjoint, and come in their own experience alone, as in "i-Blurry" (Koh et al.
    2022, arXiv 2110.10031). A task counts as learned after its own experience. With a share of 0,
    the stream is that of `split`.
    """

    # The share of each blurry class that comes in other experiences than its own.
    share: Fraction = 0.1
    # The share of the classes that are disjoint.
    disjoint: Fraction = 0.0

    def cut(self, data: Dataset, seed: int) -> Stream:
        stream = self.class_split(data, seed)
        count = len(stream)
        if count < 2:
            raise UserError(
                "A class is spread over other experiences than its own; "
                f"there is one experience, and share={self.share:g}. Raise tasks."
            )
        order = generator(seed, "disjoint").permutation(data.classes)
        disjoint = order[: round(self.disjoint * data.classes)]
        places = [
            _places(each, data.y_train, disjoint, self.share, (number, count), seed)
            for number, each in enumerate(stream.experiences)
        ]
        experiences = [
            Experience.concat(
                [each.at(place == number) for each, place in _own_first(stream, places, number)]
            )
            for number in range(count)
        ]
        return replace(stream, experiences=tuple(experiences), learned_after=tuple(range(count)))


def _own_first(
    stream: Stream, places: list[Int64[np.ndarray, " _"]], number: int
) -> list[tuple[Experience, Int64[np.ndarray, " _"]]]:
    """The experiences of the split stream with the places of their examples, one of them first."""
    pairs = list(zip(stream.experiences, places, strict=True))
    return [pairs[number], *pairs[:number], *pairs[number + 1 :]]


def _places(
    experience: Experience,
    classes: Int64[np.ndarray, " row"],
    disjoint: Int64[np.ndarray, " class"],
    share: float,
    number: tuple[int, int],
    seed: int,
) -> Int64[np.ndarray, " n"]:
    """The experience in which each example of a split stream's experience comes.

    Args:
        experience: The examples.
        classes: The class of every training example of the dataset.
        disjoint: The classes that are not spread.
        share: The share of each other class that is spread.
        number: The number of the experience, and that of all experiences.
        seed: The seed of the replicate.
    """
    own, count = number
    random = generator(seed, "blur", own)
    others = np.delete(np.arange(count), own)
    place = np.full(len(experience.row), own)
    of_class = classes[experience.row]
    for each in np.setdiff1d(of_class, disjoint):
        members: Bool[np.ndarray, " n"] = of_class == each
        spread = random.permutation(np.flatnonzero(members))[: round(share * members.sum())]
        # As many to each experience as can be.
        place[spread] = random.permutation(others)[np.arange(len(spread)) % len(others)]
    return place
