"""The command line: one module for each family of commands."""

import atexit
import gc
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated

import typer

from retrograde.cli.authors import check, new
from retrograde.cli.listing import list_, show
from retrograde.cli.reports import report
from retrograde.cli.runs import run
from retrograde.cli.stores import compare, score
from retrograde.cli.terminal import out, print_whatever, refuse, warner
from retrograde.cli.tuning import tune
from retrograde.errors import UserError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

_COMMANDS: dict[str, Callable[..., None]] = {
    "show": show,
    "list": list_,
    "run": run,
    "tune": tune,
    "report": report,
    "compare": compare,
    "score": score,
    "check": check,
    "new": new,
}
for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)


def main() -> None:
    """Run the command line; an error that the user can mend is one line and exit code 2."""
    print_whatever()
    warnings.showwarning = warner()
    # Otherwise the collector looks through all objects at exit: a tenth of a large report.
    atexit.register(gc.freeze)
    try:
        app()
    except UserError as error:
        refuse(str(error))
    except OSError as error:
        # An error without a file is not about a folder or file that the user could name.
        if error.filename is None:
            raise
        refuse(
            f"{error.filename} cannot be used: {error.strerror}. "
            "Name another file or folder, or put this one right."
        )


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"retrograde {version('retrograde')}")
        raise typer.Exit


@app.callback()
def about(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Continual learning, measured: how much learners forget, why, and what it costs."""
