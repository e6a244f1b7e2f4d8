"""The command line."""

import atexit
import gc
import inspect
import io
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from retrograde.errors import UserError, nearest, on_one_line, shown
from retrograde.parts.author_code import guarded, whole
from retrograde.parts.fields import LONGEST_TIMEOUT
from retrograde.parts.kinds import KINDS
from retrograde.parts.part import Part
from retrograde.parts.registry import Registry, missing

if TYPE_CHECKING:
    from retrograde.records.record import Record
    from retrograde.records.store import Store
    from retrograde.reporting.faults import Faults
    from retrograde.reporting.report import Report
    from retrograde.running.console import Stored
    from retrograde.running.suite import Suite

# On a terminal that claims a width of 0, rich would print nothing.
if os.environ.get("COLUMNS", "").strip("0") == "":
    os.environ.pop("COLUMNS", None)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


class _Lasting(Console):
    """A console whose reader may go, as `head` does: the command goes on without it."""

    def on_broken_pipe(self) -> None:
        """Print nothing any more, where rich would exit: files are still to be written."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())


out = _Lasting(highlight=False, soft_wrap=True)
err = _Lasting(stderr=True, highlight=False, soft_wrap=True)

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
TUNED = Path("runs/tuned")
ERROR = 2000
"""Most characters of an error that are printed."""
SETTINGS = 600
"""Most characters of the settings that tables do not show, unless all is asked for."""


def main() -> None:
    """Run the command line; an error that the user can mend is one line and exit code 2."""
    _print_whatever()
    warnings.showwarning = _warner()
    # Otherwise the collector looks through all objects at exit: a tenth of a large report.
    atexit.register(gc.freeze)
    try:
        app()
    except UserError as error:
        _refuse(str(error))
    except OSError as error:
        # An error without a file is not about a folder or file that the user could name.
        if error.filename is None:
            raise
        _refuse(
            f"{error.filename} cannot be used: {error.strerror}. "
            "Name another file or folder, or put this one right."
        )


def _refuse(message: str) -> None:
    """Print an error, and exit."""
    shortened = message
    if len(message) > ERROR:
        shortened = f"{message[:ERROR]}... ({len(message)} characters)"
    err.print(f"[bold red]error:[/] {escape(shortened)}")
    sys.exit(2)


def _warner() -> Callable[..., None]:
    """A function that prints a warning in one line, each text once; cells share their data."""
    told: set[str] = set()

    def warn(message: Warning | str, *_args: object) -> None:
        text = on_one_line(str(message))
        if text not in told:
            err.print(f"[yellow]warning:[/] {escape(text)}")
        told.add(text)

    return warn


def _print_whatever() -> None:
    """Let consoles that lack a character, such as those of Windows, print its code instead."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


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


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A benchmark, strategy, result, model or dataset.")],
    plugin: Plugins = NO_PATHS,
) -> None:
    """Show a part: what it is, its settings and their meaning, and its published numbers."""
    from retrograde.running.suite import suites

    registry = Registry(tuple(plugin))
    kinds = [kind for kind in KINDS if registry.knows(kind, name)]
    if not kinds and name in suites():
        raise UserError(
            f"Parts are shown, and {name} is a suite: `retrograde list suites` has its title, and "
            f"`retrograde run {name}` runs it."
        )
    if not kinds:
        known = sorted({each for kind in KINDS for each in registry.names(kind)})
        raise UserError(f"There is no part called {shown(name)} to show. {nearest(name, known)}")
    for kind in kinds:
        part = registry.find(kind, name)
        out.print(f"[bold cyan]{escape(name)}[/], of {kind}\n")
        out.print(escape(inspect.getdoc(part) or ""))
        _print_settings(part)
        if fairness := _fairness(part):
            out.print(f"\n{escape(fairness)}")
        if kind == "strategies":
            _print_published(name)


def _print_settings(part: type[Part]) -> None:
    from retrograde.parts.meaning import settings_of

    settings = settings_of(part)
    if settings:
        out.print("\n[bold]Settings[/]")
    for setting in settings:
        default = "" if setting.default is None else setting.default
        words = "; ".join(filter(None, [setting.meaning, setting.values]))
        out.print(f"  [cyan]{setting.name}[/]={escape(default)}  [dim]{escape(words)}[/]")


def _print_published(name: str) -> None:
    """Print the numbers of the literature that a strategy is compared with."""
    from retrograde.parts.spec import parse
    from retrograde.reporting.published import published_numbers

    rows = [each for each in published_numbers() if parse(each.row.strategy)[0] == name]
    if rows:
        out.print("\n[bold]Published numbers[/] (the table `published` compares)")
    for each in rows:
        numbers = ", ".join(f"{metric} {value}" for metric, value in each.row.values.items())
        stream = parse(each.benchmark)[0]
        out.print(f"  {escape(numbers)}  [dim]{escape(f'{stream}: {each.where}')}[/]")


@app.command("list")
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(help="benchmarks, strategies, results, models, datasets or suites"),
    ] = None,
    plugin: Plugins = NO_PATHS,
) -> None:
    """List the parts and suites, with their settings and defaults."""
    kinds = (*KINDS, "suites")
    if kind is not None and kind not in kinds:
        raise UserError(f"There is nothing called {kind!r} to list. {nearest(kind, kinds)}")
    registry = Registry(tuple(plugin))
    for listed in [kind] if kind else kinds:
        out.print(f"[bold]{listed}[/]")
        for name, summary, *more in _listed(listed, registry):
            out.print(f"  [cyan]{escape(name)}[/]  {escape(summary)}")
            for line in filter(None, more):
                out.print(f"      [dim]{escape(line)}[/]")


def _listed(kind: str, registry: Registry) -> list[tuple[str, ...]]:
    """Name, summary and further lines of each part or suite."""
    if kind == "suites":
        return _listed_suites()

    def row(name: str) -> tuple[str, ...]:
        part = registry.find(kind, name)
        # Code of a plugin's author runs here.
        with guarded(f"{name} cannot be listed", part):
            return name, part.summary(), part.defaults(), _fairness(part)

    return [row(name) for name in registry.names(kind)]


def _listed_suites() -> list[tuple[str, ...]]:
    from retrograde.running.seeds import seeds_of
    from retrograde.running.suite import read_suite, suites

    rows: list[tuple[str, ...]] = []
    for name in suites():
        suite = read_suite(name)
        size = f"{len(suite.pairs())} cells, {len(seeds_of(suite.seeds))} seeds{_parts(suite)}"
        rows.append((name, suite.title, size))
    return rows


def _fairness(part: type[Part]) -> str:
    """Facts that a strategy knows ahead by default, and other needs that it declares."""
    try:
        declared = part.configured({}).declares()
    except UserError:  # a setting has no default
        return ""
    keys = ("knows ahead", "weighting=tasks", "needs boundaries", "licence")
    shown_keys = [key for key in keys if key in declared]
    return "; ".join(f"{key}: {declared[key]}" for key in shown_keys)


def _parts(suite: "Suite") -> str:
    return f"; --part {', '.join(suite.parts)}" if suite.parts else ""


@app.command()
def run(
    suite: Annotated[
        list[str] | None, typer.Argument(help="Suites by name, or TOML files.")
    ] = None,
    benchmark: Annotated[
        list[str],
        typer.Option(
            metavar="NAME[:key=value,...]", help="Together with --strategy: cells without a suite."
        ),
    ] = NO_TEXT,
    strategy: Annotated[
        list[str],
        typer.Option(
            metavar="NAME[:key=value,...]",
            help="Without --benchmark: added to every benchmark of the suites.",
        ),
    ] = NO_TEXT,
    out_: Annotated[
        Path | None, typer.Option("--out", help="The store. [default: runs/<suite>]")
    ] = None,
    seeds: Annotated[
        str,
        typer.Option(
            metavar="N|A-B|A,B,C",
            help="Replicates of every cell, or their seeds. [default: the suite's, or 1]",
        ),
    ] = "",
    data: Annotated[
        Path | None, typer.Option(help="Data folder. [default: RETROGRADE_DATA or the cache]")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes of one thread each; 1: here, with all threads. "
            "[default: one for each core that has work]",
        ),
    ] = None,
    cluster: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="Ray's address, HOST:PORT or auto; needs the extra ray."
        ),
    ] = "",
    timeout: Annotated[
        float | None,
        typer.Option(
            min=1,
            max=LONGEST_TIMEOUT,
            metavar="SECONDS",
            help="Stop replicates that take longer, and record them as failed. [default: never]",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="benchmark=NAME,strategy=NAME", help="Run only these cells."),
    ] = None,
    part: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Run the cells of this part, which run only if they are asked for."
        ),
    ] = "",
    compile_: Annotated[
        str,
        typer.Option(
            "--compile",
            metavar="auto|on|off",
            help="Compile the training step; auto: the fastest mode that was measured.",
        ),
    ] = "auto",
    changed: Annotated[
        str,
        typer.Option(
            metavar="rerun|keep|stop",
            help="Treatment of records that other versions of a part's files made: measure them "
            "anew, keep them, or stop with an error.",
        ),
    ] = "rerun",
    keep: Annotated[
        str,
        typer.Option(
            metavar="model,predictions",
            help="Keep the final model, or the predictions for all test examples, beside records.",
        ),
    ] = "",
    checkpoint: Annotated[
        bool,
        typer.Option(
            "--checkpoint",
            help="Keep snapshots after each experience, from which a run that was stopped goes on.",
        ),
    ] = False,
    log: Annotated[
        str,
        typer.Option(
            metavar="tensorboard",
            help="Write the curves of each record to OUT/tensorboard; needs the extra tensorboard.",
        ),
    ] = "",
    plugin: Plugins = NO_PATHS,
    traceback: Traceback = False,
) -> None:
    """Run suites or single cells.

    Finished cells are skipped, failed ones are tried again; any interruption can be resumed.
    """
    from retrograde.running.suite import read_suite

    _check_run(suite, benchmark, strategy, part)
    # All are read first: a suite that is wrong is an error before another one's cells are made.
    suites = [(Path(name).stem, read_suite(name)) for name in suite or []]
    # PyTorch takes seconds to import, which --help and what is wrong so far need not wait for.
    from retrograde.parts.spec import words
    from retrograde.running.console import Options, run_all

    options = Options(
        tuple(plugin),
        data,
        device,
        compile_,
        jobs,
        ",".join(only or []) or None,
        cluster,
        timeout,
        changed,
        traceback,
        words(keep),
        checkpoint,
        log,
    )
    # With --benchmark, strategies make cells of their own, and none is added to the suites.
    stores = _suites(suites, [] if benchmark else strategy, part, seeds, out_)
    if benchmark:
        stores += _cells(benchmark, strategy, seeds, out_)
    if not stores:
        raise UserError(
            "There is nothing to run: name a suite (`retrograde list suites`), or --benchmark and "
            "--strategy."
        )
    with _traced(traceback):
        sys.exit(run_all(stores, options, out, err))


def _check_run(
    suite: list[str] | None,
    benchmark: list[str],
    strategy: list[str],
    part: str,
) -> None:
    """Raise `UserError` if the arguments of `run` do not fit together."""
    if bool(benchmark) != bool(strategy) and (benchmark or not suite):
        raise UserError(
            "Cells without a suite need both --benchmark and --strategy; --strategy alone adds to "
            "a suite."
        )
    if part and not suite:
        raise UserError(
            f"--part names cells of a suite, and no suite is given; --part was {shown(part)}. "
            "Leave it out."
        )


@contextmanager
def _traced(wanted: bool) -> Iterator[None]:
    """Print the whole traceback of an error in one line and of its causes, if that is wanted."""
    try:
        yield
    except (UserError, OSError) as error:
        if wanted:
            err.print(escape(whole(error)))
        raise


def _suites(
    suites: "list[tuple[str, Suite]]",
    added: list[str],
    part: str,
    seeds: str,
    folder: Path | None,
) -> "list[Stored]":
    """Requests of suites; strategies without a benchmark are added to each suite."""
    from retrograde.records.presentation import Presentation
    from retrograde.running.console import Stored
    from retrograde.running.seeds import seeds_of
    from retrograde.running.suite import grids

    methods = grids(added)
    return [
        Stored(
            folder or Path("runs") / name,
            suite.pairs(methods, part),
            seeds_of(seeds or suite.seeds),
            methods,
            Presentation(suite.title, suite.names),
        )
        for name, suite in suites
    ]


def _cells(
    benchmarks: list[str],
    strategies: list[str],
    seeds: str,
    folder: Path | None,
) -> "list[Stored]":
    """Requests of cells without a suite: every benchmark with every strategy."""
    from retrograde.running.console import Stored
    from retrograde.running.seeds import seeds_of
    from retrograde.running.suite import all_pairs

    pairs = all_pairs(benchmarks, strategies)
    return [Stored(folder or Path("runs/cells"), pairs, seeds_of(seeds or 1))]


@app.command()
def tune(
    benchmark: Annotated[
        list[str],
        typer.Option(metavar="NAME[:key=value,...]", help="The stream to choose settings for."),
    ],
    strategy: Annotated[
        list[str],
        typer.Option(
            metavar="NAME:key=A|B|C,...",
            help="The settings to choose from: lr=0.01|0.1|1, or lr=0.001..1 for any between.",
        ),
    ],
    search: Annotated[
        str, typer.Option(metavar="grid|random|tpe", help="tpe needs the extra tune.")
    ] = "grid",
    protocol: Annotated[
        str,
        typer.Option(
            metavar="within|first:N|other-order|other-dataset:NAME",
            help="The examples that settings are chosen on; never test examples.",
        ),
    ] = "within",
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials of random and tpe. [default: 20]")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of each trial.")] = 1,
    fresh: Annotated[
        str,
        typer.Option(metavar="A-B|A,B,C", help="Seeds on which the chosen settings are measured."),
    ] = "100-104",
    metric: Annotated[str, typer.Option(help="The score to choose by.")] = "ACC",
    out_: Annotated[Path, typer.Option("--out", help="Folder of the records.")] = TUNED,
    data: Annotated[
        Path | None, typer.Option(help="Data folder. [default: RETROGRADE_DATA or the cache]")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes of one thread each; 1: here.")
    ] = None,
    compile_: Annotated[str, typer.Option("--compile", metavar="auto|on|off")] = "auto",
    timeout: Annotated[
        float | None, typer.Option(min=1, max=LONGEST_TIMEOUT, metavar="SECONDS")
    ] = None,
    plugin: Plugins = NO_PATHS,
    traceback: Traceback = False,
) -> None:
    """Choose settings on validation examples, and measure them on fresh seeds.

    Every strategy gets the same search. OUT/tuned.toml is a suite of the chosen settings, and
    OUT/measured has the records of the fresh seeds. The same command goes on after an interruption.
    """
    from retrograde.running.console import Options
    from retrograde.running.interruption import orderly
    from retrograde.running.tuning import Runs, Search, tune as tuned

    wanted = Search(search, protocol, trials, seeds, fresh, metric)
    options = Options(
        tuple(plugin), data, "cpu", compile_, jobs, None, "", timeout, traceback=traceback
    )
    pairs = [(stream, method) for stream in benchmark for method in strategy]
    with _traced(traceback), orderly():
        found = tuned(pairs, wanted, Runs(out_, options, out, err))
    out.print(f"Chosen settings: {out_}/tuned.toml. Tables: retrograde report {out_}/measured")
    statuses = [record.status for each in found for record in each.records]
    sys.exit(1 if "failed" in statuses else 0)


@app.command()
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
        Path | None, typer.Option("--out", help="Folder for the files. [default: STORE/tables]")
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
    )
    registry = Registry(tuple(plugin))
    found = read_presentation(store)
    named = replace(found, title=found.title or store.resolve().name)
    records = Store(store)
    folder = out_ or store / "tables"
    faults: Faults = {}
    written: list[Path] = []
    # The collector, going over so many records, took a third of a large report.
    with uncollected():
        made = report(list(records), asked, registry, named, faults)
        made = made._replace(damaged=len(records.damaged))
        _warn_damaged(records)
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


def _patterns(texts: list[str]) -> tuple[str, ...]:
    """Read lists of benchmarks or strategies, separated by commas."""
    from retrograde.reporting.request import patterns

    return tuple(each for text in texts for each in patterns(text))


def _print_report(made: "Report", *, every: bool, notes: bool) -> None:
    """Print the warnings of a report, and its tables, or that of scores alone."""
    from retrograde.reporting.formats import markdown

    for note in made.versions:
        err.print(f"[yellow]warning:[/] {escape(note)}")
    # records of few-shot tasks alone have no scores of streams
    first = made.scores or next(iter(made.tables), "")
    try:
        for name, table in made.tables.items():
            if every or name == first:
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


@app.command()
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


@app.command()
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
    _warn_damaged(store)
    return records


def _warn_damaged(store: "Store") -> None:
    """Print every record and folder of a store that could not be read, with the reason."""
    for path, why in store.damaged.items():
        said = on_one_line(f"{path} is damaged and left out ({why}).")
        err.print(f"[yellow]warning:[/] {escape(said)}")
    if store.damaged:
        err.print(
            "[dim]Run the same suite again to replace damaged records; a folder wants permission "
            "to be read.[/]"
        )


@app.command()
def check(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME[:key=value,...]", help="A part; a model also as NAME-SIZE."),
    ] = None,
    benchmark: Annotated[
        list[str],
        typer.Option(
            metavar="NAME[:key=value,...]",
            help="Check strategies on this benchmark, repeatable: first on a few of its examples, "
            "then on toy examples of its shape, with as many classes per task and its scenario, "
            "model and optimiser. Without it, toy vectors are used, or images if the strategy's "
            "contract_model needs them.",
        ),
    ] = NO_TEXT,
    data: Annotated[
        Path | None, typer.Option(help="Data folder. [default: RETROGRADE_DATA or the cache]")
    ] = None,
    plugin: Plugins = NO_PATHS,
    traceback: Traceback = False,
) -> None:
    """Run the contract on a part, or on every one in the plugins, and print a verdict."""
    with _traced(traceback):
        sys.exit(_check(name, benchmark, Registry(tuple(plugin)), data, traceback))


def _check(
    name: str | None,
    benchmarks: list[str],
    registry: Registry,
    data: Path | None,
    traceback: bool,
) -> int:
    """Run the contract on a part, or on those of the plugins, and return the exit code."""
    from retrograde.contract.parts import called
    from retrograde.parts.spec import parse

    found = _named(name, registry) if name else _own(registry)
    if benchmarks:
        found = {spec: part for spec, part in found.items() if part.kind == "strategies"}
    if not found:
        wanted = "strategy" if benchmarks else "part"
        raise UserError(f"Name a {wanted} to check, or give a --plugin that defines one.")
    grounds = [registry.get("benchmarks", *parse(spec)) for spec in benchmarks]
    broken = 0
    for spec, part in found.items():
        for number, ground in enumerate(grounds or [None]):
            on = f" on {benchmarks[number]}" if ground else ""
            out.print(f"[bold]{escape(spec + on)}[/]  {escape(part.summary())}")
            failures = _print_verdicts(part, ground, data, traceback)
            word = "[bold red]breaks[/]" if failures else "[green]keeps[/]"
            out.print(f"  {word} the contract of {called(part)}\n")
            broken += failures
    return 1 if broken else 0


def _named(spec: str, registry: Registry) -> dict[str, Part]:
    """Find the parts of a name; a file may define parts of several kinds."""
    from retrograde.networks.build import model
    from retrograde.parts.spec import parse

    name, settings = parse(spec)
    kinds = [kind for kind in KINDS if registry.knows(kind, name)]
    if kinds:
        parts = {kind: registry.get(kind, name, settings) for kind in kinds}
        return {spec if len(parts) == 1 else f"{spec} ({k})": part for k, part in parts.items()}
    if registry.knows("models", name.partition("-")[0]):
        return {spec: model(spec)}
    known = {each for kind in KINDS for each in registry.names(kind)}
    raise UserError(f"There is no part {shown(name)}. {nearest(name, known)}")


def _own(registry: Registry) -> dict[str, Part]:
    """Find every part of the plugins."""
    found: dict[str, Part] = {}
    for name in registry.own:
        found |= _named(name, registry)
    return found


# As wide as the longest of them.
_MARKS = {
    "passed": "[green]passed[/]  ",
    "failed": "[bold red]FAILED[/]  ",
    "declared": "[yellow]declared[/]",
}


def _print_verdicts(part: Part, benchmark: Part | None, data: Path | None, traceback: bool) -> int:
    """Print the verdict of every check, and return how many failed."""
    from retrograde.contract.parts import verdicts

    counts: Counter[str] = Counter()
    for verdict in verdicts(part, benchmark, data):
        counts[verdict.outcome] += 1
        if verdict.outcome == "not reached":
            continue
        why = f": {escape(verdict.why)}" if verdict.why else ""
        out.print(f"  {_MARKS[verdict.outcome]}  {verdict.claim}{why}")
        if traceback and verdict.trace:
            out.print(escape(verdict.trace))
    if counts["not reached"]:
        out.print(f"  [dim]{counts['not reached']} further checks stop there: not reached[/]")
    return counts["failed"]


@app.command()
def new(
    kind: Annotated[
        str,
        typer.Argument(
            help="strategy, learner (existing PyTorch code), metastrategy (few-shot episodes), "
            "benchmark, model, dataset or result"
        ),
    ],
    name: Annotated[str, typer.Argument(help="Its name, in snake_case.")],
    from_: Annotated[
        str,
        typer.Option("--from", metavar="NAME", help="Copy this part that ships, under the name."),
    ] = "",
) -> None:
    """Write a working part as a starting point: NAME.py, here."""
    from retrograde.parts.scaffold import copy_part, write_part

    path = copy_part(kind, name, from_) if from_ else write_part(kind, name)
    streams = "--strategy finetune --strategy er"
    options = {
        "strategy": f"--strategy {name} --benchmark split {streams}",
        "learner": f"--strategy {name} --benchmark split {streams}",
        "metastrategy": f"--strategy {name} --benchmark fewshot:iterations=500 --strategy maml",
        "benchmark": f"--benchmark {name} {streams}",
        "model": f"--benchmark split:model={name}-32 {streams}",
        "dataset": f"--benchmark split:dataset={name},tasks=2 {streams}",
        "result": f"--benchmark split {streams}",
    }
    with_it = f" --plugin {path}" if kind == "result" else ""
    out.print(
        f"Wrote {path}. Next:\n  retrograde check --plugin {path}\n"
        f"  retrograde run --plugin {path} {options[kind]} --seeds 5\n"
        f"  retrograde report runs/cells{with_it}"
    )
