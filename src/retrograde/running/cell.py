"""Cells: pairs of a benchmark and a strategy that can be trained, and the jobs made of them."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, cast

import torch

from retrograde.data.dataset import Dataset
from retrograde.data.sources import data_folder, load
from retrograde.episodes.distribution import TaskDistribution
from retrograde.interface.benchmark import Benchmark
from retrograde.interface.episodic import EpisodicBenchmark
from retrograde.interface.learner import Learner
from retrograde.interface.metastrategy import MetaStrategy
from retrograde.interface.strategy import Strategy, facts_used
from retrograde.networks.build import convolutional
from retrograde.parts.provenance import Change, Sources
from retrograde.records.cell import CellSpec, PartSpec
from retrograde.records.record import Record
from retrograde.records.sidecars import Sidecar
from retrograde.running import footprint
from retrograde.streams.stream import Stream
from retrograde.training import cell_check, episode_loop, stream_loop
from retrograde.training.backend import Outcome
from retrograde.training.clocks import Progress, Throughput
from retrograde.training.compiled_step import Compile
from retrograde.training.snapshots import Checkpoints

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


@dataclass(frozen=True, eq=False)
class Cell(ABC):
    """A benchmark and a strategy that fit together; it pickles to workers, without its data.

    Args:
        spec: the names and settings of both, and the digest of the data.
        benchmark: the benchmark.
        strategy: the strategy.
    """

    spec: CellSpec
    benchmark: AnyBenchmark
    strategy: AnyStrategy

    @property
    @abstractmethod
    def loop(self) -> ModuleType:
        """The module of the loop that trains the cell, with `train` and `pace`."""

    @property
    def has_snapshots(self) -> bool:
        """True if snapshots can be taken after each experience."""
        return False

    @property
    @abstractmethod
    def has_modes(self) -> bool:
        """True if there is a choice of execution modes, whose speed can be measured."""

    @abstractmethod
    def draw(self, data: Dataset | None, seed: int) -> Stream | TaskDistribution:
        """The stream or the distribution of tasks of one replicate."""

    @abstractmethod
    def check(self, data: Dataset | None, device: torch.device | None) -> int:
        """Check that the cell can be trained, and return how many replicates fit into memory.

        Args:
            data: the dataset of the benchmark.
            device: the device to train on; None if it is unknown, and any number fits.

        Raises:
            UserError: the cell cannot be trained.
        """

    @abstractmethod
    def steps(self, data: Dataset | None) -> int:
        """Training steps of one replicate; the most, if replicates differ."""

    @abstractmethod
    def at_once(self, data: Dataset | None, device: torch.device) -> int:
        """Most replicates that train together on a device."""

    def train(
        self,
        data: Dataset | None,
        seeds: list[int],
        device: torch.device,
        mode: Compile,
        progress: Progress,
        keep: Collection[Sidecar] = (),
        checkpoints: Checkpoints | None = None,
    ) -> list[Outcome]:
        """Train replicates together.

        Args:
            data: the dataset of the benchmark.
            seeds: one seed per replicate.
            device: the device to train on.
            mode: the compilation of the step.
            progress: called with the number of steps taken since the last call, and with the name
                of each clock that begins.
            keep: what to keep of each replicate besides its record.
            checkpoints: places for snapshots, from which training goes on.

        Returns:
            One outcome per seed, in their order.
        """
        sources = [self.draw(data, seed) for seed in seeds]
        outcomes: list[Outcome] = self.loop.train(
            self.benchmark,
            self.strategy,
            sources,
            seeds,
            device,
            mode,
            progress,
            keep,
            checkpoints,
        )
        return outcomes

    def measure(
        self,
        data: Dataset | None,
        seeds: list[int],
        device: torch.device,
        mode: Compile,
    ) -> Throughput | None:
        """Measure how fast replicates train together; None if there is no choice."""
        if not self.has_modes:
            return None
        sources = [self.draw(data, seed) for seed in seeds]
        measured: Throughput = self.loop.pace(
            self.benchmark, self.strategy, sources, seeds, device, mode
        )
        return measured

    @property
    def facts_used(self) -> list[str]:
        """Facts of the stream that the strategy uses before the stream has shown them."""
        return []


@dataclass(frozen=True, eq=False)
class StreamCell(Cell):
    """A strategy or a learner, trained on one task after the other."""

    benchmark: Benchmark
    strategy: Strategy | Learner

    @property
    def loop(self) -> ModuleType:
        return stream_loop

    def draw(self, data: Dataset | None, seed: int) -> Stream:
        return self.benchmark.stream(data, seed)

    def check(self, data: Dataset | None, device: torch.device | None) -> int:
        stream = self.draw(data, 0)
        # The estimate comes first: it allocates nothing of the size that it may refuse.
        fitting = footprint.check_stream(self.benchmark, self.strategy, stream, device)
        # One step, on the CPU: the GPU may be on another machine.
        cell_check.check(self.benchmark, self.strategy, stream, CPU)
        return fitting

    def steps(self, data: Dataset | None) -> int:
        stream = self.draw(data, 0)
        return stream_loop.expected_steps(self.benchmark, self.strategy, stream)

    def at_once(self, data: Dataset | None, device: torch.device) -> int:
        # A learner is opaque Python code, which cannot be vmapped over replicates.
        if isinstance(self.strategy, Learner):
            return 1
        stream = self.draw(data, 0)
        model = self.benchmark.model, stream.data.shape, stream.units.shape[1]
        # `vmap` over replicates makes convolutions on a CPU slower than one after the other.
        alone = device.type == "cpu" and convolutional(*model)
        return 1 if alone else REPLICATES[device.type]

    @property
    def has_snapshots(self) -> bool:
        # The state of a learner may be anything.
        return not isinstance(self.strategy, Learner)

    @property
    def has_modes(self) -> bool:
        return not isinstance(self.strategy, Learner)

    @property
    def facts_used(self) -> list[str]:
        return facts_used(self.benchmark.scenario, self.strategy.knows_ahead())


@dataclass(frozen=True, eq=False)
class EpisodeCell(Cell):
    """A meta-strategy, trained on few-shot tasks, many at a time."""

    benchmark: EpisodicBenchmark
    strategy: MetaStrategy

    @property
    def loop(self) -> ModuleType:
        return episode_loop

    def draw(self, data: Dataset | None, seed: int) -> TaskDistribution:
        return self.benchmark.distribution(data, seed)

    def check(self, data: Dataset | None, device: torch.device | None) -> int:
        tasks = self.draw(data, 0)
        fitting = footprint.check_episodes(self.benchmark, self.strategy, tasks, device)
        episode_loop.check(self.benchmark, self.strategy, tasks)
        return fitting

    def steps(self, data: Dataset | None) -> int:
        return self.benchmark.iterations if self.strategy.meta_trains else 0

    def at_once(self, data: Dataset | None, device: torch.device) -> int:
        tasks = self.draw(data, 0)
        parameters = episode_loop.parameters(self.benchmark, self.strategy, tasks)
        adapted = parameters * self.benchmark.meta_batch_size
        return 1 if device.type == "cpu" and adapted > CACHED else REPLICATES[device.type]

    @property
    def has_modes(self) -> bool:
        return self.strategy.meta_trains


class Start(NamedTuple):
    """The kept snapshots of a run of a shorter stream, from which a job goes on.

    Attributes:
        folder: their folder.
        benchmark: the benchmark of the shorter stream.
    """

    folder: Path
    benchmark: str


@dataclass(frozen=True)
class Job:
    """Replicates of one cell that train together.

    Args:
        cell: their cell.
        seeds: seeds of all replicates of the batch.
        missing: seeds of the replicates to train.
        steps: training steps of one replicate.
        outdated: files that changed since a finished record was made, by seed.
        sources: the files of the parts at the time the run was planned.
        chosen: how the settings were chosen, such as `tuned (within, 15 trials)`; empty: unsaid.
        keep: what to keep of each replicate besides its record.
        snapshots: keep the snapshots after each experience too.
        start: the snapshots of a shorter run to go on from; None: the first experience is trained.
    """

    cell: Cell
    seeds: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    steps: int = 0
    outdated: Mapping[int, list[Change]] = field(default_factory=dict, hash=False)
    sources: Sources = field(default_factory=dict, hash=False)
    chosen: str = ""
    keep: tuple[Sidecar, ...] = ()
    snapshots: bool = False
    start: Start | None = None

    def kept_with(self, record: Record) -> bool:
        """True if a finished record has beside it what the job keeps."""
        if record.status == "diverged":
            return True
        beside = record.place and self.snapshots_in(record.place.parent)
        # The last one comes after all others, which a run that was stopped may have left alone.
        if (
            self.snapshots
            and beside
            and not any(beside.glob(f"*-after-{record.timeline.count}.pt"))
        ):
            return False
        # Only streams of classes have predictions.
        return record.keeps(name for name in self.keep if name == "model" or record.correct)

    def snapshots_in(self, folder: Path) -> Path:
        """The folder of the job's kept snapshots beside its records in a folder."""
        return folder / f"snapshots-{self.seeds[0]}-{self.seeds[-1]}"

    @property
    def spec(self) -> CellSpec:
        """The specification of the cell, by which a store knows its records."""
        return self.cell.spec


def mismatch(benchmark: AnyBenchmark, strategy: AnyStrategy, source: Source) -> str:
    """The reason why a strategy cannot run on a benchmark; empty if it can."""
    few_shot = isinstance(benchmark, EpisodicBenchmark)
    if isinstance(strategy, MetaStrategy) != few_shot:
        needed, offered = "few-shot tasks", "a stream"
        if few_shot:
            needed, offered = offered, needed
        return (
            f"{type(strategy).__name__} learns from {needed}, and {type(benchmark).__name__} has "
            f"{offered}. Streams take strategies, and few-shot benchmarks take meta-strategies."
        )
    if isinstance(strategy, MetaStrategy) and strategy.sees_task_parameters:
        tasks = cast("EpisodicBenchmark", benchmark).distribution(data_of(benchmark, source), 0)
        if not tasks.parameters:
            return (
                f"{type(strategy).__name__} is given the parameters of each task, and "
                f"{type(benchmark).__name__} has none. Leave it out, or choose another benchmark."
            )
    return ""


def make_cell(
    benchmark: tuple[PartSpec, AnyBenchmark],
    strategy: tuple[PartSpec, AnyStrategy],
    data: Dataset | None,
) -> Cell:
    """Pair a benchmark with a strategy that it fits, each with its specification."""
    spec = CellSpec(benchmark[0], strategy[0], data.digest if data else "")
    kind = EpisodeCell if isinstance(strategy[1], MetaStrategy) else StreamCell
    return kind(spec, benchmark[1], strategy[1])  # type: ignore[arg-type]


def data_of(benchmark: AnyBenchmark, source: Source) -> Dataset | None:
    """Return the dataset of a benchmark; None if it needs none."""
    return dataset(benchmark.dataset, source) if benchmark.dataset else None


def forget_datasets() -> None:
    """Load datasets anew the next time that they are needed."""
    _LOADED.forget()


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

    def forget(self) -> None:
        """Load datasets anew the next time that they are needed."""
        self._held.clear()

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
