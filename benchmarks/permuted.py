"""Permuted streams: every task shuffles the pixels in its own way."""

from dataclasses import dataclass

import numpy as np

from retrograde import Benchmark, Count, Dataset, Scenario, Stream, generator, same_classes


@dataclass(frozen=True, kw_only=True)
class Permuted(Benchmark):
    """Permuted pixels (Kirkpatrick et al. 2017, arXiv 1612.00796): each task has one, drawn at random."""

    scenario: Scenario = "domain"
    tasks: Count = 10

    def cut(self, data: Dataset, seed: int) -> Stream:
        size = int(np.prod(data.shape))
        pixels = [
            generator(seed, "permutation", task).permutation(size) for task in range(self.tasks)
        ]
        return same_classes(data, np.stack(pixels), self.scenario)
