"""Permuted streams: every task permutes the pixels in its own way."""

from dataclasses import dataclass

import numpy as np

from retrograde import Benchmark, Count, Dataset, Scenario, Stream, generator, same_classes


@dataclass(frozen=True, kw_only=True)
class Permuted(Benchmark):
    """Permuted pixels (Kirkpatrick et al. 2017, arXiv 1612.00796).

    Each task has a permutation of its own, drawn at random.
    """

    scenario: Scenario = "domain"
    tasks: Count = 10

    def cut(self, data: Dataset, seed: int) -> Stream:
        size = int(np.prod(data.shape))
        # A generator for each task: the first tasks are the same in a longer stream.
        generators = [generator(seed, "permutation", task) for task in range(self.tasks)]
        pixels = np.stack([random.permutation(size) for random in generators])
        return same_classes(data, pixels, self.scenario)
