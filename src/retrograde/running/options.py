"""The options of a run: their checks, and the cells and the context that they stand for."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast, get_args

import torch

from retrograde.data.sources import data_folder
from retrograde.errors import UserError, nearest, shown
from retrograde.parts.spec import parse
from retrograde.records.sidecars import SIDECARS, Sidecar
from retrograde.running.cell import Source
from retrograde.running.plan import Changed, Context
from retrograde.running.suite import Pair
from retrograde.running.trackers import check_tracker
from retrograde.training.compiled_step import Compile, check_compiler

SNAPSHOTS = "snapshots"
KEPT = (*SIDECARS, SNAPSHOTS)
"""The names of what a run may keep besides records."""


class Options(NamedTuple):
    """Options of a run, from the command line or from a call of the Python API.

    Args:
        plugins: files that define parts.
        data: the source of datasets; None: the default folder.
        device: cpu or cuda.
        compile: auto, on or off.
        jobs: processes at a time; None: as many as pay.
        only: the cells to run, as `benchmark=NAME,strategy=NAME`; None: all.
        cluster: the address of a Ray cluster; empty: this machine.
        timeout: seconds that replicates which train together may take; None: any number.
        changed: rerun, keep or stop.
        traceback: show the whole traceback of failed replicates.
        keep: what to keep of each replicate besides its record: model, predictions, snapshots.
        checkpoint: keep snapshots while cells train, from which the same command goes on.
        log: the tracker that gets the curves of each record; empty: none.
        continue_from: a store with kept snapshots of shorter streams, from which cells go on; None:
            they begin anew.
    """

    plugins: tuple[Path, ...]
    data: Source | Path | None
    device: str
    compile: str
    jobs: int | None
    only: str | None
    cluster: str
    timeout: float | None
    changed: str = "rerun"
    traceback: bool = False
    keep: Sequence[str] = ()
    checkpoint: bool = False
    log: str = ""
    continue_from: Path | None = None

    @property
    def checkpoints(self) -> bool:
        """True if snapshots are written while cells train."""
        return self.checkpoint or SNAPSHOTS in self.keep or self.continue_from is not None


def changed_of(options: Options) -> Changed:
    """The treatment of records that other files made; raise `UserError` if there is none such."""
    if options.changed not in get_args(Changed):
        raise UserError(
            f"changed is one of {', '.join(get_args(Changed))}; it was {options.changed!r}."
        )
    return cast("Changed", options.changed)


def context_of(options: Options) -> Context:
    """Check the options, and return those that every process needs."""
    _check_words(options)
    if options.cluster:
        _check_cluster(options)
    else:
        _check_machine(options)
    plugins = tuple(path.resolve() for path in options.plugins)
    data = source_of(options.data)
    mode = cast("Compile", options.compile)
    return Context(
        plugins,
        data,
        options.device,
        mode,
        cluster=options.cluster,
        timeout=options.timeout,
        keep=_keep(options.keep),
        snapshots=SNAPSHOTS in options.keep,
    )


def _keep(names: Sequence[str]) -> tuple[Sidecar, ...]:
    """Check the names of what to keep."""
    for name in names:
        if name not in KEPT:
            raise UserError(f"A run keeps no {shown(name)} besides records. {nearest(name, KEPT)}")
    return tuple(name for name in SIDECARS if name in names)


def source_of(data: Source | Path | None) -> Source:
    """Return the source of datasets that an option stands for."""
    return data_folder(data) if data is None or isinstance(data, Path) else data


def _check_words(options: Options) -> None:
    if options.compile not in get_args(Compile):
        raise UserError(
            f"compile is one of {', '.join(get_args(Compile))}; it was {options.compile!r}."
        )
    if options.log:
        check_tracker(options.log)
    if options.device not in ("cpu", "cuda"):
        raise UserError(f"device is cpu or cuda; it was {options.device!r}.")


def _check_cluster(options: Options) -> None:
    if (options.jobs or 1) > 1:
        raise UserError(
            f"--jobs is of this machine, and --cluster has as many jobs at a time as its nodes "
            f"have CPUs or GPUs; --jobs was {options.jobs}. Leave one of them out."
        )
    if options.timeout:
        raise UserError(
            f"--timeout stops processes of this machine, and --cluster has none; --timeout was "
            f"{options.timeout:g}. Leave one of them out."
        )
    if options.checkpoints:
        raise UserError(
            "--checkpoint writes to a folder of this machine, as --keep snapshots and "
            "--continue-from do, and --cluster trains on others. Leave one of them out."
        )


def _check_machine(options: Options) -> None:
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "device=cuda needs a GPU that PyTorch can use, and there is none. Use device=cpu."
        )
    if options.compile == "on":
        check_compiler()


def chosen(pairs: list[Pair], only: str | None) -> list[Pair]:
    """Select the pairs that `only` names."""
    if only is None:
        return pairs
    wanted = _only(only)
    named = [(pair, _names(pair)) for pair in pairs]
    chosen = [pair for pair, names in named if wanted.items() <= names.items()]
    if not chosen:
        known = {key: sorted({names[key] for _, names in named}) for key in wanted}
        there = "; ".join(f"{key}: {', '.join(names)}" for key, names in known.items())
        raise UserError(f"only={only} leaves no cell. There are {there}.")
    return chosen


def _only(text: str) -> dict[str, str]:
    """Parse the value of `only` into names of a benchmark and a strategy, by key."""
    known = ("benchmark", "strategy")
    wanted = parse(f"only:{text}")[1] if "=" in text else {text: ""}
    for key in wanted:
        if key not in known or not wanted[key]:
            raise UserError(
                f"only is benchmark=NAME,strategy=NAME; it was {shown(text)}. {nearest(key, known)}"
            )
    return wanted


def _names(pair: Pair) -> dict[str, str]:
    """Names of the benchmark and the strategy of a pair, without their settings."""
    names = [parse(str(part))[0] for part in pair[:2]]
    return dict(zip(("benchmark", "strategy"), names, strict=True))
