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
"""For each kind of work, the environment variable that sets its limit, and the default in seconds."""


class _Overdue(BaseException):
    """The time is over; no `Exception`, so that an author's code does not catch it by the way."""


class Late(UserError):
    """An author's code took longer than it may."""


def limit(kind: str) -> float:
    """The seconds that work of a kind may take; raises `UserError` where the environment has no positive number."""
    name, default = LIMITS[kind]
    text = os.environ.get(name)
    if text is None:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UserError(
            f"{name} is a number of seconds above 0; it is {text!r}. Change or unset it."
        )
    return seconds


@contextmanager
def within(kind: str, what: str, seconds: float | None = None) -> Iterator[None]:
    """Raise `Late` where what is in here takes longer than its kind may, with the line at which it was stopped.

    It needs the alarm of a POSIX system, and works in a process's main thread; elsewhere there is no limit. An alarm that was
    set before goes on when this one is over.
    """
    allowed = limit(kind) if seconds is None else seconds
    if (
        not hasattr(signal, "setitimer")
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return
    began = time.monotonic()
    handler = signal.signal(signal.SIGALRM, _ring)
    left, interval = signal.setitimer(
        signal.ITIMER_REAL, allowed, 1.0
    )  # again each second, for code that catches all
    try:
        yield
    except _Overdue as overdue:
        where = place(overdue)
        raise Late(
            f"{what} takes longer than {limit(kind):g} s, the limit of {'an' if kind == 'import' else 'a'} {kind}"
            f"{f', and was stopped at {where}' if where else ''}. "
            f"Make it faster, or give it more time: {LIMITS[kind][0]} is the number of seconds."
        ) from overdue
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:
            signal.setitimer(
                signal.ITIMER_REAL, max(0.001, left - (time.monotonic() - began)), interval
            )


def _ring(_number: int, _frame: FrameType | None) -> None:
    raise _Overdue
