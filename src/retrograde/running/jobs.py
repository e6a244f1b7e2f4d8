"""Jobs: batches of replicates that train together, and the records that they leave."""

import time
import traceback
from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import Any, NamedTuple

import torch

from retrograde.data.dataset import Dataset
from retrograde.errors import UserError
from retrograde.machine import peak_bytes, reset_peak
from retrograde.parts.author_code import located, stops
from retrograde.parts.provenance import Sources
from retrograde.parts.registry import Registry
from retrograde.records.consistency import inconsistency
from retrograde.records.environment import environment
from retrograde.records.record import Record, Status
from retrograde.records.sidecars import Sidecars
from retrograde.running.autotune import (
    ExecutionMode,
    TunedMode,
    fastest_mode,
    on_threads,
)
from retrograde.running.cell import Job, data_of
from retrograde.running.checkpoints import JobCheckpoints
from retrograde.running.continuation import MACHINE, keep_made, made_by
from retrograde.running.plan import Context, sources_of
from retrograde.training.backend import Outcome
from retrograde.training.clocks import News, Progress, Throughput
from retrograde.training.compiled_step import Compile

Told = Callable[[Job, News], None]
"""Called with the steps that a job has taken, or the phase that it begins."""
PHASES = {
    "warm_up": "warming up",
    "compile": "compiling",
    "pretrain": "pretraining",
    "train": "training",
    "evaluate": "evaluating",
}
"""Phases by the names of their clocks; other clocks run too often and too shortly to be told."""


Ended = Generator[tuple[Job, list[Record]], None, None]
"""Jobs as they end, each with a record of each missing replicate; closing it stops the others."""


Jobs = Iterable[Job | None]
"""Jobs to run; None if there is none now, but may be one later."""


PAUSE = 0.5
"""Seconds until jobs are asked for again, if there was none."""


class Supply:
    """Jobs that are taken one by one; `ended` is true once there will be no more."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = iter(jobs)
        self.ended = False

    def take(self) -> Job | None:
        """Return the next job; None if there is none now, or none any more."""
        if self.ended:
            return None
        try:
            return next(self._jobs)
        except StopIteration:
            self.ended = True
            return None


def run_job(job: Job, registry: Registry, context: Context, progress: Progress) -> list[Record]:
    """Train a batch of replicates.

    Returns:
        A record of each missing replicate. If training raised, they are `failed`, and their reason
        has the author's line first, then the traceback.
    """
    try:
        return _records(job, registry, context, progress)
    except UserError as error:
        return failed(job, str(error), context)
    # A library may call `exit`, which is no reason to leave the other cells.
    except BaseException as error:
        if stops(error):
            raise
        return failed(job, f"{located(error)}\n{traced(error)}", context)


def traced(error: BaseException) -> str:
    """Format a traceback that names modules instead of files.

    A record may leave the machine, whose folders nobody else knows.
    """
    frames = [
        f"  {frame.f_globals.get('__name__')}:{line} in {frame.f_code.co_name}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    last = "".join(traceback.format_exception_only(error)).strip()
    lines = ["Traceback:", *frames, last]
    # As Python itself does: an explicit cause comes first, and `from None` hides the context.
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before:
        lines = [traced(before), "and then", *lines]
    return "\n".join(lines)


def failed(job: Job, reason: str, context: Context) -> list[Record]:
    """Return the records of a batch that failed."""
    where = _where(context)
    return [
        Record(
            job.spec,
            seed,
            "failed",
            reason,
            job.cell.strategy.upper_bound,
            environment=where,
            sources=job.sources,
        )
        for seed in job.missing
    ]


def _where(context: Context) -> dict[str, Any]:
    return environment(torch.device(context.device)) | {"jobs": context.jobs}


def _records(job: Job, registry: Registry, context: Context, progress: Progress) -> list[Record]:
    device = torch.device(context.device)
    cell = job.cell
    progress("loading data")
    data = data_of(cell.benchmark, context.data)
    # Of this process, which may have begun when files were edited.
    sources = sources_of(cell, registry, job.sources)
    checkpoints = _checkpoints(job, context, sources)
    if checkpoints and checkpoints.kept:
        keep_made(checkpoints.kept, made_by(job, data, context, sources))
    start = time.perf_counter()
    choice = _choice(job, data, context, sources, checkpoints, progress)
    choosing = time.perf_counter() - start
    mode = choice.mode if context.compile == "auto" else context.compile
    groups = choice.groups(job.seeds)
    ready = "warm_up" if mode == "off" else "compile"
    advance = shared(in_phases(progress, ready), len(groups))
    reset_peak(device)  # the trial's memory is not that of training
    with on_threads(choice.way.threads):
        outcomes = [
            outcome
            for group in groups
            for outcome in cell.train(data, group, device, mode, advance, job.keep, checkpoints)
        ]
        where = _where(context)  # inside, since it has the number of threads
    measured = _Measured(choice, {"autotune": choosing}, {"peak_bytes": peak_bytes(device)}, where)
    return [
        _record(job, seed, outcome, measured, sources)
        for seed, outcome in zip(job.seeds, outcomes, strict=True)
        if seed in job.missing
    ]


def _checkpoints(job: Job, context: Context, sources: Sources) -> JobCheckpoints | None:
    """Return the places of the checkpoints of a job, if the run keeps them."""
    if context.checkpoints is None:
        return None
    where = _where(context)
    machine = [where[name] for name in MACHINE]
    cell = [job.spec.benchmark, job.spec.strategy, job.spec.data, sources]
    wanted = [job.seeds, job.keep, job.snapshots, job.start, context.compile]
    device = torch.device(context.device)
    identity = repr([cell, wanted, machine])
    return JobCheckpoints.at(context.checkpoints, job, device, identity)


def _said(chosen: str) -> dict[str, str]:
    return {"chosen": chosen} if chosen else {}


class _Measured(NamedTuple):
    """Values that the records of a job share: its execution, clocks, memory and environment."""

    choice: TunedMode
    clocks: dict[str, float]
    memory: dict[str, int]
    where: dict[str, Any]


def _record(job: Job, seed: int, outcome: Outcome, measured: _Measured, sources: Sources) -> Record:
    status: Status = "done" if outcome.finite else "diverged"
    reason = "" if outcome.finite else f"{outcome.divergence} A smaller lr may help."
    record = Record(
        job.spec,
        seed,
        status,
        reason,
        job.cell.strategy.upper_bound,
        test_examples=outcome.test_examples,
        correct=outcome.correct,
        correct_given_task=outcome.correct_given_task,
        squared_errors=outcome.squared_errors,
        experiences=outcome.experiences,
        classes=outcome.classes,
        adaptation=outcome.adaptation,
        gradients=outcome.gradients,
        accounts=outcome.accounts,
        prequential=outcome.prequential,
        plasticity=outcome.plasticity,
        online_accuracy=outcome.online_accuracy,
        validation=outcome.validation,
        statistics=outcome.statistics,
        clocks=outcome.clocks | measured.clocks,
        counts=outcome.counts,
        memory=outcome.memory | measured.memory,
        how=outcome.how | measured.choice.as_record(outcome.how) | _said(job.chosen),
        environment=measured.where,
        knows_ahead=job.cell.facts_used,
        sources=sources,
        kept=outcome.kept and Sidecars.of(outcome.kept),
        files=outcome.kept.files if outcome.kept else {},
    )
    fault = inconsistency(record)
    if fault:
        # A store would take it for damaged, and the replicate for missing.
        raise RuntimeError(f"A fault of retrograde: the record contradicts itself. {fault}.")
    return record


def _choice(
    job: Job,
    data: Dataset | None,
    context: Context,
    sources: Sources,
    checkpoints: JobCheckpoints | None,
    progress: Progress,
) -> TunedMode:
    """Choose how to train the replicates of a job.

    With `compile` on or off they all train together; with auto, in the fastest measured way, which
    cells that differ only in continuous settings share. A job that was begun goes on in its way.
    """
    choice = checkpoints.way() if checkpoints else None
    choice = choice or _new_choice(job, data, context, sources, progress)
    if checkpoints:
        checkpoints.keep_way(choice)
    return choice


def _new_choice(
    job: Job, data: Dataset | None, context: Context, sources: Sources, progress: Progress
) -> TunedMode:
    # If the user says how to compile, there is nothing left to measure.
    if context.compile != "auto":
        way = ExecutionMode(len(job.seeds), torch.get_num_threads(), context.compile == "on")
        return TunedMode(way)
    device = torch.device(context.device)

    def measure(count: int, mode: Compile) -> Throughput | None:
        progress(f"trial: {count} together, {'eager' if mode == 'off' else 'compiled'}")
        return job.cell.measure(data, list(job.seeds[:count]), device, mode)

    return fastest_mode(measure, len(job.seeds), _identity(job, context, sources))


def _identity(job: Job, context: Context, sources: Sources) -> list[Any]:
    """Everything that decides how fast a job trains, other than its number of replicates."""
    where = _where(context)
    benchmark = job.spec.benchmark
    strategy = job.spec.strategy
    continuous = job.cell.strategy.continuous_settings()
    settings = {name: value for name, value in strategy.settings.items() if name not in continuous}
    cell = [benchmark.name, benchmark.settings, job.spec.data, strategy.name, settings]
    # Of the environment, only what speed depends on.
    machine = ("cpu", "cores", "device", "jobs", "torch", "retrograde", "commit")
    return [*cell, sources, *(where[name] for name in machine)]


def in_phases(progress: Progress, ready: str) -> Progress:
    """Pass on steps, and the phase of each clock that begins a new one.

    Args:
        progress: takes steps and phases.
        ready: the clock for what comes before the first step, which runs as `ready`.
    """
    last = ""

    def tell(news: News) -> None:
        nonlocal last
        if isinstance(news, int):
            progress(news)
            return
        phase = PHASES.get(ready if news == "ready" else news, last)
        if phase != last:
            last = phase
            progress(phase)

    return tell


def shared(progress: Progress, groups: int) -> Progress:
    """Share one progress between groups of replicates that train one after the other.

    A step of the job is reported once each of the `groups` could have taken it, so that the steps
    of a job do not depend on how its replicates are trained.
    """
    taken = 0

    def advance(news: News) -> None:
        nonlocal taken
        if isinstance(news, str):
            progress(news)
            return
        before = taken // groups
        taken += news
        progress(taken // groups - before)

    return advance


def run_here(jobs: Jobs, registry: Registry, context: Context, told: Told) -> Ended:
    """Run jobs one after the other in this process."""
    for job in jobs:
        if job is None:
            time.sleep(PAUSE)
        else:
            yield job, run_job(job, registry, context, partial(told, job))
