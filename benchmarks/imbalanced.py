"""Imbalanced streams: classes or tasks of very different sizes."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Int64

from retrograde import Dataset, Experience, Limit, Share, Stream, UserError, generator

from ._class_groups import ClassGroups


@dataclass(frozen=True, kw_only=True)
class Imbalanced(ClassGroups):
    """Training examples that are unequally many.

    `long-tailed`: of n examples of the k-th of K classes, round(n ratio^((k - 1) / (K - 1))) are
    kept, at least one (Cao et al. 2019, arXiv 1906.07413; in streams: Liu et al. 2022, arXiv
    2210.00266). The order of the classes is that of the stream, or shuffled. `one-large`: one task
    keeps all of its examples, all others a share of each class (as De Lange and Tuytelaars 2021,
    arXiv 2009.00919). Test examples stay as they are.
    """

    profile: Literal["long-tailed", "one-large"] = "long-tailed"
    # The share of the smallest class, or that of the tasks that are not large.
    ratio: Share = 0.01
    # Of `long-tailed`: classes get smaller along the stream, or in an order of the seed.
    order: Literal["ordered", "shuffled"] = "ordered"
    # Of `one-large`: the number of the large task, from 0.
    large: Limit = 0

    def cut(self, data: Dataset, seed: int) -> Stream:
        stream = self.class_split(data, seed)
        if self.profile == "one-large" and self.large >= len(stream.tasks):
            raise UserError(
                f"large is the number of a task, from 0 to {len(stream.tasks) - 1}; "
                f"large={self.large}."
            )
        shares = self._shares(self.groups(data, seed), seed)
        experiences = tuple(
            _thinned(each, data.y_train, shares, generator(seed, "imbalance", number))
            for number, each in enumerate(stream.experiences)
        )
        return replace(stream, experiences=experiences)

    def _shares(self, groups: list[Int64[np.ndarray, " _"]], seed: int) -> np.ndarray:
        """The share of each class of the dataset that is kept, from the classes of each task."""
        order = np.concatenate(groups)
        if self.profile == "one-large":
            shares = np.full(len(order), self.ratio)
            shares[groups[self.large]] = 1
            return shares
        if self.order == "shuffled":
            order = generator(seed, "tail").permutation(order)
        rank = np.empty(len(order))
        rank[order] = np.arange(len(order))
        return np.asarray(self.ratio ** (rank / max(1, len(order) - 1)))


def _thinned(
    experience: Experience,
    classes: Int64[np.ndarray, " row"],
    shares: np.ndarray,
    random: np.random.Generator,
) -> Experience:
    """The experience with a share of each class, at least one example."""
    of_class = classes[experience.row]
    kept = np.zeros(len(of_class), dtype=bool)
    for each in np.unique(of_class):
        members = random.permutation(np.flatnonzero(of_class == each))
        kept[members[: max(1, round(float(shares[each]) * len(members)))]] = True
    return experience.at(kept)
