"""Streams that Avalanche cuts."""

from dataclasses import dataclass, field
from typing import Any

from retrograde import Benchmark, Dataset, OpenPart, Stream


@dataclass(frozen=True, kw_only=True)
class Avalanche(OpenPart, Benchmark):
    """A function of avalanche.benchmarks and what it is called with, such as `class=SplitMNIST,n_experiences=5`.

    One that cuts a dataset is given ours and the seed. One that brings its own, such as `SplitMNIST`, reads it from
    RETROGRADE_DATA; its tasks are the same for every seed, and `dataset` stays out of them.
    """

    name: str = "class_incremental_benchmark"
    arguments: dict[str, Any] = field(default_factory=lambda: {"num_experiences": 5})

    def cut(self, data: Dataset, seed: int) -> Stream:
        from retrograde.bridges.avalanche import cut, for_scenario

        return for_scenario(cut(self.name, self.arguments, data, seed), self.scenario)
