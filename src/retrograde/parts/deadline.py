"""A time limit on an author's code that runs before anything trains: an import, or a check."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from retrograde.errors import UserError
from retrograde.parts.author_code import place

LIMITS = {
    "import": ("RETROGRADE_IMPORT_SECONDS", 120.0),
    "check": ("RETROGRADE_CHECK_SECONDS", 600.0),
}
"""For each kind of work, the environment variable of its limit, and the default in seconds."""


class _Overdue(BaseException):
    """The time is over.

    It is no `Exception`, so that an author's code does not catch it with others.
    """


class Late(UserError):
    """An author's code took longer than it may."""


def limit(kind: str) -> float:
    """Maximum duration of a kind of work, in seconds.

    Raises:
        UserError: the environment variable is not a positive number.
    """
    name, default = LIMITS[kind]
    text = os.environ.get(name)
    if text is None:
        return default
    try:
        seconds = float(text)
    except ValueError:
        # A text gets the same error as a number that is not positive.
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UserError(
            f"{name} is a number of seconds above 0; it is {text!r}. Change or unset it."
        )
    return seconds


@contextmanager
def within(
    kind: str,
    what: str,
    seconds: float | None = None,
) -> Iterator[None]:
    """Limit the time of the block, and stop it at the limit.

    It needs the alarm of a POSIX system, and works in a process's main thread; elsewhere there is
    no limit. An alarm that was set before continues afterwards.

    Args:
        kind: kind of work, a key of `LIMITS`.
        what: the work, as an error names it.
        seconds: the limit, in place of the kind's.

    Raises:
        Late: the block takes longer; the error names the line at which it was stopped.
    """
    allowed = limit(kind) if seconds is None else seconds
    if not _has_alarm():
        yield
        return
    began = time.monotonic()
    handler = signal.signal(signal.SIGALRM, _ring)
    # The alarm rings again each second, for code that catches everything.
    left, interval = signal.setitimer(signal.ITIMER_REAL, allowed, 1.0)
    try:
        yield
    except _Overdue as overdue:
        raise _late(kind, what, place(overdue)) from overdue
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:
            remaining = left - (time.monotonic() - began)
            # 0 would switch the earlier alarm off; one that is overdue rings at once.
            signal.setitimer(signal.ITIMER_REAL, max(0.001, remaining), interval)


@contextmanager
def untimed() -> Iterator[None]:
    """Stop the clock of a limit inside the block, for long work that shows its progress."""
    if not _has_alarm():
        yield
        return
    left, interval = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left, interval)


def _has_alarm() -> bool:
    if not hasattr(signal, "setitimer"):
        return False
    # Python handles signals in the main thread only.
    return threading.current_thread() is threading.main_thread()


def _late(
    kind: str,
    what: str,
    where: str,
) -> Late:
    """The error of work that was stopped at a line, which may be unknown (empty)."""
    variable, _ = LIMITS[kind]
    article = "an" if kind == "import" else "a"
    stopped = f", and was stopped at {where}" if where else ""
    return Late(
        f"{what} takes longer than {limit(kind):g} s, the limit of {article} {kind}{stopped}. "
        f"Make it faster, or give it more time: {variable} is the number of seconds."
    )


def _ring(_number: int, _frame: FrameType | None) -> None:
    raise _Overdue
