"""The terminal of the command line: its consoles, errors and warnings."""

import io
import os
import sys
from collections.abc import Callable

from rich.console import Console
from rich.markup import escape

from retrograde.errors import on_one_line

ERROR = 2000
"""Most characters of an error that are printed."""

# On a terminal that claims a width of 0, rich would print nothing.
if os.environ.get("COLUMNS", "").strip("0") == "":
    os.environ.pop("COLUMNS", None)


class _Lasting(Console):
    """A console whose reader may go, as `head` does: the command goes on without it."""

    def on_broken_pipe(self) -> None:
        """Print nothing any more, where rich would exit: files are still to be written."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())


out = _Lasting(highlight=False, soft_wrap=True)
err = _Lasting(stderr=True, highlight=False, soft_wrap=True)


def refuse(message: str) -> None:
    """Print an error, and exit."""
    shortened = message
    if len(message) > ERROR:
        shortened = f"{message[:ERROR]}... ({len(message)} characters)"
    err.print(f"[bold red]error:[/] {escape(shortened)}")
    sys.exit(2)


def warner() -> Callable[..., None]:
    """A function that prints a warning in one line, each text once; cells share their data."""
    told: set[str] = set()

    def warn(message: Warning | str, *_args: object) -> None:
        text = on_one_line(str(message))
        if text not in told:
            err.print(f"[yellow]warning:[/] {escape(text)}")
        told.add(text)

    return warn


def print_whatever() -> None:
    """Let consoles that lack a character, such as those of Windows, print its code instead."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
