"""What a run will do: suites read, cells resolved and checked, replicates put into batches."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from retrograde.errors import UserError
from retrograde.models.build import model_file
from retrograde.parts.part import Part
from retrograde.parts.provenance import Change, Code, changes
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse
from retrograde.process import uncollected
from retrograde.records.cell import Cell, Named
from retrograde.records.store import Store
from retrograde.running.cell import Job, Source, fit, trial
from retrograde.running.preflight import sizes
from retrograde.running.suite import Request
from retrograde.training.compiling import Compile

Changed = Literal["rerun", "keep", "stop"]
"""What becomes of finished records that other versions of a part's files made."""


REPLICATES = 1_000_000
"""Replicates of a run: to plan so many takes a minute or two."""


class Context(NamedTuple):
    """What every process of a run needs to know."""

    plugins: tuple[Path, ...] = ()
    data: Source = Path()
    device: str = "cpu"
    compile: Compile = "auto"
    jobs: int = 1
    cluster: str = ""  # the address of a Ray cluster; none: this machine
    timeout: float | None = None  # seconds that replicates which train together may take


def plan(
    requests: list[Request],
    seeds: int,
    registry: Registry,
    context: Context,
    store: Store,
    changed: Changed = "rerun",
) -> list[Job]:
    """Resolve and check every cell before anything trains; a batch whose records are all there has no job.

    Finished records that another version of a part's files made are missing where `changed` is rerun, done where it is keep,
    and a `UserError` where it is stop.
    """
    _check_replicates(len(requests), seeds)
    cells = _cells(requests, registry, context)
    codes = _codes(cells, registry)  # before a check imports the models
    found = sizes(
        cells, context.data, torch.device(context.device), elsewhere=bool(context.cluster)
    )
    with uncollected():
        jobs = []
        for cell, size in zip(cells, found, strict=True):
            code = codes[cell.cell]
            whole = replace(cell, steps=size.steps, code=code)
            jobs += [
                _batch(whole, code, batch, store, changed)
                for batch in _batches(seeds, size.together)
            ]
    if changed == "stop":
        _check_unchanged(jobs, store)
    return jobs


def code_of(job: Job, registry: Registry) -> Code:
    """The code that trains the cell of a job."""
    found = {
        "strategy": registry.code(type(job.strategy)),
        "benchmark": registry.code(type(job.benchmark)),
        "model": registry.digests(model_file(_model(job.cell))),
    }
    sources = {role: files for role, (files, _) in found.items() if files}
    return Code(sources, found["strategy"][1], job.cell.strategy.name)


def _model(cell: Cell) -> str:
    return str(cell.benchmark.settings.get("model", ""))


def _codes(jobs: Iterable[Job], registry: Registry) -> dict[Cell, Code]:
    """The code of each cell; many share it, and to read it takes milliseconds."""
    found: dict[tuple[type, type, str], Code] = {}
    codes = {}
    for job in jobs:
        parts = type(job.benchmark), type(job.strategy), _model(job.cell)
        if parts not in found:
            found[parts] = code_of(job, registry)
        codes[job.cell] = found[parts]
    return codes


def since(jobs: Sequence[Job]) -> dict[Change, str]:
    """The files that changed since records were made, and which records those are."""
    seeds: defaultdict[Change, defaultdict[Cell, list[int]]] = defaultdict(
        partial(defaultdict, list)
    )
    for job in jobs:
        for seed, changed in job.outdated.items():
            for change in changed:
                seeds[change][job.cell].append(seed)
    return {change: _records_of(cells) for change, cells in seeds.items()}


def _records_of(cells: Mapping[Cell, list[int]]) -> str:
    if len(cells) > 1:
        return f"{sum(map(len, cells.values()))} records of {len(cells)} cells"
    ((cell, seeds),) = cells.items()
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, sorted(seeds)))} of {cell.text}"


def _check_unchanged(jobs: Sequence[Job], store: Store) -> None:
    """Raise `UserError` where another version of a part's files made a record."""
    found = [
        f"{change.what} changed since {records} ({change.digests})"
        for change, records in since(jobs).items()
    ]
    if found:
        raise UserError(
            f"--changed stop runs nothing beside records of other files, and {store.folder} has such: {'; '.join(found)}. "
            "Say --changed rerun to measure them anew and set the old records aside, --changed keep to leave them as they are, "
            "or choose another --out."
        )


def _check_replicates(cells: int, seeds: int) -> None:
    """Raise `UserError` where there are more replicates than a run plans."""
    if cells * seeds > REPLICATES:
        raise UserError(
            f"A run has at most {REPLICATES} replicates; {cells} cells of {seeds} seeds are {cells * seeds}. Lower seeds, or "
            "run the cells in parts."
        )


@uncollected()
def _cells(requests: list[Request], registry: Registry, context: Context) -> list[Job]:
    """Every cell that is asked for, once; those that were added to a suite only where they fit."""
    named = _Named(registry)
    jobs: dict[Cell, Job] = {}
    left_out = []
    for request in requests:
        benchmark, asked = named("benchmarks", request.benchmark)
        strategy, answered = named("strategies", request.strategy)
        if request.added and not fit(benchmark, strategy, context.data):
            left_out.append(request)
            continue
        cell = Cell(asked, answered, trial(benchmark, strategy, context.data).digest())
        jobs.setdefault(cell, Job(cell, benchmark, strategy))
    _check_added(requests, left_out)
    return list(jobs.values())


def _found(registry: Registry, kind: str, asked: str | Part) -> tuple[Part, str]:
    """A part and its name."""
    if isinstance(asked, Part):
        return asked, registry.name_of(asked)
    name, settings = parse(asked)
    return registry.get(kind, name, settings), name


class _Named:
    """Parts with what a record has of them, made once for each text or object, which may be in many cells."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: dict[tuple[str, str | int], tuple[Any, Named]] = {}

    def __call__(self, kind: str, asked: str | Part) -> tuple[Any, Named]:
        key = kind, asked if isinstance(asked, str) else id(asked)
        if key not in self._known:
            part, name = _found(self._registry, kind, asked)
            self._known[key] = part, Named(name, part.settings(), part.changed())
        return self._known[key]


def _check_added(requests: list[Request], left_out: list[Request]) -> None:
    """Raise `UserError` where a strategy was added to a suite of which no benchmark takes it."""
    used = [request.strategy for request in requests if request not in left_out]
    for request in left_out:
        if request.strategy not in used:
            raise UserError(
                f"{request.strategy} was added, and no benchmark of the suite takes it: streams take strategies, episodes "
                "take meta-strategies, and those that are told facts need some. Name another suite, or --benchmark."
            )


def _batch(job: Job, code: Code, seeds: range, store: Store, changed: Changed) -> Job:
    finished = {seed: store.finished(job.cell, seed) for seed in seeds}
    news = {
        seed: changes(record.code, code) for seed, record in finished.items() if record is not None
    }
    outdated = {seed: found for seed, found in news.items() if found}
    anew = outdated if changed == "rerun" else ()
    missing = tuple(seed for seed, record in finished.items() if record is None or seed in anew)
    return replace(job, seeds=tuple(seeds), missing=missing, outdated=outdated)


def _batches(seeds: int, size: int) -> list[range]:
    return [range(start, min(start + size, seeds)) for start in range(0, seeds, size)]
