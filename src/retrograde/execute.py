"""Jobs at work: here, or in worker processes of which each may die or be stopped without harm to the rest."""

import importlib
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection, Generator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import torch

from retrograde.authors import located, stops
from retrograde.choosing import Choice, Way, choose, on_threads
from retrograde.environment import environment, peak_bytes, reset_peak, source_digest
from retrograde.episodes import Episodic
from retrograde.errors import UserError
from retrograde.evaluation import Outcome
from retrograde.learner import Learner
from retrograde.metastrategy import MetaStrategy
from retrograde.plan import Context, Job, resolve
from retrograde.record import Record, Status
from retrograde.registry import Registry
from retrograde.strategy import Strategy, known
from retrograde.stream import Benchmark
from retrograde.trial import Trial, trial

Progress = Callable[[int], None]
Ended = Generator[tuple[Job, list[Record]], None, None]
"""Jobs as they end, with a record of each replicate; closing it stops what still runs."""


def run_job(job: Job, registry: Registry, context: Context, progress: Progress) -> list[Record]:
    """Train a batch of replicates; a record for each missing one, `failed` if it raised.

    The reason of a failed one has the author's line first, then the traceback.
    """
    try:
        return _records(job, registry, context, progress)
    except UserError as error:
        return failed(job, str(error), context)
    except BaseException as error:  # a library may call `exit`, which is no reason to leave the other cells
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
    return "\n".join([*([traced(before), "and then"] if before else []), "Traceback:", *frames, last])


def failed(job: Job, reason: str, context: Context) -> list[Record]:
    """The records of a batch that failed."""
    where = _where(context)
    return [Record(job.cell, seed, "failed", reason, job.upper_bound, environment=where) for seed in job.missing]


def _where(context: Context) -> dict[str, Any]:
    return environment(torch.device(context.device)) | {"jobs": context.jobs}


def _records(job: Job, registry: Registry, context: Context, progress: Progress) -> list[Record]:
    benchmark, strategy = resolve(job.request, registry)
    device = torch.device(context.device)
    todo = trial(benchmark, strategy, context.data)
    source = source_digest(registry.source("strategies", job.cell.strategy.name))
    start = time.perf_counter()
    choice = _choice(todo, job, context, source, strategy.sizes())
    choosing = {"trial": time.perf_counter() - start}
    groups, mode = choice.groups(job.seeds), choice.mode if context.compile == "auto" else context.compile
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
            job.cell, seed, status, reason, strategy.upper_bound, source, outcome.tests, outcome.correct, outcome.correct_told,
            outcome.adaptation, outcome.gradients, outcome.accounts, outcome.course, outcome.clocks | choosing, outcome.counts,
            outcome.memory | {"peak_bytes": peak}, outcome.how | choice.told(outcome.how), where, knows=knows,
        )  # fmt: skip

    pairs = zip(job.seeds, outcomes, strict=True)
    return [record(seed, outcome) for seed, outcome in pairs if seed in job.missing]


def _known(benchmark: Benchmark | Episodic, strategy: Strategy | Learner | MetaStrategy) -> list[str]:
    """The facts that the strategy uses before the stream has shown them; of episodes, none."""
    if isinstance(benchmark, Episodic) or isinstance(strategy, MetaStrategy):
        return []
    return known(benchmark.scenario, strategy.knows())


def _choice(todo: Trial, job: Job, context: Context, source: str, sizes: Collection[str]) -> Choice:
    """How the replicates of a job are trained: all together if it is said whether to compile, else by a trial.

    Cells that differ in `sizes` alone share one.
    """
    if context.compile != "auto":
        return Choice(Way(len(job.seeds), torch.get_num_threads(), context.compile == "on"))
    device, where = torch.device(context.device), _where(context)
    alike = ("cpu", "cores", "device", "jobs", "torch", "retrograde", "commit")
    benchmark, strategy = job.cell.benchmark, job.cell.strategy
    rest = {name: value for name, value in strategy.settings.items() if name not in sizes}
    cell = benchmark.name, benchmark.settings, job.cell.data, strategy.name, rest, source
    identity = [*cell, *(where[name] for name in alike)]
    return choose(lambda count, mode: todo.pace(list(job.seeds[:count]), device, mode), len(job.seeds), identity)


def shared(progress: Progress, groups: int) -> Progress:
    """The progress of replicates that train in so many groups, one after the other: a step of a job is one of each."""
    taken = 0

    def advance(steps: int) -> None:
        nonlocal taken
        before, taken = taken // groups, taken + steps
        progress(taken // groups - before)

    return advance


def run_here(jobs: list[Job], registry: Registry, context: Context, progress: Progress) -> Ended:
    """Run jobs one after the other in this process."""
    for job in jobs:
        yield job, run_job(job, registry, context, progress)


class _Worker(NamedTuple):
    process: BaseProcess
    pipe: Connection


class _Task(NamedTuple):
    """What a worker is busy with, and when its time is over, by a clock that never jumps."""

    worker: _Worker
    job: Job
    until: float = float("inf")  # until the worker says that it has begun


_Busy = dict[Connection, _Task]


def run_in_workers(jobs: list[Job], context: Context, progress: Progress) -> Ended:
    """Run jobs in worker processes; a worker that dies or takes too long costs its job only."""
    todo = deque(jobs)
    busy: _Busy = {}
    try:
        for _ in range(min(context.jobs, len(jobs))):
            _give(_start(context), todo, busy, context)
        while busy:
            for ready in wait(list(busy), _left(busy)):
                task = busy[ready]  # type: ignore[index]
                message = _receive(task.worker)
                if isinstance(message, int):
                    busy[task.worker.pipe] = _begun(task, context)
                    progress(message)
                    continue
                del busy[task.worker.pipe]
                yield task.job, _died(task, context) if message is None else message
                _give(task.worker, todo, busy, context)
            for task in _overdue(busy):
                del busy[task.worker.pipe]
                _stop(task.worker)
                yield task.job, failed(task.job, _LATE.format(context.timeout), context)
                _give(_start(context), todo, busy, context)
    finally:
        for task in busy.values():
            _stop(task.worker)


_LATE = (
    "The replicates of a cell that train together may take {:g} s (--timeout), with a trial of how to train them, and these "
    "had not ended by then. Give them more time, the cell fewer steps, or say --compile off, which tries nothing."
)
_KILLED = -9  # the exit code of a process that the system stops for want of memory
_MEMORY = (
    " So the system stops what wants more memory than there is: run fewer --jobs at a time, or give the cell a smaller model."
)


def _stop(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.join()
    worker.pipe.close()


def _died(task: _Task, context: Context) -> list[Record]:
    code = task.worker.process.exitcode
    reason = f"The worker process died with exit code {code}."
    return failed(task.job, reason + (_MEMORY if code == _KILLED else ""), context)


def _begun(task: _Task, context: Context) -> _Task:
    """The same task with its time set, if it has a limit and only now begins."""
    if context.timeout is None or task.until < float("inf"):
        return task
    return task._replace(until=time.monotonic() + context.timeout)


def _left(busy: _Busy) -> float | None:
    """The seconds until some task's time is over; None where no task has a limit."""
    until = min(task.until for task in busy.values())
    return max(0.0, until - time.monotonic()) if until < float("inf") else None


def _overdue(busy: _Busy) -> list[_Task]:
    """The tasks whose time is over, and that have nothing to say."""
    now = time.monotonic()
    return [task for task in busy.values() if task.until <= now and not task.worker.pipe.poll()]


def _give(worker: _Worker, todo: deque[Job], busy: _Busy, context: Context) -> None:
    """Give the next job to the worker, or to a fresh one if it has died; let it go where there is none."""
    if not todo:
        worker.pipe.close()
        return
    try:
        worker.pipe.send(todo[0])
    except OSError:
        _give(_start(context), todo, busy, context)
        return
    busy[worker.pipe] = _Task(worker, todo.popleft())


def _receive(worker: _Worker) -> int | list[Record] | None:
    """Steps taken, the records of a job that ended, or None where the worker has died."""
    try:
        message: int | list[Record] = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join()
        return None
    return message


def _start(context: Context) -> _Worker:
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=serve, args=(there, context), daemon=True)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: Ctrl-C is the driver's to handle
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    there.close()
    return _Worker(process, here)


def serve(pipe: Connection, context: Context) -> None:
    """A worker's life: jobs come in, records go out, until the pipe closes or the driver dies."""
    threading.Thread(target=_die_with_the_driver, daemon=True).start()
    if context.jobs > 1:
        torch.set_num_threads(1)
    registry = Registry(context.plugins)
    importlib.import_module("torch._dynamo")  # the first step would: seconds that are not the cell's, whose time may be limited
    try:
        while True:
            job = pipe.recv()
            steps = Throttled(pipe.send)
            steps.flush()  # it has begun
            records = run_job(job, registry, context, steps)
            steps.flush()
            pipe.send(records)
    except (EOFError, OSError):
        return


def _die_with_the_driver() -> None:
    """A cell that takes no steps never looks at the pipe, and would go on for nobody."""
    if driver := multiprocessing.parent_process():
        driver.join()
        os._exit(1)


class Throttled:
    """Gathers steps and passes them on a few times a second."""

    def __init__(self, send: Progress, seconds: float = 0.2) -> None:
        self.send, self.seconds = send, seconds
        self.waiting, self.last = 0, time.monotonic()

    def __call__(self, steps: int) -> None:
        """Count steps."""
        self.waiting += steps
        if time.monotonic() - self.last > self.seconds:
            self.flush()

    def flush(self) -> None:
        """Pass on what waits."""
        self.send(self.waiting)
        self.waiting, self.last = 0, time.monotonic()
