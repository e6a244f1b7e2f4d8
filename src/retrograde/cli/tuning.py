"""The command `tune`: settings chosen on validation examples."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from retrograde.cli.options import (
    NO_PATHS,
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

TUNED = Path("runs/tuned")


def tune(
    benchmark: Annotated[
        list[str],
        typer.Option(metavar="NAME[:key=value,...]", help="The stream to choose settings for."),
    ],
    strategy: Annotated[
        list[str],
        typer.Option(
            metavar="NAME:key=A|B|C,...",
            help="The settings to choose from: lr=0.01|0.1|1, in quotation marks because of the |, "
            "or lr=0.001..1 for any between.",
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
        int | None, typer.Option(min=1, help=r"Trials of random and tpe. \[default: 20]")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of each trial.")] = 1,
    fresh: Annotated[
        str,
        typer.Option(metavar="A-B|A,B,C", help="Seeds on which the chosen settings are measured."),
    ] = "100-104",
    metric: Annotated[str, typer.Option(help="The score to choose by.")] = "ACC",
    out_: Annotated[Path, typer.Option("--out", help="Folder of the records.")] = TUNED,
    data: Data = None,
    device: Device = "cpu",
    cluster: Cluster = "",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes of one thread each; 1: here.")
    ] = None,
    compile_: Annotated[str, typer.Option("--compile", metavar="auto|on|off")] = "auto",
    timeout: Timeout = None,
    checkpoint: Checkpoint = False,
    plugin: Plugins = NO_PATHS,
    traceback: Traceback = False,
) -> None:
    """Choose settings on validation examples, and measure them on fresh seeds.

    Every strategy gets the same search. OUT/tuned.toml is a suite of the chosen settings, and
    OUT/measured has the records of the fresh seeds. The same command goes on after an interruption.
    """
    from retrograde.running.interruption import orderly
    from retrograde.running.options import Options
    from retrograde.running.tuning import Runs, Search, tune as tuned

    wanted = Search(search, protocol, trials, seeds, fresh, metric)
    options = Options(
        tuple(plugin),
        data,
        device,
        compile_,
        jobs,
        None,
        cluster,
        timeout,
        traceback=traceback,
        checkpoint=checkpoint,
    )
    pairs = [(stream, method) for stream in benchmark for method in strategy]
    with traced(traceback), orderly():
        found = tuned(pairs, wanted, Runs(out_, options, out, err))
    out.print(f"Chosen settings: {out_}/tuned.toml. Tables: retrograde report {out_}/measured")
    statuses = [record.status for each in found for record in each.records]
    sys.exit(1 if "failed" in statuses else 0)
