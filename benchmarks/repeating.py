"""Repeating streams: tasks come back."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from retrograde import Count, Dataset, Share, Stream, UserError, generator

from ._class_groups import ClassGroups


@dataclass(frozen=True, kw_only=True)
class Repeating(ClassGroups):
    """Classes that come back (after Hemati et al. 2023, arXiv 2301.11396).

    In the first round each task comes once, in order. In every later round, the tasks that come
    back do so in an order of that round. With one round, the stream is that of `split`.
    """

    rounds: Count = 3
    # The probability that a task comes back in a round after the first.
    probability: Share = 1.0
    # The examples of a task are divided evenly between its experiences, or come in each of them.
    examples: Literal["divided", "same"] = "divided"

    def cut(self, data: Dataset, seed: int) -> Stream:
        stream = self.class_split(data, seed)
        sequence = [*range(len(stream.tasks))]
        for number in range(1, self.rounds):
            random = generator(seed, "round", number)
            comes_back = random.random(len(stream.tasks)) < self.probability
            sequence += random.permutation(np.flatnonzero(comes_back)).tolist()
        turns = {task: _turns(stream, task, sequence.count(task), seed) for task in set(sequence)}
        experiences = []
        for place, task in enumerate(sequence):
            experience = stream.experiences[task]
            if self.examples == "divided":
                turn = sequence[:place].count(task)
                experience = experience.at(turns[task] == turn)
            if not len(experience.row):
                raise UserError(
                    f"Every experience needs an example; task {task + 1} has "
                    f"{len(stream.experiences[task].row)} for {sequence.count(task)} experiences. "
                    "Lower rounds, or give examples=same."
                )
            experiences.append(experience)
        return replace(stream, experiences=tuple(experiences))


def _turns(stream: Stream, task: int, times: int, seed: int) -> np.ndarray:
    """The turn of its task, from 0, in which each example comes."""
    count = len(stream.experiences[task].row)
    random = generator(seed, "turn", task)
    return np.asarray(random.permutation(np.arange(count) % times))
