"""Cells at work: a strategy or a learner goes along a stream, a meta-strategy through episodes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch

from retrograde.data.dataset import Dataset
from retrograde.data.sources import data_folder, load
from retrograde.errors import UserError
from retrograde.interface.benchmark import Benchmark
from retrograde.interface.episodic import Episodic
from retrograde.interface.learner import Learner
from retrograde.interface.metastrategy import MetaStrategy
from retrograde.interface.strategy import Strategy
from retrograde.parts.provenance import Change, Code
from retrograde.records.cell import Cell
from retrograde.running import footprint
from retrograde.training import episode_loop, stream_loop
from retrograde.training.backend import Outcome
from retrograde.training.clocks import Pace
from retrograde.training.compiling import Compile

Source = Path | Mapping[str, Dataset]
"""Where datasets come from: a folder, or they are loaded already, by name."""
CPU = torch.device("cpu")
REPLICATES = {"cpu": 5, "cuda": 32}
"""Replicates that train together, at most. On a CPU more of them leave its cache."""
CACHED = 1_000_000
"""Numbers that the tasks of a meta-batch may adapt, for replicates to train together on a CPU: 5 replicates of 32 tasks of a
net of 245 000 took twice as long as one after the other, of 25 tasks of one of 1 800 two thirds."""


AnyBenchmark = Benchmark | Episodic
AnyStrategy = Strategy | Learner | MetaStrategy


@dataclass(frozen=True)
class Job:
    """Replicates of one cell that train together, with its parts; `missing` are those to be trained."""

    cell: Cell
    benchmark: AnyBenchmark = field(hash=False)
    strategy: AnyStrategy = field(hash=False)
    seeds: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    steps: int = 0
    outdated: Mapping[int, list[Change]] = field(
        default_factory=dict, hash=False
    )  # by seed: what changed since its record
    code: Code | None = field(
        default=None, hash=False
    )  # of the parts, as they were when the run was planned


class Trial(ABC):
    """A benchmark and a strategy that fit together, with the data."""

    @abstractmethod
    def digest(self) -> str:
        """What identifies the data; nothing, where there are none."""

    @abstractmethod
    def check(self, device: torch.device | None) -> int:
        """How many replicates fit into memory (any number without a device); raises `UserError` where it cannot be trained."""

    @abstractmethod
    def steps(self) -> int:
        """The steps of one replicate: of the one that takes the most."""

    @abstractmethod
    def together(self, device: torch.device) -> int:
        """How many replicates train together, at most."""

    @abstractmethod
    def train(
        self, seeds: list[int], device: torch.device, mode: Compile, progress: Callable[[int], None]
    ) -> list[Outcome]:
        """Train replicates; `progress` is told the steps taken."""

    @abstractmethod
    def pace(self, seeds: list[int], device: torch.device, mode: Compile) -> Pace | None:
        """How fast they would train together; None, where there is no choice."""


@dataclass(frozen=True)
class OnStream(Trial):
    """One task after the other."""

    benchmark: Benchmark
    strategy: Strategy | Learner
    data: Dataset

    def digest(self) -> str:
        return self.data.digest

    def check(self, device: torch.device | None) -> int:
        stream = self.benchmark.stream(self.data, 0)
        fitting = footprint.check_stream(self.benchmark, self.strategy, stream, device)
        stream_loop.check(self.benchmark, self.strategy, stream, CPU)
        return fitting

    def steps(self) -> int:
        return stream_loop.expected_steps(
            self.benchmark, self.strategy, self.benchmark.stream(self.data, 0)
        )

    def together(self, device: torch.device) -> int:
        return 1 if isinstance(self.strategy, Learner) else REPLICATES[device.type]

    def train(
        self, seeds: list[int], device: torch.device, mode: Compile, progress: Callable[[int], None]
    ) -> list[Outcome]:
        streams = [self.benchmark.stream(self.data, seed) for seed in seeds]
        return stream_loop.train(
            self.benchmark, self.strategy, streams, seeds, device, mode, progress
        )

    def pace(self, seeds: list[int], device: torch.device, mode: Compile) -> Pace | None:
        if isinstance(self.strategy, Learner):
            return None
        streams = [self.benchmark.stream(self.data, seed) for seed in seeds]
        return stream_loop.pace(self.benchmark, self.strategy, streams, seeds, device, mode)


@dataclass(frozen=True)
class OnEpisodes(Trial):
    """Few-shot tasks, many at a time."""

    benchmark: Episodic
    strategy: MetaStrategy
    data: Dataset | None

    def digest(self) -> str:
        return self.data.digest if self.data else ""

    def check(self, device: torch.device | None) -> int:
        source = self.benchmark.stream(self.data, 0)
        fitting = footprint.check_episodes(self.benchmark, self.strategy, source, device)
        episode_loop.check(self.benchmark, self.strategy, source)
        return fitting

    def steps(self) -> int:
        return self.benchmark.iterations if self.strategy.trains else 0

    def together(self, device: torch.device) -> int:
        numbers = (
            episode_loop.parameters(
                self.benchmark, self.strategy, self.benchmark.stream(self.data, 0)
            )
            * self.benchmark.tasks
        )
        return 1 if device.type == "cpu" and numbers > CACHED else REPLICATES[device.type]

    def train(
        self, seeds: list[int], device: torch.device, mode: Compile, progress: Callable[[int], None]
    ) -> list[Outcome]:
        sources = [self.benchmark.stream(self.data, seed) for seed in seeds]
        return episode_loop.meta_train(
            self.benchmark, self.strategy, sources, seeds, device, mode, progress
        )

    def pace(self, seeds: list[int], device: torch.device, mode: Compile) -> Pace | None:
        if not self.strategy.trains:
            return None
        sources = [self.benchmark.stream(self.data, seed) for seed in seeds]
        return episode_loop.pace(self.benchmark, self.strategy, sources, seeds, device, mode)


def fit(benchmark: AnyBenchmark, strategy: AnyStrategy, source: Source) -> bool:
    """True if both are of streams, or both of episodes, with facts where the strategy is told them."""
    if isinstance(benchmark, Episodic) and isinstance(strategy, MetaStrategy):
        return not strategy.told or benchmark.stream(_dataset(benchmark, source), 0).facts > 0
    return isinstance(benchmark, Benchmark) and not isinstance(strategy, MetaStrategy)


def trial(benchmark: AnyBenchmark, strategy: AnyStrategy, source: Source) -> Trial:
    """Pair a benchmark with a strategy and load the data; raises `UserError` where they do not fit together."""
    if isinstance(benchmark, Episodic) and isinstance(strategy, MetaStrategy):
        return OnEpisodes(benchmark, strategy, _dataset(benchmark, source))
    if isinstance(benchmark, Benchmark) and not isinstance(strategy, MetaStrategy):
        return OnStream(benchmark, strategy, dataset(benchmark.dataset, source))
    one, other = (
        ("episodes", "a stream") if isinstance(strategy, MetaStrategy) else ("a stream", "episodes")
    )
    raise UserError(
        f"{type(strategy).__name__} learns from {one}, and {type(benchmark).__name__} is {other}. Choose another strategy."
    )


def _dataset(benchmark: Episodic, source: Source) -> Dataset | None:
    return dataset(benchmark.dataset, source) if benchmark.dataset else None


def dataset(name: str, source: Source) -> Dataset:
    """A dataset, loaded once per process."""
    if isinstance(source, Mapping):
        return source[name] if name in source else _loaded(name, data_folder())
    return _loaded(name, source)


@cache
def _loaded(name: str, folder: Path) -> Dataset:
    return load(name, folder)
