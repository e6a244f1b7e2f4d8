"""Streams of Avalanche."""

from dataclasses import dataclass, field
from typing import Any

from retrograde import Benchmark, Dataset, OpenPart, Stream


@dataclass(frozen=True, kw_only=True)
class Avalanche(OpenPart, Benchmark):
    """A function of avalanche.benchmarks, such as `class=SplitMNIST,n_experiences=5`.

    The further settings are the arguments of the function. If it cuts a dataset, it receives the
    benchmark's `dataset` and the seed. If it brings its own, such as `SplitMNIST`, it reads that
    from RETROGRADE_DATA; its tasks are then the same for every seed, and `dataset` is not used.
    """

    name: str = "class_incremental_benchmark"
    arguments: dict[str, Any] = field(default_factory=lambda: {"num_experiences": 5})

    def cut(self, data: Dataset, seed: int) -> Stream:
        from retrograde.bridges.avalanche import cut, for_scenario

        stream = cut(self.name, self.arguments, data, seed)
        return for_scenario(stream, self.scenario)
