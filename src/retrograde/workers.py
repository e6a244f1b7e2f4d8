"""Worker processes: how many the machine has room for, and how one starts; PyTorch is not imported here."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

FORKS = sys.platform == "linux"  # elsewhere a fork of a process with such libraries may crash
CONTEXT = multiprocessing.get_context("forkserver") if FORKS else multiprocessing.get_context("spawn")
CONTEXT.set_forkserver_preload(["retrograde.cli", "retrograde.execute", "torch._dynamo"])
"""What workers are forked from has loaded what they need: without the last, it would be in the time of a cell's first step."""


def load_ahead() -> None:
    """Let a process load what workers need and fork them later, where the system can: seconds that each would take."""
    if FORKS:
        with _undisturbed():
            forkserver.ensure_running()


def start(work: Callable[..., None], *args: object) -> BaseProcess:
    """Start a worker; it may have processes of its own, and ends with `work`."""
    process = CONTEXT.Process(target=_work, args=(dict(os.environ), work, *args))
    with _undisturbed():
        process.start()
    return process


def _work(environment: dict[str, str], work: Callable[..., None], *args: object) -> None:
    """Work in the environment that the driver has now; that of the process which forks is older."""
    os.environ.clear()
    os.environ.update(environment)
    work(*args)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """What starts meanwhile hears no Ctrl-C, which is the driver's to handle, and imports no file of the folder it is in."""
    environment = dict(os.environ)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        del os.environ["PYTHONSAFEPATH"]
        os.environ.update(environment)


def usable_cores() -> int:
    """The cores that this process, or the container that it is in, may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share, period = (*_of_container("cpu.max"), "max", "1")[:2]
    return cores if share == "max" else max(1, min(cores, int(share) // int(period)))


def physical_bytes() -> int:
    """The memory of the machine, or of the container; where that is unknown, as if it had plenty."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        found = 2**40
    (limit,) = (*_of_container("memory.max"), "max")[:1]
    return found if limit == "max" else min(found, int(limit))


def _of_container(name: str) -> list[str]:
    """What Linux (cgroup 2) says of a limit; nothing, where there is none."""
    try:
        return Path("/sys/fs/cgroup", name).read_text(encoding="ascii").split()
    except OSError:
        return []
