"""Jobs: batches of replicates that train together, and the records that they leave."""

import time
import traceback
from collections.abc import Callable, Collection, Generator, Iterable
from typing import Any

import torch

from retrograde.errors import UserError
from retrograde.interface.benchmark import Benchmark
from retrograde.interface.episodic import Episodic
from retrograde.interface.learner import Learner
from retrograde.interface.metastrategy import MetaStrategy
from retrograde.interface.strategy import Strategy, known
from retrograde.machine import peak_bytes, reset_peak
from retrograde.parts.author_code import located, stops
from retrograde.parts.provenance import Code
from retrograde.parts.registry import Registry
from retrograde.records.environment import environment
from retrograde.records.record import Record, Status
from retrograde.running.autotune import Choice, Way, choose, on_threads
from retrograde.running.cell import Job, Trial, trial
from retrograde.running.plan import Context, code_of
from retrograde.training.backend import Outcome

Progress = Callable[[int], None]


Ended = Generator[tuple[Job, list[Record]], None, None]
"""Jobs as they end, with a record of each replicate; closing it stops what still runs."""


Jobs = Iterable[Job | None]
"""Jobs to be run; None where there is none now, but may be later."""


PAUSE = 0.5
"""Seconds after which later has come."""


class Supply:
    """Jobs, taken one by one."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = iter(jobs)
        self.ended = False

    def take(self) -> Job | None:
        """The next job; None where there is none, now or, once they have ended, ever."""
        if self.ended:
            return None
        try:
            return next(self._jobs)
        except StopIteration:
            self.ended = True
            return None


def run_job(job: Job, registry: Registry, context: Context, progress: Progress) -> list[Record]:
    """Train a batch of replicates; a record for each missing one, `failed` if it raised.

    The reason of a failed one has the author's line first, then the traceback.
    """
    try:
        return _records(job, registry, context, progress)
    except UserError as error:
        return failed(job, str(error), context)
    except (
        BaseException
    ) as error:  # a library may call `exit`, which is no reason to leave the other cells
        if stops(error):
            raise
        return failed(job, f"{located(error)}\n{traced(error)}", context)


def traced(error: BaseException) -> str:
    """The traceback, with modules for files: a record may leave the machine, whose folders nobody else knows."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    frames = [
        f"  {frame.f_globals.get('__name__')}:{line} in {frame.f_code.co_name}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    last = "".join(traceback.format_exception_only(error)).strip()
    return "\n".join(
        [*([traced(before), "and then"] if before else []), "Traceback:", *frames, last]
    )


def failed(job: Job, reason: str, context: Context) -> list[Record]:
    """The records of a batch that failed."""
    where = _where(context)
    sources = job.code.sources if job.code else {}
    return [
        Record(
            job.cell,
            seed,
            "failed",
            reason,
            job.strategy.upper_bound,
            environment=where,
            sources=sources,
        )
        for seed in job.missing
    ]


def _where(context: Context) -> dict[str, Any]:
    return environment(torch.device(context.device)) | {"jobs": context.jobs}


def _records(job: Job, registry: Registry, context: Context, progress: Progress) -> list[Record]:
    benchmark, strategy = job.benchmark, job.strategy
    device = torch.device(context.device)
    todo = trial(benchmark, strategy, context.data)
    code = code_of(job, registry)  # of this process, which may have begun when files were edited
    start = time.perf_counter()
    choice = _choice(todo, job, context, code, strategy.sizes())
    choosing = {"trial": time.perf_counter() - start}
    groups, mode = (
        choice.groups(job.seeds),
        choice.mode if context.compile == "auto" else context.compile,
    )
    advance = shared(progress, len(groups))
    reset_peak(device)
    with on_threads(choice.way.threads):
        outcomes = [each for group in groups for each in todo.train(group, device, mode, advance)]
        where = _where(context)
    peak = peak_bytes(device)
    knows = _known(benchmark, strategy)

    def record(seed: int, outcome: Outcome) -> Record:
        status: Status = "done" if outcome.sound else "diverged"
        reason = "" if outcome.sound else f"{outcome.fault} A smaller lr may help."
        return Record(
            job.cell, seed, status, reason, strategy.upper_bound, code.source, outcome.tests, outcome.correct,
            outcome.correct_told, outcome.adaptation, outcome.gradients, outcome.accounts, outcome.course,
            outcome.clocks | choosing, outcome.counts, outcome.memory | {"peak_bytes": peak},
            outcome.how | choice.told(outcome.how), where, knows=knows, sources=code.sources,
        )  # fmt: skip

    pairs = zip(job.seeds, outcomes, strict=True)
    return [record(seed, outcome) for seed, outcome in pairs if seed in job.missing]


def _known(
    benchmark: Benchmark | Episodic, strategy: Strategy | Learner | MetaStrategy
) -> list[str]:
    """The facts that the strategy uses before the stream has shown them; of episodes, none."""
    if isinstance(benchmark, Episodic) or isinstance(strategy, MetaStrategy):
        return []
    return known(benchmark.scenario, strategy.knows())


def _choice(todo: Trial, job: Job, context: Context, code: Code, sizes: Collection[str]) -> Choice:
    """How the replicates of a job are trained: all together if it is said whether to compile, else by a trial.

    Cells that differ in `sizes` alone share one.
    """
    if context.compile != "auto":
        return Choice(Way(len(job.seeds), torch.get_num_threads(), context.compile == "on"))
    device, where = torch.device(context.device), _where(context)
    alike = ("cpu", "cores", "device", "jobs", "torch", "retrograde", "commit")
    benchmark, strategy = job.cell.benchmark, job.cell.strategy
    rest = {name: value for name, value in strategy.settings.items() if name not in sizes}
    cell = (
        benchmark.name,
        benchmark.settings,
        job.cell.data,
        strategy.name,
        rest,
        code.sources or code.source,
    )
    identity = [*cell, *(where[name] for name in alike)]
    return choose(
        lambda count, mode: todo.pace(list(job.seeds[:count]), device, mode),
        len(job.seeds),
        identity,
    )


def shared(progress: Progress, groups: int) -> Progress:
    """The progress of replicates that train in so many groups, one after the other: a step of a job is one of each."""
    taken = 0

    def advance(steps: int) -> None:
        nonlocal taken
        before, taken = taken // groups, taken + steps
        progress(taken // groups - before)

    return advance


def run_here(jobs: Jobs, registry: Registry, context: Context, progress: Progress) -> Ended:
    """Run jobs one after the other in this process."""
    for job in jobs:
        if job is None:
            time.sleep(PAUSE)
        else:
            yield job, run_job(job, registry, context, progress)
