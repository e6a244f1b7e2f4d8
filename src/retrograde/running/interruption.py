"""Signals: Ctrl-C, SIGTERM and SIGHUP end a command with one line and an exit code of their own, from its first moment on."""

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
"""The signals that end a command, and how that is said; Windows has no SIGHUP."""
GRACE = 1.0
"""Seconds in which more signals belong to the first: a closed session sends two, an impatient hand Ctrl-C twice."""


class Stopped(KeyboardInterrupt):
    """A signal asks this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def install() -> None:
    """From now on a signal ends this process at once; one that is ignored, as under nohup, stays ignored."""
    for number in WORDS:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, _end)


@contextmanager
def orderly() -> Iterator[None]:
    """Meanwhile a signal raises `Stopped`, for there is something to put in order first."""
    before = {number: signal.getsignal(number) for number in WORDS}
    handler = _Orderly()
    for number, kept in before.items():
        if kept is _end:
            signal.signal(number, handler)
    try:
        yield
    finally:
        _restore(before)


@contextmanager
def kept() -> Iterator[None]:
    """Put the handlers back that a library replaces meanwhile."""
    before = {number: signal.getsignal(number) for number in WORDS}
    try:
        yield
    finally:
        _restore(before)


def _restore(before: Mapping[signal.Signals, Any]) -> None:
    for number, handler in before.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def told(stopped: KeyboardInterrupt) -> tuple[str, int]:
    """A signal in words, and the exit code that stands for it."""
    number = stopped.number if isinstance(stopped, Stopped) else signal.SIGINT
    return WORDS[signal.Signals(number)], 128 + number


def _end(number: int, _: FrameType | None) -> None:
    """End at once, without the exceptions that C code in the midst of an import may swallow or show."""
    line = f"{WORDS[signal.Signals(number)]}. No record is harmed; the same command begins again.\n"
    with suppress(OSError):
        os.write(2, line.encode())
    os._exit(128 + number)


class _Orderly:
    """Raises `Stopped` at the first signal; a later one, where putting in order takes too long, ends the process at once."""

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
    """Write no more to a terminal that has gone: it would be an error, in the midst of putting in order."""
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
    """Let signals wait meanwhile, for this process and those that it starts: see `leave_to_driver`."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, set(WORDS))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_to_driver() -> None:
    """Ignore the signals that a terminal or a scheduler sends to driver and workers alike: a worker ends with its driver."""
    own = os.getpid()

    def ignore(number: int, _: FrameType | None) -> None:
        if os.getpid() != own:  # a process that the worker has forked: it ends as any other
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for number in WORDS:
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else ignore)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, set(WORDS))
