"""Pairs of a benchmark and a strategy that can be trained, and the jobs made of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from retrograde.data.dataset import Dataset
from retrograde.data.sources import data_folder, load
from retrograde.errors import UserError
from retrograde.interface.benchmark import Benchmark
from retrograde.interface.episodic import EpisodicBenchmark
from retrograde.interface.learner import Learner
from retrograde.interface.metastrategy import MetaStrategy
from retrograde.interface.strategy import Strategy
from retrograde.parts.provenance import Change, Sources
from retrograde.records.cell import CellSpec
from retrograde.running import footprint
from retrograde.training import episode_loop, stream_loop
from retrograde.training.backend import Outcome
from retrograde.training.clocks import Throughput
from retrograde.training.compiling import Compile

Source = Path | Mapping[str, Dataset]
"""The source of datasets: a folder, or datasets that are already loaded, by name."""
CPU = torch.device("cpu")
REPLICATES = {"cpu": 5, "cuda": 32}
"""Most replicates that train together. On a CPU, more of them no longer fit into its cache."""
CACHED = 1_000_000
"""Most parameters that the tasks of a meta-batch adapt for replicates to train together on a CPU.

Five replicates with 32 tasks of a net of 245 000 parameters took twice as long together as one
after the other; with 25 tasks of a net of 1 800 parameters, two thirds as long.
"""


AnyBenchmark = Benchmark | EpisodicBenchmark
AnyStrategy = Strategy | Learner | MetaStrategy
"""A strategy of any of the three interfaces."""


@dataclass(frozen=True)
class Job:
    """Replicates of one cell that train together, and the parts of the cell.

    Args:
        cell: the cell of the replicates.
        benchmark: its benchmark.
        strategy: its strategy.
        seeds: seeds of all replicates of the batch.
        missing: seeds of the replicates to train.
        steps: training steps of one replicate.
        outdated: files that changed since a finished record was made, by seed.
        sources: the files of the parts at the time the run was planned.
    """

    cell: CellSpec
    benchmark: AnyBenchmark = field(hash=False)
    strategy: AnyStrategy = field(hash=False)
    seeds: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    steps: int = 0
    outdated: Mapping[int, list[Change]] = field(default_factory=dict, hash=False)
    sources: Sources | None = field(default=None, hash=False)


class Trial(ABC):
    """A benchmark and a strategy that fit together, with the data."""

    @abstractmethod
    def digest(self) -> str:
        """Digest of the data; empty if there are none."""

    @abstractmethod
    def check(self, device: torch.device | None) -> int:
        """Check that the pair can be trained, and return how many replicates fit into memory.

        Args:
            device: the device to train on; None if it is unknown, and any number fits.

        Raises:
            UserError: the pair cannot be trained.
        """

    @abstractmethod
    def steps(self) -> int:
        """Training steps of one replicate; the most, if replicates differ."""

    @abstractmethod
    def together(self, device: torch.device) -> int:
        """Most replicates that train together on a device."""

    @abstractmethod
    def train(
        self, seeds: list[int], device: torch.device, mode: Compile, progress: Callable[[int], None]
    ) -> list[Outcome]:
        """Train replicates together.

        Args:
            seeds: one seed per replicate.
            device: the device to train on.
            mode: the compilation of the step.
            progress: called with the number of steps taken since the last call.

        Returns:
            One outcome per seed, in their order.
        """

    @abstractmethod
    def pace(self, seeds: list[int], device: torch.device, mode: Compile) -> Throughput | None:
        """Measure how fast replicates train together; None if there is no choice."""


@dataclass(frozen=True)
class OnStream(Trial):
    """A strategy or a learner, trained on one task after the other."""

    benchmark: Benchmark
    strategy: Strategy | Learner
    data: Dataset

    def digest(self) -> str:
        return self.data.digest

    def check(self, device: torch.device | None) -> int:
        stream = self.benchmark.stream(self.data, 0)
        # The estimate comes first: it allocates nothing of the size that it may refuse.
        fitting = footprint.check_stream(self.benchmark, self.strategy, stream, device)
        # One step, on the CPU: the GPU may be on another machine.
        stream_loop.check(self.benchmark, self.strategy, stream, CPU)
        return fitting

    def steps(self) -> int:
        stream = self.benchmark.stream(self.data, 0)
        return stream_loop.expected_steps(self.benchmark, self.strategy, stream)

    def together(self, device: torch.device) -> int:
        # A learner is opaque Python code, which cannot be vmapped over replicates.
        return 1 if isinstance(self.strategy, Learner) else REPLICATES[device.type]

    def train(
        self, seeds: list[int], device: torch.device, mode: Compile, progress: Callable[[int], None]
    ) -> list[Outcome]:
        streams = [self.benchmark.stream(self.data, seed) for seed in seeds]
        return stream_loop.train(
            self.benchmark, self.strategy, streams, seeds, device, mode, progress
        )

    def pace(self, seeds: list[int], device: torch.device, mode: Compile) -> Throughput | None:
        if isinstance(self.strategy, Learner):
            return None
        streams = [self.benchmark.stream(self.data, seed) for seed in seeds]
        return stream_loop.pace(self.benchmark, self.strategy, streams, seeds, device, mode)


@dataclass(frozen=True)
class OnEpisodes(Trial):
    """A meta-strategy, trained on few-shot tasks, many at a time."""

    benchmark: EpisodicBenchmark
    strategy: MetaStrategy
    data: Dataset | None

    def digest(self) -> str:
        return self.data.digest if self.data else ""

    def check(self, device: torch.device | None) -> int:
        source = self.benchmark.distribution(self.data, 0)
        fitting = footprint.check_episodes(self.benchmark, self.strategy, source, device)
        episode_loop.check(self.benchmark, self.strategy, source)
        return fitting

    def steps(self) -> int:
        return self.benchmark.iterations if self.strategy.meta_trains else 0

    def together(self, device: torch.device) -> int:
        source = self.benchmark.distribution(self.data, 0)
        parameters = episode_loop.parameters(self.benchmark, self.strategy, source)
        adapted = parameters * self.benchmark.meta_batch_size
        return 1 if device.type == "cpu" and adapted > CACHED else REPLICATES[device.type]

    def train(
        self, seeds: list[int], device: torch.device, mode: Compile, progress: Callable[[int], None]
    ) -> list[Outcome]:
        sources = [self.benchmark.distribution(self.data, seed) for seed in seeds]
        return episode_loop.meta_train(
            self.benchmark, self.strategy, sources, seeds, device, mode, progress
        )

    def pace(self, seeds: list[int], device: torch.device, mode: Compile) -> Throughput | None:
        if not self.strategy.meta_trains:
            return None
        sources = [self.benchmark.distribution(self.data, seed) for seed in seeds]
        return episode_loop.pace(self.benchmark, self.strategy, sources, seeds, device, mode)


def fit(benchmark: AnyBenchmark, strategy: AnyStrategy, source: Source) -> bool:
    """True if benchmark and strategy both work on streams, or both on episodes.

    A strategy that is given task parameters fits only a benchmark that has some.
    """
    if isinstance(benchmark, EpisodicBenchmark) and isinstance(strategy, MetaStrategy):
        return (
            not strategy.sees_task_parameters
            or benchmark.distribution(_dataset(benchmark, source), 0).parameters > 0
        )
    return isinstance(benchmark, Benchmark) and not isinstance(strategy, MetaStrategy)


def trial(benchmark: AnyBenchmark, strategy: AnyStrategy, source: Source) -> Trial:
    """Pair a benchmark with a strategy and load the data.

    Raises:
        UserError: they do not fit together.
    """
    if isinstance(benchmark, EpisodicBenchmark) and isinstance(strategy, MetaStrategy):
        return OnEpisodes(benchmark, strategy, _dataset(benchmark, source))
    if isinstance(benchmark, Benchmark) and not isinstance(strategy, MetaStrategy):
        return OnStream(benchmark, strategy, dataset(benchmark.dataset, source))
    raise UserError(_mismatch(benchmark, strategy))


def _mismatch(benchmark: AnyBenchmark, strategy: AnyStrategy) -> str:
    needed, offered = "a stream", "episodes"
    if isinstance(strategy, MetaStrategy):
        needed, offered = offered, needed
    return (
        f"{type(strategy).__name__} learns from {needed}, and {type(benchmark).__name__} is "
        f"{offered}. Choose another strategy."
    )


def _dataset(benchmark: EpisodicBenchmark, source: Source) -> Dataset | None:
    return dataset(benchmark.dataset, source) if benchmark.dataset else None


def dataset(name: str, source: Source) -> Dataset:
    """Return a dataset, which is loaded once per process, and again if its file is another."""
    if isinstance(source, Mapping):
        # Names that the caller gave no dataset for come from the default folder.
        return source[name] if name in source else _LOADED.get(name, data_folder())
    return _LOADED.get(name, source)


_State = tuple[str, int, int] | None
"""Place, age and size of a file; None if there is none."""


class _Loaded:
    """The datasets that this process has loaded."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, Path], tuple[_State, Dataset]] = {}

    def get(self, name: str, folder: Path) -> Dataset:
        state = _state(name)
        held = self._held.get((name, folder))
        # A file that has gone since it was loaded is still the one that was planned with.
        if held is None or state not in (None, held[0]):
            held = state, load(name, folder)
            self._held[name, folder] = held
        return held[1]


_LOADED = _Loaded()


def _state(name: str) -> _State:
    try:
        path = Path(name).expanduser().resolve()
        status = path.stat()
    except (OSError, RuntimeError, ValueError):
        return None
    return str(path), status.st_mtime_ns, status.st_size
