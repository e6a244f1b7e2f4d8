"""The commands `compare` and `score`: numbers of two stores, or of an accuracy matrix."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from retrograde.cli.terminal import err, out
from retrograde.errors import UserError, on_one_line, shown

if TYPE_CHECKING:
    from retrograde.records.record import Record
    from retrograde.records.store import Store


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A folder of records: before.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one: after.")],
    fail_on_change: Annotated[
        bool,
        typer.Option(
            "--fail-on-change",
            help="Exit code 1 if a status changed or a score did significantly (from five seeds).",
        ),
    ] = False,
) -> None:
    """Test two stores cell by cell: changed, changed within noise, or identical."""
    from retrograde.reporting.comparison import compare as compared
    from retrograde.reporting.formats import markdown

    table, changed = compared(_records(a), _records(b), (str(a), str(b)))
    out.print(markdown(table), markup=False)
    sys.exit(1 if changed and fail_on_change else 0)


def score(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.csv", help="Accuracies: a row after each task, a column for each."
        ),
    ],
    tests: Annotated[
        str,
        typer.Option(
            metavar="N,N,...",
            help="Test examples of each task, if the file has counts of right answers.",
        ),
    ] = "",
    as_: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="avalanche|gem|lamaml|mammoth",
            help="Definitions of forgetting and transfer.",
        ),
    ] = "own",
) -> None:
    """Score an accuracy matrix that other code has made, with every metric it suffices for."""
    from retrograde.api import scores

    if file.suffix.lower() != ".csv":
        raise UserError(f"`retrograde score` reads a CSV file of accuracies; it was given {file}.")
    found = scores(file, tests=_counts(tests), convention=as_)
    for metric, value in zip(found.metric, found.value, strict=True):
        out.print(f"{metric:17} {100 * value:6.2f} %")


def _counts(text: str) -> list[int] | None:
    """Parse whole numbers that are separated by commas; None if there are none."""
    if not text:
        return None
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise UserError(
            "--tests takes the number of test examples of each task, N,N,...; "
            f"it was {shown(text)}."
        ) from None


def _records(folder: Path) -> "list[Record]":
    """Read the records of a store, with a warning for each that cannot be read."""
    from retrograde.records.store import Store

    if not folder.is_dir():
        raise UserError(
            f"A store is a folder of records; there is none at {folder}. "
            "Name one that `retrograde run` has written."
        )
    store = Store(folder)
    records = list(store)
    warn_damaged(store)
    return records


def warn_damaged(store: "Store") -> None:
    """Print every record and folder of a store that could not be read, with the reason."""
    for path, why in store.damaged.items():
        said = on_one_line(f"{path} is damaged and left out ({why}).")
        err.print(f"[yellow]warning:[/] {escape(said)}")
    if store.damaged:
        err.print(
            "[dim]Run the same suite again to replace damaged records; a folder wants permission "
            "to be read.[/]"
        )
