"""Gradual streams: one task fades into the next, without a boundary."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from retrograde import Dataset, Experience, NonNegative, Stream, generator

from ._class_groups import ClassGroups


@dataclass(frozen=True, kw_only=True)
class Gradual(ClassGroups):
    """Tasks that fade into one another (after Shanahan et al. 2021, arXiv 2105.13327).

    Every example comes once. Its moment is uniform over the stretch of its task, plus noise: a
    uniform one makes the share of a task rise and fall linearly, a logistic one along a sigmoid.
    Examples come in the order of their moments. Experiences have the sizes of tasks, and only say
    when the learner is evaluated; a task counts as learned after the experience of its number.
    """

    boundaries: Literal["known", "unknown"] = "unknown"
    transition: Literal["linear", "sigmoid"] = "linear"
    # The length of a transition, in lengths of the mean task; 0: as abrupt as in a split stream.
    width: NonNegative = 0.5

    def cut(self, data: Dataset, seed: int) -> Stream:
        stream = self.class_split(data, seed)
        sizes = [len(each.row) for each in stream.experiences]
        moments = np.concatenate(
            [
                number + generator(seed, "moment", number).random(size)
                for number, size in enumerate(sizes)
            ]
        )
        random = generator(seed, "transition")
        noise = {
            "linear": random.uniform(-0.5, 0.5, len(moments)),
            # The middle half of a logistic transition is as long as that of a linear one.
            "sigmoid": random.logistic(0, 0.25 / np.log(3), len(moments)),
        }
        order = np.argsort(moments + self.width * noise[self.transition], kind="stable")
        mixed = Experience.concat(stream.experiences).at(order)
        ends = np.cumsum([0, *sizes])
        experiences = tuple(mixed.at(slice(start, end)) for start, end in pairwise(ends))
        return replace(
            stream,
            experiences=experiences,
            ordered=True,
            learned_after=tuple(range(len(sizes))),
        )
