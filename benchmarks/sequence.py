"""Sequences of datasets: one after the other."""

from dataclasses import dataclass

import numpy as np

from retrograde import Benchmark, Count, Dataset, Stream, UserError, split_classes


@dataclass(frozen=True, kw_only=True)
class Sequence(Benchmark):
    """Several datasets one after the other, such as `dataset=mnist+omniglot`.

    Images have the form of those of the first dataset. Each dataset is one task, or several with
    equal numbers of its classes.
    """

    dataset: str = "mnist+digits"
    # The tasks of each dataset.
    tasks_each: Count = 1

    def cut(self, data: Dataset, seed: int) -> Stream:
        if not data.joined:
            raise UserError(
                "A sequence has several datasets, joined by +, such as dataset=mnist+digits; "
                f"dataset={self.dataset} is one."
            )
        if self.tasks_each > min(data.joined):
            raise UserError(
                f"A task has at least one class; the smallest dataset of {data.name} has "
                f"{min(data.joined)}, and tasks_each={self.tasks_each}. Lower it."
            )
        ends = np.cumsum(data.joined)
        groups = []
        for end, classes in zip(ends, data.joined, strict=True):
            groups += np.array_split(np.arange(end - classes, end), self.tasks_each)
        return split_classes(data, groups, self.scenario)
