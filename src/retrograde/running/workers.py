"""Worker processes: any of them may die or be stopped without harm to the others."""

import importlib
import multiprocessing
import os
import threading
import time
import warnings
from collections import deque
from contextlib import closing
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import NamedTuple

import cloudpickle
import torch

from retrograde.errors import DataWarning
from retrograde.parts.registry import Registry
from retrograde.records.record import Record
from retrograde.running.cell import Job
from retrograde.running.interruption import held_back, leave_to_driver
from retrograde.running.jobs import PAUSE, Ended, Jobs, Supply, Told, failed, run_job
from retrograde.running.plan import Context
from retrograde.training.clocks import News, Progress


class _Worker(NamedTuple):
    process: BaseProcess
    pipe: Connection


class _Task(NamedTuple):
    """The job of a busy worker.

    Args:
        worker: the worker.
        job: its job.
        again: True for the second try, after the first worker died.
        until: the moment at which the job is stopped, on the monotonic clock, which never jumps;
            infinite until the worker reports that it has begun.
        steps: training steps that the worker has reported.
    """

    worker: _Worker
    job: Job
    again: bool
    until: float = float("inf")
    steps: int = 0


class _Staff:
    """The worker processes of a run: those with a task, and those that wait for one."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.busy: dict[Connection, _Task] = {}
        self.idle: list[_Worker] = []
        self.again: deque[Job] = deque()  # jobs to try again, since their worker died

    def room(self) -> bool:
        """True if another job may run now."""
        # A second try runs alone: the first worker may have died for want of memory.
        alone = any(task.again for task in self.busy.values())
        return len(self.busy) < self.context.jobs and not alone

    def give(self, job: Job, *, again: bool = False) -> None:
        """Give a job to a worker that waits for one, or else to a new worker."""
        worker = self.idle.pop() if self.idle else _start(self.context)
        try:
            # Cloudpickle sends along classes that are defined in a notebook.
            worker.pipe.send_bytes(cloudpickle.dumps(job))
        except OSError:
            # The worker died while it waited: another one takes the job.
            worker.pipe.close()
            self.give(job, again=again)
            return
        self.busy[worker.pipe] = _Task(worker, job, again)

    def records(self, task: _Task, told: Told) -> list[Record] | None:
        """Receive a message of a task.

        Returns:
            The records of the job, if it has ended; None if the message is of steps taken or of a
            phase, or if the job is to be tried again.
        """
        message = _receive(task.worker)
        if isinstance(message, int | str):
            self.begun(task, message if isinstance(message, int) else 0)
            told(task.job, message)
            return None
        if message is not None:
            del self.busy[task.worker.pipe]
            self.idle.append(task.worker)
            return message
        self.lost(task)
        if task.again:
            return _died(task, self.context)
        # The second try takes these steps again.
        told(task.job, -task.steps)
        self.again.append(task.job)
        return None

    def begun(self, task: _Task, steps: int) -> None:
        """Add steps to a task, and set its end at the first report."""
        until = task.until
        limit = self.context.timeout
        if limit is not None and until == float("inf"):
            until = time.monotonic() + limit
        self.busy[task.worker.pipe] = task._replace(steps=task.steps + steps, until=until)

    def lost(self, task: _Task) -> None:
        """Remove a task whose worker is dead or out of time, and stop that worker."""
        del self.busy[task.worker.pipe]
        _stop(task.worker)

    def overdue(self) -> list[_Task]:
        """Tasks that are out of time, and whose worker has sent nothing."""
        now = time.monotonic()
        late = [task for task in self.busy.values() if task.until <= now]
        return [task for task in late if not task.worker.pipe.poll()]

    def heard(self, longest: float | None) -> list[_Task]:
        """Wait for tasks whose worker has sent something.

        Args:
            longest: seconds to wait at most; None: until there are such tasks, or one is out of
                time.

        Returns:
            Those tasks; none if the wait is over before.
        """
        until = min(task.until for task in self.busy.values())
        left = max(0.0, until - time.monotonic())
        seconds = min(left, float("inf") if longest is None else longest)
        ready = wait(list(self.busy), None if seconds == float("inf") else seconds)
        return [self.busy[pipe] for pipe in ready]  # type: ignore[index]

    def close(self) -> None:
        """Stop busy workers, and close the pipes of the others, which end by themselves."""
        for task in self.busy.values():
            _stop(task.worker)
        for worker in self.idle:
            worker.pipe.close()


def run_in_workers(jobs: Jobs, context: Context, told: Told) -> Ended:
    """Run jobs in worker processes.

    A job that takes too long fails. A job whose worker dies is tried once more, alone.
    """
    supply = Supply(jobs)
    with closing(_Staff(context)) as staff:
        while True:
            _hand_out(supply, staff)
            if not staff.busy:
                if supply.ended:
                    return
                time.sleep(PAUSE)
                continue
            # Where more jobs may come, look for them again after a pause.
            longest = PAUSE if staff.room() and not supply.ended else None
            for task in staff.heard(longest):
                records = staff.records(task, told)
                if records:
                    yield task.job, records
            for task in staff.overdue():
                staff.lost(task)
                yield task.job, failed(task.job, _LATE.format(context.timeout), context)


def _hand_out(supply: Supply, staff: _Staff) -> None:
    """Give out jobs while there is room; second tries come last, when nothing else runs."""
    while staff.room():
        job = supply.take()
        if job is None:
            break
        staff.give(job)
    if not staff.busy and staff.again:
        staff.give(staff.again.popleft(), again=True)


_LATE = (
    "The replicates of a cell that train together may take {:g} s (timeout), with a trial of how "
    "to train them, and these had not ended by then. Give them more time, the cell fewer steps, or "
    "say compile=off, which tries nothing."
)


_KILLED = -9
"""Exit code of a process that the system stops for want of memory."""


_MEMORY = (
    " So the system stops what wants more memory than there is: run fewer jobs at a time, or "
    "give the cell a smaller model."
)


_GUARD = (
    ' A script that starts several processes does so under `if __name__ == "__main__":`, since '
    "each of them imports it; with jobs=1 there is but one."
)


def _stop(worker: _Worker) -> None:
    # Workers ignore signals that ask them to end: see `leave_to_driver`.
    worker.process.kill()
    worker.process.join()
    worker.pipe.close()


def _died(task: _Task, context: Context) -> list[Record]:
    code = task.worker.process.exitcode
    reason = (
        f"The worker process died with exit code {code}, as the one before it had in the first try."
    )
    hint = {_KILLED: _MEMORY, 1: _GUARD}.get(code or 0, "")
    return failed(task.job, reason + hint, context)


def _receive(worker: _Worker) -> News | list[Record] | None:
    """Receive steps taken, a phase or the records of a job; None if the worker has died."""
    try:
        message: News | list[Record] = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join()
        return None
    return message


def _start(context: Context) -> _Worker:
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=serve, args=(there, context), daemon=True)
    # Otherwise `start` would start the tracker, and let signals through.
    resource_tracker.ensure_running()
    with held_back():  # the driver handles Ctrl-C
        process.start()
    # While the driver has this end open too, it would not see that the worker dies.
    there.close()
    return _Worker(process, here)


def serve(pipe: Connection, context: Context) -> None:
    """Run the jobs that a pipe brings, and send their records, until the pipe closes."""
    leave_to_driver()
    # The driver has planned with the same data, and said it once.
    warnings.filterwarnings("ignore", category=DataWarning)
    threading.Thread(target=_die_with_the_driver, daemon=True).start()
    # Several workers share the cores.
    if context.jobs > 1:
        torch.set_num_threads(1)
    registry = Registry(context.plugins)
    # The first step would import it: seconds that are not the cell's, whose time may be limited.
    importlib.import_module("torch._dynamo")
    try:
        while True:
            job = cloudpickle.loads(pipe.recv_bytes())
            steps = Throttled(pipe.send)
            steps.flush()  # tells the driver that the job has begun
            records = run_job(job, registry, context, steps)
            steps.flush()
            pipe.send(records)
    except (EOFError, OSError):
        # The driver has closed the pipe: there are no more jobs.
        return


def _die_with_the_driver() -> None:
    # Without this, a cell that takes no steps would never look at the pipe, and go on for nobody.
    driver = multiprocessing.parent_process()
    if driver:
        driver.join()
        os._exit(1)


class Throttled:
    """Progress that gathers steps and passes them on a few times a second, and phases at once.

    Args:
        send: called with the number of steps since the last call, or with a phase.
        seconds: the shortest time between two calls, other than by `flush`.
    """

    def __init__(self, send: Progress, seconds: float = 0.2) -> None:
        self.send = send
        self.seconds = seconds
        self.waiting = 0
        self.last = time.monotonic()

    def __call__(self, news: News) -> None:
        """Count steps, or pass on a phase."""
        if isinstance(news, str):
            self.send(news)
            return
        self.waiting += news
        if time.monotonic() - self.last > self.seconds:
            self.flush()

    def flush(self) -> None:
        """Pass on the steps that wait, even if there are none."""
        self.send(self.waiting)
        self.waiting = 0
        self.last = time.monotonic()
