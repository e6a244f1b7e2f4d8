"""The commands `show` and `list`: parts, their settings, and suites."""

import inspect
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from retrograde.cli.options import NO_PATHS, Plugins
from retrograde.cli.terminal import out
from retrograde.errors import UserError, nearest, shown
from retrograde.parts.author_code import guarded
from retrograde.parts.kinds import KINDS
from retrograde.parts.part import Part
from retrograde.parts.registry import Registry
from retrograde.parts.spec import as_pairs, parse

if TYPE_CHECKING:
    from retrograde.metrics.metric import Metric
    from retrograde.running.suite import Suite


def show(
    name: Annotated[
        str, typer.Argument(help="A benchmark, strategy, result, model, dataset or metric.")
    ],
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
        is_mistyped = get_close_matches(name.casefold(), known, n=1, cutoff=0.8)
        metric = None if is_mistyped else _metrics().get(name)
        if metric:
            out.print(f"[bold cyan]{escape(name)}[/], of metrics\n\n{escape(metric.what)}")
            out.print(f"[dim]{escape(_facts(metric))}[/]")
            return
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
    from retrograde.reporting.published import published_numbers

    rows = [each for each in published_numbers() if parse(each.row.strategy)[0] == name]
    if rows:
        out.print("\n[bold]Published numbers[/] (the table `published` compares)")
    for each in rows:
        numbers = ", ".join(f"{metric} {value}" for metric, value in each.row.values.items())
        where = f"{each.row.strategy} on {parse(each.benchmark)[0]}: {each.where}"
        out.print(f"  {escape(numbers)}  [dim]{escape(where)}[/]")


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(help="benchmarks, strategies, results, models, datasets, metrics or suites"),
    ] = None,
    plugin: Plugins = NO_PATHS,
) -> None:
    """List the parts, metrics and suites; of one kind, with settings and defaults."""
    kinds = (*KINDS, "metrics", "suites")
    if kind is not None and kind not in kinds:
        raise UserError(f"There is nothing called {kind!r} to list. {nearest(kind, kinds)}")
    registry = Registry(tuple(plugin))
    for listed in [kind] if kind else kinds:
        out.print(f"[bold]{listed}[/]")
        for name, summary, *more in _listed(listed, registry):
            out.print(f"  [cyan]{escape(name)}[/]  {escape(summary)}")
            for line in filter(None, more if kind else ()):
                out.print(f"      [dim]{escape(line)}[/]")
    if kind is None:
        out.print(
            "[dim]`retrograde list strategies` adds settings, `retrograde show er` says all.[/]"
        )
    elif kind == "benchmarks":
        out.print("[dim]Settings of every stream: `retrograde show split`.[/]")


def _listed(kind: str, registry: Registry) -> list[tuple[str, ...]]:
    """Name, summary and further lines of each part, metric or suite."""
    if kind == "suites":
        return _listed_suites()
    if kind == "metrics":
        return [(each.name, each.what, _facts(each)) for each in _metrics().values()]

    def row(name: str) -> tuple[str, ...]:
        part = registry.find(kind, name)
        # Code of a plugin's author runs here.
        with guarded(f"{name} cannot be listed", part):
            return name, part.summary(), _own_defaults(part), _fairness(part)

    return [row(name) for name in registry.names(kind)]


def _own_defaults(part: type[Part]) -> str:
    """The settings with their defaults, without those that every stream has alike."""
    from retrograde.interface.benchmark import Benchmark

    if not issubclass(part, Benchmark):
        return part.defaults()
    (_, given), (_, common) = (parse(f":{each.defaults()}") for each in (part, Benchmark))
    own = {name: value for name, value in given.items() if common.get(name) != value}
    return as_pairs(own)


def _metrics() -> "dict[str, Metric]":
    # They load PyTorch, for which a mistyped name of a part need not wait.
    from retrograde.metrics.conventions import all_metrics

    return all_metrics()


def _facts(metric: "Metric") -> str:
    """The unit, the direction and the source of a metric."""
    unit = "percent" if metric.percent else "a unit of its own"
    better = "higher" if metric.higher_is_better else "lower"
    return f"in {unit}; {better} is better; {metric.source}"


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
