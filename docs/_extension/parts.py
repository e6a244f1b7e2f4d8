"""The pages of strategies, benchmarks, datasets and models."""

import inspect
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from typing import cast

from retrograde import Strategy
from retrograde.errors import UserError
from retrograde.networks.build import build
from retrograde.networks.model import Model, usage
from retrograde.parts.meaning import settings_of
from retrograde.parts.part import Part
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse

from . import committed
from .markdown import code, contents, docstring, escaped, folded, page, section, table
from .numbers import costs, measured, published

ONE = {
    "strategies": "strategy",
    "benchmarks": "benchmark",
    "datasets": "dataset",
    "models": "model",
}
"""The kinds with pages, and the word for one part."""
SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
"""Datasets for which the sizes of models are counted."""
REGISTRY = Registry()


def pages() -> dict[str, str]:
    """The text of every page by its name."""
    texts = {f"{kind}/index.md": _index(kind) for kind in ONE}
    for kind in ONE:
        for name in REGISTRY.names(kind):
            texts[f"{kind}/{name}.md"] = _page(kind, name)
    return texts


def _index(kind: str) -> str:
    names = REGISTRY.names(kind)
    rows = [
        (f"[{name}](#{ONE[kind]}-{name})", escaped(REGISTRY.find(kind, name).summary()))
        for name in names
    ]
    return page(
        f"all-{kind}",
        kind.capitalize(),
        f"Each page is written from the {ONE[kind]}'s file, its docstring and the committed "
        "records. `retrograde list` prints the same on your machine.",
        table(["name", "summary"], rows),
        contents(names),
    )


def _page(kind: str, name: str) -> str:
    part = REGISTRY.find(kind, name)
    return page(
        f"{ONE[kind]}-{name}",
        name,
        docstring(inspect.getdoc(part) or ""),
        section("Settings", _settings(part)),
        section("Use", _use(kind, name, part)),
        section("Declarations", _declarations(part)),
        *_sections(kind, name, part),
        section("Suites", _suites(kind, name)),
        section("Source", _source(part)),
    )


def _sections(kind: str, name: str, part: type[Part]) -> Iterator[str]:
    """The sections that parts of one kind have."""
    if kind == "strategies":
        yield section("Published numbers", published(name))
        yield section("Measured here", measured(name))
        yield section("Cost", costs(name))
    if kind == "models":
        yield section("Size", _size(name, cast("type[Model]", part)))


def _settings(part: type[Part]) -> str:
    rows = [
        (
            code(setting.name),
            "required" if setting.default is None else code(setting.default),
            escaped(setting.meaning),
            escaped(setting.values),
        )
        for setting in settings_of(part)
    ]
    return table(["setting", "default", "meaning", "values"], rows)


def _use(kind: str, name: str, part: type[Part]) -> str:
    """The shortest command of a suite's cell with the part, or else of any."""
    cells = committed.cells() if kind in ("strategies", "benchmarks") else ()
    used = [cell[2:] for cell in cells if _uses(kind, name, *cell[2:])]
    shortest = min(used, key=lambda cell: len("".join(cell)), default=None)
    benchmark, strategy = shortest or _general(kind, name, part)
    return f'```\nretrograde run --benchmark "{benchmark}" --strategy "{strategy}" --seeds 5\n```'


def _general(kind: str, name: str, part: type[Part]) -> tuple[str, str]:
    """A benchmark and a strategy with a part that no suite has."""
    if kind == "strategies":
        return _stream_for(cast("type[Strategy]", part)), name
    if kind == "benchmarks":
        files = [each.name for each in settings_of(part) if each.name == "file"]
        return name + (":file=mine.json" if files else ""), "er"
    if kind == "datasets":
        return f"split:dataset={name}", "er"
    example = _example(name, part)
    data = "" if _parameters(example, (1, 8, 8)) else "dataset=cifar10,"
    return f"split:{data}model={example}", "er"


def _stream_for(part: type[Strategy]) -> str:
    """A stream that gives a strategy the scenario, and the pretraining, that it needs."""
    if part.pretraining is not Strategy.pretraining:
        return "omniglot_sequence"
    scenarios = part.configured({}).declares()["scenarios"].split(", ")
    return "split" if "class" in scenarios else f"split:scenario={scenarios[0]}"


def _declarations(part: type[Part]) -> str:
    """Facts that a part declares with its default settings."""
    try:
        declared = part.configured({}).declares()
    except UserError:  # a setting has no default
        return ""
    return table(
        ["declares", "value"], [(escaped(key), escaped(text)) for key, text in declared.items()]
    )


def _example(name: str, part: type[Part]) -> str:
    """The name of a model, with a number for each size unless it has a default."""
    form = usage(cast("type[Model]", part), name)
    required = any(setting.default is None for setting in settings_of(part))
    if not required and "..." not in form:
        return name
    words = form.replace("...", "").split("-")[1:]
    numbers = {"DROPOUT": "0.5", "MODEL": "mlp-100"}
    return "-".join([name, *(numbers.get(word, "32") for word in words)])


def _size(name: str, part: type[Model]) -> str:
    """Numbers of parameters on the shapes of common datasets, with 10 outputs."""
    example = _example(name, part)
    rows = [
        (f"`{example}` on {dataset}", " x ".join(map(str, shape)), f"{count:,}")
        for dataset, shape in SHAPES.items()
        if (count := _parameters(example, shape))
    ]
    return table(["model", "shape", "parameters:"], rows)


def _parameters(model: str, shape: tuple[int, ...]) -> int:
    """The number of a model's parameters; 0 if it does not take the shape, or needs an extra."""
    try:
        module = build(model, shape, 10, seed=0, running=True)
    except (UserError, ImportError):
        return 0
    return sum(parameter.numel() for parameter in module.parameters())


def _suites(kind: str, name: str) -> str:
    """The cells of suites with the part, by suite."""
    found: dict[tuple[str, str], list[str]] = {}
    for suite, part, benchmark, strategy in committed.cells():
        if _uses(kind, name, benchmark, strategy):
            shown = strategy if kind == "strategies" else benchmark
            cells = found.setdefault((suite, part), [])
            cells += [shown] if shown not in cells else []
    rows = [
        (f"[{suite}](#suite-{suite})", code(part), _several(cells))
        for (suite, part), cells in sorted(found.items())
    ]
    return table(["suite", "part", "with"], rows)


def _uses(kind: str, name: str, benchmark: str, strategy: str) -> bool:
    stream, settings = parse(benchmark)
    if kind in ("strategies", "benchmarks"):
        return name == (parse(strategy)[0] if kind == "strategies" else stream)
    if kind == "datasets":
        return name in settings.get("dataset", _default(stream, "dataset")).split("+")
    return name == settings.get("model", _default(stream, "model")).partition("-")[0]


@cache
def _default(benchmark: str, setting: str) -> str:
    part = REGISTRY.find("benchmarks", benchmark)
    defaults = {each.name: each.default or "" for each in settings_of(part)}
    return defaults.get(setting, "")


def _several(cells: Sequence[str], most: int = 4) -> str:
    more = f" and {len(cells) - most} more" if len(cells) > most else ""
    return ", ".join(map(code, cells[:most])) + more


def _source(part: type[Part]) -> str:
    module = sys.modules[part.__module__]
    file = f"{part.kind}/{part.__module__.rpartition('.')[2]}.py"
    return folded(f"The whole file, `{file}`", inspect.getsource(module))
