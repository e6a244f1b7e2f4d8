"""The command `report`: tables and figures of a store."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from retrograde.cli.options import NO_PATHS, NO_TEXT, Plugins
from retrograde.cli.stores import warn_damaged
from retrograde.cli.terminal import err, out
from retrograde.errors import UserError, on_one_line, shown
from retrograde.parts.registry import Registry, missing

if TYPE_CHECKING:
    from retrograde.records.record import Record
    from retrograde.reporting.faults import Faults
    from retrograde.reporting.report import Report

SETTINGS = 600
"""Most characters of the settings that tables do not show, unless all is asked for."""


def report(
    store: Annotated[Path, typer.Argument(help="A folder of records.")],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="md,csv,tex,svg,png,pdf,html",
            help="CSV is always written; svg, png and pdf are figures; html is one page that holds "
            "everything.",
        ),
    ] = "md",
    out_: Annotated[
        Path | None, typer.Option("--out", help=r"Folder for the files. \[default: STORE/tables]")
    ] = None,
    as_: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="avalanche|gem|lamaml|mammoth",
            help="Definitions of forgetting and transfer: those of Avalanche 0.6.0, of the code of "
            "GEM (2017) or La-MAML (2020), or of Mammoth's first release (2020).",
        ),
    ] = "own",
    only: Annotated[
        str,
        typer.Option(metavar="NAME,NAME,...", help="The tables and figures to make, as scores."),
    ] = "",
    metrics: Annotated[
        str,
        typer.Option(metavar="ACC,AIA,...", help="The metrics of the table of scores, in order."),
    ] = "",
    across: Annotated[
        str,
        typer.Option(
            metavar="benchmarks",
            help="One table of scores, with a group of columns for each benchmark.",
        ),
    ] = "",
    benchmarks: Annotated[
        list[str],
        typer.Option(
            metavar="NAME[:key=value,...],...", help="The benchmarks to keep; repeatable."
        ),
    ] = NO_TEXT,
    strategies: Annotated[
        list[str],
        typer.Option(
            metavar="NAME[:key=value,...],...",
            help="The strategies to keep, in the order of rows; repeatable.",
        ),
    ] = NO_TEXT,
    decimals: Annotated[int, typer.Option(help="Decimal places of the table of scores.")] = 2,
    spread: Annotated[
        str,
        typer.Option(
            metavar="ci|sd",
            help="The number after ± in the table of scores: half of the 95 % interval, or the "
            "standard deviation.",
        ),
    ] = "ci",
    label: Annotated[
        str, typer.Option(metavar="tab:NAME", help="The LaTeX label of the table of scores.")
    ] = "",
    caption: Annotated[
        str,
        typer.Option(
            metavar="TEXT", help="The LaTeX caption of the table of scores, as plain text."
        ),
    ] = "",
    name: Annotated[
        list[str],
        typer.Option(
            metavar="NAME[:key=value,...]=TEXT",
            help='A name of strategies or benchmarks, as "er=ER (ours)"; repeatable.',
        ),
    ] = NO_TEXT,
    width: Annotated[float, typer.Option(metavar="INCHES", help="The width of PDF figures.")] = 5.5,
    all_: Annotated[bool, typer.Option("--all", help="Print every table, with its notes.")] = False,
    open_: Annotated[
        bool, typer.Option("--open", help="Make the page too, and open it in a browser.")
    ] = False,
    plugin: Plugins = NO_PATHS,
) -> None:
    """Make tables and figures from the records of a store, and print the scores.

    Nothing is trained. A result that fails is left out and named, and the exit code is 1;
    everything else is written.
    """
    from retrograde.parts.spec import words
    from retrograde.process import uncollected
    from retrograde.records.presentation import read_presentation
    from retrograde.records.store import Store
    from retrograde.reporting.faults import Faults
    from retrograde.reporting.files import write
    from retrograde.reporting.names import with_names
    from retrograde.reporting.report import report
    from retrograde.reporting.request import PAGE, Request, formats

    if not store.is_dir():
        raise UserError(f"A report is made from a folder of records; there is none at {store}.")
    asked = Request(
        formats(f"{format_},{PAGE}" if open_ else format_),
        as_,
        words(only),
        words(metrics),
        across,
        _patterns(benchmarks),
        _patterns(strategies),
        decimals,
        spread,
        label,
        width,
        caption,
    )
    registry = Registry(tuple(plugin))
    presentation = read_presentation(store)
    titled = replace(presentation, title=presentation.title or store.resolve().name)
    records = Store(store)
    folder = out_ or store / "tables"
    faults: Faults = {}
    written: list[Path] = []
    # The collector, going over so many records, took a third of a large report.
    with uncollected():
        found = list(records)
        made = report(found, asked, registry, with_names(titled, _names(name), found), faults)
        made = made._replace(damaged=len(records.damaged))
        warn_damaged(records)
        _print_report(made, every=all_ or bool(asked.only), notes=all_)
        if made.records:
            written = write(folder, asked, made, registry, faults)
            _print_files(folder, written)
        else:
            err.print(f"There is nothing to show: {escape(str(store))} holds no records.")
    _print_troubles(_unknown(made.records, registry), faults)
    if open_ and made.records:
        typer.launch(str(folder / f"report.{PAGE}"))
    sys.exit(1 if faults else 0)


def _names(texts: list[str]) -> dict[str, str]:
    """Read names of the form PATTERN=TEXT; a pattern may have settings, key=value, itself."""
    names = {}
    for text in texts:
        pattern, _, name = text.rpartition("=")
        if not pattern.strip() or not name.strip():
            raise UserError(
                f'A name is written NAME[:key=value,...]=TEXT, as "er=ER (ours)"; it was '
                f"{shown(text)}."
            )
        names[pattern.strip()] = name.strip()
    return names


def _patterns(texts: list[str]) -> tuple[str, ...]:
    """Read lists of benchmarks or strategies, separated by commas."""
    from retrograde.reporting.request import patterns

    return tuple(each for text in texts for each in patterns(text))


def _print_report(made: "Report", *, every: bool, notes: bool) -> None:
    """Print the warnings of a report, and its tables, or that of scores alone."""
    from retrograde.reporting.formats import markdown

    for note in made.versions:
        err.print(f"[yellow]warning:[/] {escape(note)}")
    try:
        for name, table in made.tables.items():
            if every or name in made.leading:
                # Not by rich, which takes as long as the tables themselves.
                typer.echo(markdown(table if notes else table._replace(notes=())))
        sys.stdout.flush()
    except BrokenPipeError:
        out.on_broken_pipe()
    if made.settings and not notes:
        said = shorten(made.settings, SETTINGS, placeholder=" ... (--all says the rest)")
        err.print(f"[dim]{escape(said)}[/]")


def _print_files(folder: Path, written: Sequence[Path]) -> None:
    """Print the folder of a report and its files: each name once, with its formats."""
    forms: dict[str, list[str]] = {}
    for path in written:
        forms.setdefault(path.stem, []).append(path.suffix[1:])
    names = [f"{stem}.{','.join(sorted(suffixes))}" for stem, suffixes in sorted(forms.items())]
    err.print(f"[dim]wrote {escape(str(folder))}: {escape('  '.join(names))}[/]")


def _print_troubles(unknown: list[tuple[str, str]], faults: "Faults") -> None:
    """Print the parts of a report that are not known here, and the results that failed."""
    for kind, name in unknown:
        err.print(f"[dim]note: {escape(on_one_line(missing(kind, name)))}[/]")
    for name, why in faults.items():
        reason = escape(on_one_line(why))
        err.print(f"[bold red]error:[/] the result {escape(name)} failed and is left out: {reason}")


def _unknown(records: "Sequence[Record]", registry: Registry) -> list[tuple[str, str]]:
    """Kind and name of every strategy and benchmark of some records that is not known here."""
    named = {("strategy", record.cell.strategy.name) for record in records}
    named |= {("benchmark", record.cell.benchmark.name) for record in records}
    known = {"strategy": registry.names("strategies"), "benchmark": registry.names("benchmarks")}
    return sorted((kind, name) for kind, name in named if name not in known[kind])
