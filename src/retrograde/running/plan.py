"""The plan of a run: suites are read, cells resolved and checked, replicates put into batches."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import starmap
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from retrograde.errors import UserError, shown
from retrograde.interface.benchmark import Benchmark
from retrograde.networks.build import model_file
from retrograde.networks.weights import weights_digest
from retrograde.parts.part import Part
from retrograde.parts.provenance import Change, Files, Sources
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse
from retrograde.process import uncollected
from retrograde.records.cell import CellSpec, PartSpec
from retrograde.records.record import Record
from retrograde.records.sidecars import SIDECARS, Sidecar
from retrograde.records.store import Store
from retrograde.running.cell import Cell, Job, Source, data_of, make_cell, mismatch
from retrograde.running.preflight import check_cells
from retrograde.running.seeds import seeds_of
from retrograde.running.suite import Pair
from retrograde.training.compiled_step import Compile

Changed = Literal["rerun", "keep", "stop"]
"""The treatment of finished records that other versions of a part's files made."""


REPLICATES = 1_000_000
"""Most replicates of a run; to plan so many takes a minute or two."""


class Context(NamedTuple):
    """Settings of a run that every one of its processes needs.

    Args:
        plugins: files that define parts.
        data: the source of datasets.
        device: cpu or cuda.
        compile: the compilation of the training step.
        jobs: jobs that run at a time.
        cluster: the address of a Ray cluster; empty: this machine.
        timeout: seconds that replicates which train together may take; None: any number.
        keep: what to keep of each replicate besides its record.
        checkpoints: the folder of the store, if snapshots are kept in it while cells train.
        snapshots: keep the snapshots after each experience when cells have ended, too.
    """

    plugins: tuple[Path, ...] = ()
    data: Source = Path()
    device: str = "cpu"
    compile: Compile = "auto"
    jobs: int = 1
    cluster: str = ""
    timeout: float | None = None
    keep: tuple[Sidecar, ...] = ()
    checkpoints: Path | None = None
    snapshots: bool = False


def plan(
    pairs: Sequence[Pair | tuple[str | Part, str | Part]],
    seeds: int | Sequence[int],
    registry: Registry,
    context: Context,
    store: Store,
    *,
    changed: Changed = "rerun",
    added: Sequence[str | Part] = (),
) -> list[Job]:
    """Resolve and check every cell, before anything trains.

    Args:
        pairs: benchmarks and strategies to pair, as texts or as objects. A pair that is given
            twice is planned once.
        seeds: the number of replicates of each cell, or their seeds.
        registry: the registry that knows the parts.
        context: the settings of the run.
        store: the store whose finished records are not made again.
        changed: rerun: finished records that another version of a part's files made are missing;
            keep: they are done; stop: they are an error.
        added: strategies that run only on the benchmarks that they fit.

    Returns:
        One job per batch of replicates; its `missing` is empty if all of its records exist.

    Raises:
        UserError: a cell cannot be trained, there are too many replicates, or `changed` is stop
            and a part's files have changed.
    """
    numbers = seeds_of(seeds)
    _check_replicates(len(pairs), len(numbers))
    chosen: dict[CellSpec, str] = {}
    cells = _cells(list(starmap(Pair, pairs)), registry, context, added, chosen)
    sources = _sources(cells, registry)  # before a check imports the models
    device = torch.device(context.device)
    extents = check_cells(cells, context.data, device, elsewhere=bool(context.cluster))
    # The collector would go over all planned jobs again and again.
    with uncollected():
        jobs = []
        for cell, (steps, at_once) in zip(cells, extents, strict=True):
            whole = Job(
                cell,
                steps=steps,
                sources=sources[cell.spec],
                chosen=chosen[cell.spec],
                keep=context.keep,
                snapshots=context.snapshots and cell.has_snapshots,
            )
            batches = _batches(numbers, at_once)
            jobs += [_batch(whole, batch, store, changed) for batch in batches]
    if changed == "stop":
        _check_unchanged(jobs, store)
    return jobs


def sources_of(cell: Cell, registry: Registry, planned: Sources | None = None) -> Sources:
    """Return the files that train a cell.

    Args:
        cell: the cell.
        registry: the registry of this process.
        planned: the files as the plan found them; None while planning.
    """
    by_role = {
        "strategy": _files_of("strategy", type(cell.strategy), registry, planned),
        "benchmark": _files_of("benchmark", type(cell.benchmark), registry, planned),
        "model": registry.digests(model_file(_model(cell.spec))),
        "weights": _weights(cell.benchmark),
        "input": _input_files(cell.benchmark),
    }
    return {role: files for role, files in by_role.items() if files}


def _weights(benchmark: object) -> Files:
    """Return the file of a model's initial weights, by the digest of its tensors."""
    path = getattr(benchmark, "weights", "")
    return {Path(path).name: weights_digest(path)} if path else {}


def _input_files(benchmark: object) -> Files:
    """Return the other files that a benchmark reads beside its dataset."""
    if not isinstance(benchmark, Benchmark):
        return {}
    paths = map(Path, benchmark.input_files())
    return {path.name: _file_digest(path) for path in paths}


def _file_digest(path: Path) -> str:
    """Return twelve hexadecimal digits of the content of a file."""
    if not path.is_file():
        raise UserError(f"A benchmark reads {shown(str(path))}; there is no such file.")
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def _files_of(role: str, cls: type[Part], registry: Registry, planned: Sources | None) -> Files:
    """Return the files of a part.

    A class that came along with a job, from a notebook or a script, has its files where it comes
    from: the plan has looked at them there.
    """
    if planned is None or registry.registered(cls):
        return registry.code(cls)
    return planned.get(role, {})


def _paths(benchmark: object) -> tuple[str, ...]:
    """Return the paths of the files that a benchmark reads beside its dataset."""
    others = benchmark.input_files() if isinstance(benchmark, Benchmark) else ()
    return (getattr(benchmark, "weights", ""), *others)


def _model(spec: CellSpec) -> str:
    return str(spec.benchmark.settings.get("model", ""))


def _sources(cells: Iterable[Cell], registry: Registry) -> dict[CellSpec, Sources]:
    """Files of each cell."""
    # Many cells share their code, and to read it takes milliseconds.
    by_parts: dict[tuple[object, ...], Sources] = {}
    by_cell = {}
    for cell in cells:
        parts = type(cell.benchmark), type(cell.strategy), _model(cell.spec), _paths(cell.benchmark)
        if parts not in by_parts:
            by_parts[parts] = sources_of(cell, registry)
        by_cell[cell.spec] = by_parts[parts]
    return by_cell


def since(jobs: Sequence[Job]) -> dict[Change, str]:
    """Files that changed since records were made, each with those records in words."""
    seeds: defaultdict[Change, defaultdict[CellSpec, list[int]]]
    seeds = defaultdict(lambda: defaultdict(list))
    for job in jobs:
        for seed, changed in job.outdated.items():
            for change in changed:
                seeds[change][job.spec].append(seed)
    return {change: _records_of(cells) for change, cells in seeds.items()}


def _records_of(cells: Mapping[CellSpec, list[int]]) -> str:
    if len(cells) > 1:
        records = sum(map(len, cells.values()))
        return f"{records} records of {len(cells)} cells"
    ((cell, seeds),) = cells.items()
    plural = "s" * (len(seeds) > 1)
    listed = ", ".join(map(str, sorted(seeds)))
    return f"seed{plural} {listed} of {cell.spec}"


def _check_unchanged(jobs: Sequence[Job], store: Store) -> None:
    """Raise `UserError` if another version of a part's files made a record."""
    found = [
        f"{change.what} changed since {records} ({change.digests})"
        for change, records in since(jobs).items()
    ]
    if found:
        raise UserError(
            f"changed=stop runs nothing beside records of other files, and {store.folder} has "
            f"such: {'; '.join(found)}. Say changed=rerun to measure them anew and set the old "
            "records aside, changed=keep to leave them as they are, or choose another folder."
        )


def _check_replicates(cells: int, seeds: int) -> None:
    """Raise `UserError` if there are more replicates than a run plans."""
    if cells * seeds > REPLICATES:
        raise UserError(
            f"A run has at most {REPLICATES} replicates; {cells} cells of {seeds} seeds are "
            f"{cells * seeds}. Lower seeds, or run the cells in parts."
        )


@uncollected()
def _cells(
    pairs: Sequence[Pair],
    registry: Registry,
    context: Context,
    added: Sequence[str | Part],
    chosen: dict[CellSpec, str],
) -> list[Cell]:
    """Make the cells of all pairs, each once, and note how the settings of each were chosen.

    Raises:
        UserError: a strategy does not fit its benchmark, or one that was added fits none.
    """
    parts = _Parts(registry)
    cells: dict[CellSpec, Cell] = {}
    unfit: dict[str, str] = {}
    used: set[str] = set()
    for given_benchmark, given_strategy, said in pairs:
        benchmark = parts("benchmarks", given_benchmark)
        strategy = parts("strategies", given_strategy)
        reason = mismatch(benchmark[1], strategy[1], context.data)
        if reason and given_strategy not in added:
            raise UserError(reason)
        if reason:
            unfit.setdefault(strategy[0].spec, reason)
            continue
        if added:
            used.add(strategy[0].spec)
        cell = make_cell(benchmark, strategy, data_of(benchmark[1], context.data))
        cells.setdefault(cell.spec, cell)
        # Several ways of choosing may come to the same settings.
        ways = dict.fromkeys(filter(None, [chosen.get(cell.spec, ""), said]))
        chosen[cell.spec] = "; ".join(ways)
    for name, reason in unfit.items():
        if name not in used:
            raise UserError(f"{name} was added, and no benchmark of the suite takes it: {reason}")
    return list(cells.values())


class _Parts:
    """Cache of parts with their specification; each text or object may be in many cells."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: dict[tuple[str, str | int], tuple[PartSpec, Any]] = {}
        self._classes: dict[tuple[str, str], type[Part]] = {}

    def __call__(self, kind: str, asked: str | Part) -> tuple[PartSpec, Any]:
        # An object of an author's class need not be hashable, so its identity is the key.
        key = kind, asked if isinstance(asked, str) else id(asked)
        if key not in self._known:
            part, name = self._found(kind, asked)
            cls = self._classes.setdefault((kind, name), type(part))
            if cls is not type(part):
                raise UserError(
                    f"Each class of a run has a name of its own; two different ones are called "
                    f"{cls.__name__}. Rename one."
                )
            self._known[key] = PartSpec.of(name, part), part
        return self._known[key]

    def _found(self, kind: str, asked: str | Part) -> tuple[Part, str]:
        """Return a part and its name."""
        if isinstance(asked, Part):
            return asked, self._registry.name_of(asked)
        name, settings = parse(asked)
        return self._registry.get(kind, name, settings), name


def _batch(job: Job, seeds: Sequence[int], store: Store, changed: Changed) -> Job:
    """Return the job of a cell, narrowed to some seeds and to the records that they lack."""
    job = replace(job, seeds=tuple(seeds))
    # Failed and damaged records are not finished, so that their replicates are tried again.
    finished = {seed: store.finished(job.spec, seed) for seed in seeds}
    changed_since = {
        seed: record.outdated_by(job.spec, job.sources)
        for seed, record in finished.items()
        if record is not None
    }
    outdated = {seed: files for seed, files in changed_since.items() if files}
    anew = outdated if changed == "rerun" else ()
    missing = tuple(
        seed
        for seed, record in finished.items()
        if record is None or seed in anew or not job.kept_with(record)
    )
    again = [finished[seed] for seed in missing if seed not in outdated]
    keep = _keep_too(job.keep, again)
    return replace(job, missing=missing, outdated=outdated, keep=keep)


def _keep_too(wanted: Sequence[Sidecar], again: Iterable[Record | None]) -> tuple[Sidecar, ...]:
    """Return what to keep so that records which are made again lose none of their files."""
    kept = {name for record in again if record and record.kept for name in record.kept.digests}
    return tuple(name for name in SIDECARS if name in wanted or name in kept)


def _batches(seeds: Sequence[int], size: int) -> list[Sequence[int]]:
    return [seeds[start : start + size] for start in range(0, len(seeds), size)]
