"""Options that several commands have."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from retrograde.cli.terminal import err
from retrograde.errors import UserError
from retrograde.parts.author_code import whole
from retrograde.parts.fields import LONGEST_TIMEOUT

Data = Annotated[
    Path | None,
    typer.Option("--data", help=r"Data folder. \[default: RETROGRADE_DATA or the cache]"),
]
Device = Annotated[str, typer.Option(help="cpu or cuda")]
Cluster = Annotated[
    str,
    typer.Option(metavar="ADDRESS", help="Ray's address, HOST:PORT or auto; needs the extra ray."),
]
Checkpoint = Annotated[
    bool,
    typer.Option(
        "--checkpoint",
        help="Keep snapshots after each experience, from which a run that was stopped goes on.",
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        min=1,
        max=LONGEST_TIMEOUT,
        metavar="SECONDS",
        help=r"Stop replicates that take longer, and record them as failed. \[default: never]",
    ),
]
Plugins = Annotated[
    list[Path],
    typer.Option("--plugin", metavar="FILE.py", help="A file that defines a part; repeatable."),
]
Traceback = Annotated[
    bool,
    typer.Option(
        "--traceback",
        help="Show the whole traceback of an error, not only its line in the author's file.",
    ),
]
NO_PATHS: list[Path] = []
NO_TEXT: list[str] = []


@contextmanager
def traced(wanted: bool) -> Iterator[None]:
    """Print the whole traceback of an error in one line and of its causes, if that is wanted."""
    try:
        yield
    except (UserError, OSError) as error:
        if wanted:
            err.print(escape(whole(error)))
        raise
