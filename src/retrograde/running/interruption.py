"""Signal handlers: Ctrl-C, SIGTERM and SIGHUP end a command with one line and an exit code."""

import errno
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

# This module is imported before all others, which take seconds: it needs the standard library only.

_NAMES = {"SIGINT": "Interrupted", "SIGTERM": "Terminated (SIGTERM)", "SIGHUP": "Hung up (SIGHUP)"}
WORDS = {getattr(signal, name): words for name, words in _NAMES.items() if hasattr(signal, name)}
"""Signals that end a command, each in words; Windows has no SIGHUP."""
GRACE = 1.0
"""Seconds in which further signals count as the first one.

A closed session sends two signals, and an impatient person presses Ctrl-C twice.
"""


class Stopped(KeyboardInterrupt):
    """Exception for a signal that asks this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def install() -> None:
    """Let signals end this process at once; one that is ignored, as under nohup, stays ignored."""
    for number in WORDS:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, _end)


@contextmanager
def orderly() -> Iterator[None]:
    """Let signals raise `Stopped` inside the context, which has work to finish first."""
    before = {number: signal.getsignal(number) for number in WORDS}
    handler = _Orderly()
    for number, kept in before.items():
        # Handlers of anyone else, such as a notebook's, stay.
        if kept is _end:
            signal.signal(number, handler)
    try:
        yield
    finally:
        _restore(before)


@contextmanager
def kept() -> Iterator[None]:
    """Restore the handlers that a library replaces inside the context."""
    before = {number: signal.getsignal(number) for number in WORDS}
    try:
        yield
    finally:
        _restore(before)


def _restore(before: Mapping[signal.Signals, Any]) -> None:
    for number, handler in before.items():
        # A handler that was not set from Python is None, and cannot be set from Python.
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def told(stopped: KeyboardInterrupt) -> tuple[str, int]:
    """Return a signal in words, and the exit code that stands for it."""
    # Where Python's own handler is left, as in a notebook, only Ctrl-C raises this.
    number = stopped.number if isinstance(stopped, Stopped) else signal.SIGINT
    return WORDS[signal.Signals(number)], 128 + number


def _end(number: int, _: FrameType | None) -> None:
    """End the process at once."""
    line = f"{WORDS[signal.Signals(number)]}. No record is harmed; the same command begins again.\n"
    # No exception is raised: C code in the middle of an import may swallow it, or print it.
    with suppress(OSError):
        os.write(2, line.encode())
    os._exit(128 + number)


class _Orderly:
    """Handler that raises `Stopped` at the first signal, and later ends the process at once.

    The second behaviour is for cleaning up that takes too long.
    """

    def __init__(self) -> None:
        self.first: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.first is None:
            self.first = time.monotonic()
            _silence()
            raise Stopped(number)
        if time.monotonic() - self.first > GRACE:
            _end(number, frame)


def _silence() -> None:
    """Redirect output away from a terminal that has gone."""
    # To write there would be an error, in the middle of cleaning up.
    for stream in (1, 2):
        if _gone(stream):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


def _gone(stream: int) -> bool:
    try:
        os.tcgetpgrp(stream)
    except OSError as error:
        return error.errno == errno.EIO
    except AttributeError:  # Windows
        pass
    return False


@contextmanager
def held_back() -> Iterator[None]:
    """Block signals inside the context, for this process and for those that it starts.

    A worker unblocks them in `leave_to_driver`, once it has handlers of its own.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, set(WORDS))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_to_driver() -> None:
    """Ignore signals in a worker, which ends with its driver.

    A terminal or a scheduler sends them to driver and workers alike.
    """
    own = os.getpid()

    def ignore(number: int, _: FrameType | None) -> None:
        # A process that the worker has forked inherits this handler, but ends as any other.
        if os.getpid() != own:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for number in WORDS:
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else ignore)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, set(WORDS))
