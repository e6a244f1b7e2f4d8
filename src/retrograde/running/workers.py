"""Worker processes, each of which may die or be stopped without harm to the rest."""

import importlib
import multiprocessing
import os
import threading
import time
from collections import deque
from contextlib import closing
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import NamedTuple

import cloudpickle
import torch

from retrograde.parts.registry import Registry
from retrograde.records.record import Record
from retrograde.running.cell import Job
from retrograde.running.interruption import held_back, leave_to_driver
from retrograde.running.jobs import PAUSE, Ended, Jobs, Progress, Supply, failed, run_job
from retrograde.running.plan import Context


class _Worker(NamedTuple):
    process: BaseProcess
    pipe: Connection


class _Task(NamedTuple):
    """What a worker is busy with, and when its time is over, by a clock that never jumps."""

    worker: _Worker
    job: Job
    again: bool  # its first worker died
    until: float = float("inf")  # until the worker says that it has begun
    steps: int = 0


class _Staff:
    """Worker processes: those that have a task, and those that wait for one."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.busy: dict[Connection, _Task] = {}
        self.idle: list[_Worker] = []
        self.again: deque[Job] = deque()  # those whose worker died

    def room(self) -> bool:
        """True if another job may run now; one that is tried again runs alone, since it may have wanted too much memory."""
        return len(self.busy) < self.context.jobs and not any(
            task.again for task in self.busy.values()
        )

    def give(self, job: Job, *, again: bool = False) -> None:
        """Give a job to a worker that waits for one, else to a new one."""
        worker = self.idle.pop() if self.idle else _start(self.context)
        try:
            worker.pipe.send_bytes(cloudpickle.dumps(job))  # a class of a notebook goes along
        except OSError:  # it died while it waited
            worker.pipe.close()
            self.give(job, again=again)
            return
        self.busy[worker.pipe] = _Task(worker, job, again)

    def records(self, task: _Task, progress: Progress) -> list[Record] | None:
        """The records of a task that has ended; None where it tells its steps, or where its job is to be tried again."""
        message = _receive(task.worker)
        if isinstance(message, int):
            self.begun(task, message)
            progress(message)
            return None
        if message is not None:
            del self.busy[task.worker.pipe]
            self.idle.append(task.worker)
            return message
        self.lost(task)
        if task.again:
            return _died(task, self.context)
        progress(-task.steps)
        self.again.append(task.job)
        return None

    def begun(self, task: _Task, steps: int) -> None:
        """Note the steps of a task, which now has begun; its time is set if it has a limit."""
        limit = self.context.timeout
        set_now = limit is not None and task.until == float("inf")
        until = time.monotonic() + limit if limit is not None and set_now else task.until
        self.busy[task.worker.pipe] = task._replace(steps=task.steps + steps, until=until)

    def lost(self, task: _Task) -> None:
        """The task's worker is dead, or is stopped."""
        del self.busy[task.worker.pipe]
        _stop(task.worker)

    def overdue(self) -> list[_Task]:
        """The tasks whose time is over, and that have nothing to say."""
        now = time.monotonic()
        return [
            task for task in self.busy.values() if task.until <= now and not task.worker.pipe.poll()
        ]

    def heard(self, longest: float | None) -> list[_Task]:
        """The tasks with something to say, as soon as there are any, or some task's time or the longest wait is over."""
        until = min(task.until for task in self.busy.values())
        left = max(0.0, until - time.monotonic())
        seconds = min(left, float("inf") if longest is None else longest)
        ready = wait(list(self.busy), None if seconds == float("inf") else seconds)
        return [self.busy[pipe] for pipe in ready]  # type: ignore[index]

    def close(self) -> None:
        """Stop those that have a task, and let the others go."""
        for task in self.busy.values():
            _stop(task.worker)
        for worker in self.idle:
            worker.pipe.close()


def run_in_workers(jobs: Jobs, context: Context, progress: Progress) -> Ended:
    """Run jobs in worker processes; one that takes too long costs its job, one that dies costs it a first of two tries."""
    supply = Supply(jobs)
    with closing(_Staff(context)) as staff:
        while True:
            while staff.room() and (job := supply.take()):
                staff.give(job)
            if not staff.busy and staff.again:
                staff.give(staff.again.popleft(), again=True)
            if not staff.busy:
                if supply.ended:
                    return
                time.sleep(PAUSE)
                continue
            for task in staff.heard(PAUSE if staff.room() and not supply.ended else None):
                if records := staff.records(task, progress):
                    yield task.job, records
            for task in staff.overdue():
                staff.lost(task)
                yield task.job, failed(task.job, _LATE.format(context.timeout), context)


_LATE = (
    "The replicates of a cell that train together may take {:g} s (--timeout), with a trial of how to train them, and these "
    "had not ended by then. Give them more time, the cell fewer steps, or say --compile off, which tries nothing."
)


_KILLED = -9  # the exit code of a process that the system stops for want of memory


_MEMORY = (
    " So the system stops what wants more memory than there is: run fewer --jobs at a time, or give "
    "the cell a smaller model."
)


def _stop(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.join()
    worker.pipe.close()


def _died(task: _Task, context: Context) -> list[Record]:
    code = task.worker.process.exitcode
    reason = (
        f"The worker process died with exit code {code}, as the one before it had in the first try."
    )
    return failed(task.job, reason + (_MEMORY if code == _KILLED else ""), context)


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
    resource_tracker.ensure_running()  # or `start` would do so, and let signals through
    with held_back():  # Ctrl-C is the driver's to handle
        process.start()
    there.close()
    return _Worker(process, here)


def serve(pipe: Connection, context: Context) -> None:
    """A worker's life: jobs come in, records go out, until the pipe closes or the driver dies."""
    leave_to_driver()
    threading.Thread(target=_die_with_the_driver, daemon=True).start()
    if context.jobs > 1:
        torch.set_num_threads(1)
    registry = Registry(context.plugins)
    importlib.import_module(
        "torch._dynamo"
    )  # the first step would: seconds that are not the cell's, whose time may be limited
    try:
        while True:
            job = cloudpickle.loads(pipe.recv_bytes())
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
