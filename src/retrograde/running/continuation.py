"""Runs that go on from the kept snapshots of a shorter stream, and what both must share."""

import shutil
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from pydantic import TypeAdapter, ValidationError
from torch.utils import _pytree as pytree

from retrograde.data.dataset import Dataset
from retrograde.errors import UserError
from retrograde.interface.benchmark import Benchmark
from retrograde.interface.strategy import Strategy
from retrograde.parts.provenance import Sources
from retrograde.parts.spec import write
from retrograde.paths import write_whole
from retrograde.records.cell import CellSpec
from retrograde.records.environment import environment
from retrograde.running.cell import CPU, Job, Start, StreamCell, data_of
from retrograde.running.checkpoints import check_kept
from retrograde.running.plan import Context
from retrograde.streams.digests import experience_digests
from retrograde.training.step_counts import total_steps
from retrograde.training.stream_replicas import StreamReplicas

MADE = "made.json"
"""The file in a folder of snapshots that says what decided their numbers."""
MACHINE = ("cpu", "device", "torch", "numpy", "retrograde", "commit")
"""What snapshots fit besides the settings and the files of their cell."""
_DATA = "data"
_OUTPUTS = "number of outputs"
_TASKS = "number of tasks, known ahead,"
_STEPS = "number of steps of the schedule"
_STATE = "numbers in the state"
_STREAM = "experiences"
"""The names of facts and differences that decide the remedy."""
SHOWN = 3
"""Most differences that an error names."""


class Made(NamedTuple):
    """Everything that decides the numbers of a job.

    Attributes:
        benchmark: its benchmark, as text.
        facts: settings, files, versions and the machine, by name.
        experiences: the digests of the experiences of each replicate.
    """

    benchmark: str
    facts: dict[str, str]
    experiences: list[list[str]]


_ADAPTER = TypeAdapter(Made)


def made_by(job: Job, data: Dataset | None, context: Context, sources: Sources) -> Made:
    """Return everything that decides the numbers of a job, experience by experience.

    Args:
        job: the job, of a strategy on a stream.
        data: the dataset of its benchmark.
        context: the settings of the run.
        sources: the files of its parts.
    """
    cell = cast("StreamCell", job.cell)
    strategy = cast("Strategy", cell.strategy)
    streams = [cell.draw(data, seed) for seed in job.seeds]
    spec = job.spec.public
    # Other settings of a benchmark shape its stream alone, whose experiences are compared.
    names = {field.name for field in fields(Benchmark)} - {"first_experiences"}
    facts: dict[str, Any] = {
        "benchmark": spec.benchmark.name,
        "strategy": spec.strategy.spec,
        "seeds": job.seeds,
        _DATA: spec.data or streams[0].data.digest,
        **{name: spec.benchmark.settings[name] for name in sorted(names)},
        "compile": context.compile,
        _OUTPUTS: streams[0].units.shape[1],
        "size of a mini-batch": strategy.schedule().pace(cell.benchmark, len(streams[0]))[0],
    }
    if "length" in strategy.knows_ahead():
        facts[_TASKS] = len(streams[0].tasks)
    schedule = cell.benchmark.rate_schedule
    if schedule.changes and schedule.over == "stream":
        facts[_STEPS] = total_steps(cell.benchmark, strategy, streams)
    # As it is before training, which shows a state that has room for each task.
    state = StreamReplicas(cell.benchmark, strategy, streams[:1], [*job.seeds[:1]], CPU).state
    facts[_STATE] = sum(form.numel() for form in pytree.tree_leaves(state))
    facts |= {file: digest for files in sources.values() for file, digest in files.items()}
    where = environment(torch.device(context.device))
    facts |= {name: where[name] for name in MACHINE}
    digests = [experience_digests(stream) for stream in streams]
    return Made(spec.benchmark.spec, {name: str(each) for name, each in facts.items()}, digests)


def keep_made(folder: Path, made: Made) -> None:
    """Say in a folder of snapshots what decides them; those of anything else are removed."""
    content = _ADAPTER.dump_json(made)
    path = folder / MADE
    if path.is_file() and path.read_bytes() == content:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_whole(path, content)


def begun(job: Job, context: Context, folder: Path) -> Job:
    """Let a job go on from the snapshots of a shorter stream.

    Args:
        job: the job; it stays as it is if its records exist.
        context: the settings of the run.
        folder: the store with the snapshots.

    Raises:
        UserError: there are none, one is damaged, or anything but the length of the stream differs.
    """
    if not job.missing:
        return job
    if not job.cell.has_snapshots:
        raise UserError(
            "A strategy on a stream can go on from snapshots; few-shot training has no "
            f"experiences, and the state of a learner may be anything, here in {job.spec.spec}. "
            "Leave it out."
        )
    spec = job.spec
    name = job.snapshots_in(Path()).name
    paths = sorted(folder.glob(f"{spec.benchmark.name}/{spec.strategy.name}/*/{name}/{MADE}"))
    if not paths:
        first, *_, last = *job.seeds, job.seeds[-1]
        raise UserError(
            "A run goes on from the snapshots of a shorter stream, of the same seeds; "
            f"{folder} has none of {spec.benchmark.name} with {spec.strategy.name} for the seeds "
            f"{first} to {last}.{_other_seeds(folder, spec)} Run the shorter stream with "
            "keep=snapshots."
        )
    wanted = made_by(job, data_of(job.cell.benchmark, context.data), context, job.sources)
    found = [(path.parent, _read(path)) for path in paths]
    compared = [(_differences(made, wanted), path, made) for path, made in found]
    fitting = [(len(made.experiences[0]), path, made) for no, path, made in compared if not no]
    if not fitting:
        differences, path, made = min(compared, key=lambda each: len(each[0]))
        raise _refusal(job, wanted, made, differences, path)
    _, path, made = max(fitting)
    start = Start(path.resolve(), made.benchmark)
    check_kept(start)
    return replace(job, start=start)


def _other_seeds(folder: Path, spec: CellSpec) -> str:
    """The seeds that a cell has snapshots of, as a sentence; empty if it has none."""
    paths = folder.glob(f"{spec.benchmark.name}/{spec.strategy.name}/*/snapshots-*/{MADE}")
    seeds = {path.parent.name.removeprefix("snapshots-") for path in paths}
    return f" It has those of seeds {', '.join(sorted(seeds))}." if seeds else ""


def _read(path: Path) -> Made:
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(
            f"{path} says what decided the snapshots beside it, and cannot be read: "
            f"{type(error).__name__}. Run the shorter stream again with keep=snapshots."
        ) from error


def _differences(made: Made, wanted: Made) -> dict[str, str]:
    """Differences between a shorter run and the one that is to go on from it, by name."""
    facts = made.facts.keys() | wanted.facts.keys()
    differences = {
        name: f"{name} {made.facts.get(name)} in place of {wanted.facts.get(name)}"
        for name in sorted(facts)
        if made.facts.get(name) != wanted.facts.get(name)
    }
    # Other seeds are a difference already.
    for shorter, longer in zip(made.experiences, wanted.experiences, strict=False):
        pairs = enumerate(zip(shorter, longer, strict=False), 1)
        other = [number for number, (before, now) in pairs if before != now]
        if other:
            differences[_STREAM] = f"another experience {other[0]}"
        elif len(shorter) >= len(longer):
            differences[_STREAM] = (
                f"{len(shorter)} experiences in place of fewer than {len(longer)}"
            )
    return differences


def _refusal(
    job: Job, wanted: Made, made: Made, differences: Mapping[str, str], folder: Path
) -> UserError:
    """The error that a shorter run differs in more than the length of the stream."""
    longer = len(wanted.experiences[0])
    shorter = len(made.experiences[0])
    remedy = "Make them the same, or run the whole stream anew."
    # Other outputs, or other inputs of generated data, make another state by themselves.
    of_stream = differences.keys() & {_DATA, _OUTPUTS}
    ahead = {_TASKS, _STEPS} if of_stream else {_TASKS, _STEPS, _STATE}
    if ahead & differences.keys():
        remedy = "Run the whole stream anew."
    elif differences.keys() <= {_STREAM, _DATA, _OUTPUTS, _STATE} and shorter < longer:
        # A stream that ends early has the outputs and the draws of the whole one.
        spec = job.spec.public.benchmark
        cut = write(spec.name, {**spec.overrides, "first_experiences": shorter})
        remedy = f"Run {cut} with keep=snapshots, or the whole stream anew."
    some = "; ".join([*differences.values()][:SHOWN])
    return UserError(
        "A run goes on from one whose stream is the beginning of its own, and all else the same; "
        f"{made.benchmark} in {folder} has {some}. {remedy}"
    )
