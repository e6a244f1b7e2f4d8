"""What a run will do: suites read, cells resolved and checked, replicates put into batches."""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from retrograde.data import Dataset, load
from retrograde.environment import source_digest
from retrograde.errors import UserError, nearest
from retrograde.learner import Learner
from retrograde.record import Cell, Named
from retrograde.registry import Registry
from retrograde.settings import parse
from retrograde.store import Store
from retrograde.strategy import Strategy
from retrograde.stream import Benchmark, Stream
from retrograde.train import check, total_steps
from retrograde.vectorise import Compile

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPLICATES = {"cpu": 5, "cuda": 32}
"""Replicates that train together, at most. On a CPU more of them leave its cache."""


class Context(NamedTuple):
    """What every process of a run needs to know."""

    plugins: tuple[Path, ...] = ()
    data: Path = Path()
    device: str = "cpu"
    compile: Compile = "auto"
    jobs: int = 1


class Request(NamedTuple):
    """A cell as a person writes it."""

    benchmark: str
    strategy: str


class _Cells(BaseModel):
    model_config = ConfigDict(extra="forbid")
    benchmarks: Annotated[list[str], Field(min_length=1)]
    strategies: Annotated[list[str], Field(min_length=1)]


class Suite(BaseModel):
    """A TOML file: a title, a number of seeds, and cells as lists of benchmarks and strategies."""

    model_config = ConfigDict(extra="forbid")
    title: str
    seeds: Annotated[int, Field(ge=1)] = 5
    cells: Annotated[list[_Cells], Field(min_length=1)]

    def requests(self, added: Sequence[str] = ()) -> list[Request]:
        """Every benchmark of each list with every strategy of that list and every one that is added."""
        return [Request(b, s) for group in self.cells for b in group.benchmarks for s in (*group.strategies, *added)]


def suites() -> dict[str, Path]:
    """The suites that ship, by name."""
    folders = importlib.import_module("retrograde.benchmarks").__path__
    return {path.stem: path for folder in folders for path in sorted(Path(folder).glob("*.toml"))}


def read_suite(name: str) -> Suite:
    """The shipped suite of that name, or the one at that path."""
    path = suites().get(name, Path(name))
    if not path.is_file():
        raise UserError(f"There is no suite {name!r}, neither shipped nor as a file. {nearest(name, suites())}")
    try:
        return Suite.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"The suite {path} is not valid TOML: {error}.") from None
    except ValidationError as error:
        raise UserError(f"The suite {path}: {_suite_fault(error.errors()[0])}") from None


def _suite_fault(error: Any) -> str:
    where = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        known = (_Cells if "cells" in error["loc"] else Suite).model_fields
        return f"there is no key {where!r}. {nearest(str(error['loc'][-1]), known)}"
    return f"{where}={error['input']!r} is not possible. {error['msg']}."


@dataclass(frozen=True)
class Job:
    """Replicates of one cell that train together; `missing` are those without a finished record."""

    request: Request
    cell: Cell
    seeds: tuple[int, ...]
    missing: tuple[int, ...]
    steps: int
    upper_bound: bool
    outdated: int = 0  # finished records that another version of the strategy's file made


def resolve(request: Request, registry: Registry) -> tuple[Benchmark, Strategy | Learner]:
    """The benchmark and the strategy that a request names."""
    benchmark = registry.get("benchmarks", *parse(request.benchmark))
    strategy = registry.get("strategies", *parse(request.strategy))
    return cast("Benchmark", benchmark), cast("Strategy | Learner", strategy)


@cache
def dataset(name: str, folder: Path) -> Dataset:
    """A dataset, loaded once per process."""
    return load(name, folder)


def plan(requests: list[Request], seeds: int, registry: Registry, context: Context, store: Store) -> list[Job]:
    """Resolve and check every cell before anything trains; a batch whose records are all there has no job."""
    jobs: dict[Cell, list[Job]] = {}
    for request in requests:
        benchmark, strategy = resolve(request, registry)
        data = dataset(benchmark.dataset, context.data)
        cell = Cell(_named(request.benchmark, benchmark), _named(request.strategy, strategy), data.digest)
        if cell not in jobs:
            stream = benchmark.stream(data, 0)
            _check(request, benchmark, strategy, stream)
            size = 1 if isinstance(strategy, Learner) else REPLICATES[torch.device(context.device).type]
            steps = total_steps(benchmark, strategy, [stream])
            whole = Job(request, cell, tuple(range(seeds)), (), steps, strategy.upper_bound)
            source = source_digest(registry.source("strategies", cell.strategy.name))
            jobs[cell] = [_batch(whole, batch, store, source) for batch in _batches(seeds, size)]
    return [job for batches in jobs.values() for job in batches]


def _named(spec: str, part: Benchmark | Strategy | Learner) -> Named:
    return Named(parse(spec)[0], part.settings(), part.changed())


def _check(request: Request, benchmark: Benchmark, strategy: Strategy | Learner, stream: Stream) -> None:
    try:
        check(benchmark, strategy, stream, torch.device("cpu"))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{request.strategy} cannot be set up for {request.benchmark}: {error!r}.") from error


def _batch(job: Job, seeds: range, store: Store, source: str) -> Job:
    finished = {seed: store.finished(job.cell, seed) for seed in seeds}
    missing = tuple(seed for seed, record in finished.items() if record is None)
    outdated = sum(record is not None and record.source != source for record in finished.values())
    return replace(job, seeds=tuple(seeds), missing=missing, outdated=outdated)


def _batches(seeds: int, size: int) -> list[range]:
    return [range(start, min(start + size, seeds)) for start in range(0, seeds, size)]
