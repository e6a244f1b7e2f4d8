"""The commands `check` and `new`, for authors of parts."""

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from retrograde.cli.options import NO_PATHS, NO_TEXT, Data, Plugins, Traceback, traced
from retrograde.cli.terminal import out
from retrograde.errors import UserError, nearest, shown
from retrograde.parts.kinds import KINDS
from retrograde.parts.part import Part
from retrograde.parts.registry import Registry

# As wide as the longest of them.
_MARKS = {
    "passed": "[green]passed[/]  ",
    "failed": "[bold red]FAILED[/]  ",
    "declared": "[yellow]declared[/]",
}


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
    data: Data = None,
    plugin: Plugins = NO_PATHS,
    traceback: Traceback = False,
) -> None:
    """Run the contract on a part, or on every one in the plugins, and print a verdict."""
    with traced(traceback):
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
