"""The command `run`: suites or single cells."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrograde.cli.options import (
    NO_PATHS,
    NO_TEXT,
    Checkpoint,
    Cluster,
    Data,
    Device,
    Plugins,
    Timeout,
    Traceback,
    traced,
)
from retrograde.cli.terminal import err, out
from retrograde.errors import UserError, shown
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse, words

if TYPE_CHECKING:
    from retrograde.running.console import Stored
    from retrograde.running.suite import Suite


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
        Path | None, typer.Option("--out", help=r"The store. \[default: runs/<suite>]")
    ] = None,
    seeds: Annotated[
        str,
        typer.Option(
            metavar="N|A-B|A,B,C",
            help=r"Replicates of every cell, or their seeds. \[default: the suite's, or 1]",
        ),
    ] = "",
    data: Data = None,
    device: Device = "cpu",
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes of one thread each; 1: here, with all threads. "
            r"\[default: one for each core that has work]",
        ),
    ] = None,
    cluster: Cluster = "",
    timeout: Timeout = None,
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
            metavar="model,predictions,snapshots",
            help="Keep the final model, the predictions for all test examples, or the snapshots "
            "after each experience, beside records.",
        ),
    ] = "",
    checkpoint: Checkpoint = False,
    continue_from: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Go on from the snapshots of shorter streams that a run has kept in this store.",
        ),
    ] = None,
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
    # A plugin may import anything, and is loaded with the rest below.
    if not plugin:
        _check_names("benchmarks", benchmark)
        _check_names("strategies", strategy)
    # PyTorch takes seconds to import, which --help and what is wrong so far need not wait for.
    from retrograde.running.console import run_all
    from retrograde.running.options import Options

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
        continue_from,
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
    with traced(traceback):
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


def _check_names(kind: str, parts: list[str]) -> None:
    """Raise `UserError` for parts of unknown names; their settings are checked with PyTorch."""
    registry = Registry()
    for part in parts:
        registry.check_name(kind, parse(part)[0])


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
