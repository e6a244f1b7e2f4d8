"""Names in a report: titles of parts, names that a suite gives, and settings left to the notes."""

import importlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from retrograde._toml import tomllib
from retrograde.errors import UserError, nearest, shown
from retrograde.parts.spec import as_pairs, as_text
from retrograde.records.cell import CellSpec, PartSpec
from retrograde.records.pattern import Pattern, best_fit
from retrograde.records.presentation import Presentation
from retrograde.records.record import Record

_HOLE = re.compile(r"\{(\w+)\}")
"""A setting in the title of a benchmark."""

MEASURING = frozenset(
    {
        "probe_examples",
        "probe_every",
        "plasticity_examples",
        "eval_every",
        "eval_examples",
        "log_every",
    }
)
"""Settings of a benchmark that say what is measured, and change nothing that is learned."""


class Titles(BaseModel):
    """Titles of parts by name; those of benchmarks may hold settings in braces.

    Attributes:
        strategies: titles of strategies.
        benchmarks: titles of benchmarks.
        values: words for the values of a setting.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    strategies: dict[str, str]
    benchmarks: dict[str, str]
    values: dict[str, dict[str, str]]


@cache
def shipped_titles() -> Titles:
    """The titles of the parts that ship (`results/titles.toml`)."""
    folders = importlib.import_module("retrograde.results").__path__
    (path,) = [path for folder in folders for path in Path(folder).glob("titles.toml")]
    return Titles.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))


def named(
    records: Sequence[Record],
    words: Presentation,
) -> "tuple[tuple[Record, ...], Unsaid]":
    """Give every cell of some records the title and the settings that a report shows.

    A title is the name that `words` gives, or the title of the part, or the name of the part.
    Settings follow a strategy where a benchmark has its title twice, and a benchmark where another
    one has its title: those in which they differ. All others are left to the notes.

    Returns:
        The records, and the settings that no row and no heading shows.
    """
    cells = list(dict.fromkeys(record.cell for record in records))
    strategies = _shown_strategies(cells, words)
    benchmarks = _shown_benchmarks(cells, words)
    shown = {
        cell: replace(
            cell,
            benchmark=replace(cell.benchmark, shown=benchmarks[cell]),
            strategy=replace(cell.strategy, shown=strategies[cell]),
        )
        for cell in cells
    }
    given = tuple(replace(record, cell=shown[record.cell]) for record in records)
    return given, _unsaid(list(shown.values()), words)


def with_names(
    words: Presentation, names: Mapping[str, str], records: Iterable[Record]
) -> Presentation:
    """The words of a report with further names, by pattern.

    Raises:
        UserError: a pattern fits no record, or two parts that stand in one table have one name.
    """
    cells = list(dict.fromkeys(record.cell for record in records))
    # the suite's names may be for cells that were not run
    _check_known(names, cells)
    found = replace(words, names={**words.names, **names})
    if names:
        _check_distinct(found, cells)
    return found


def _check_distinct(words: Presentation, cells: Sequence[CellSpec]) -> None:
    """Raise `UserError` if a name is that of two strategies of one stream, or two benchmarks."""
    benchmarks: defaultdict[str, set[str]] = defaultdict(set)
    strategies: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for cell in cells:
        title, pattern = _benchmark_name(cell.benchmark, words)
        benchmarks[title].add(pattern)
        title, pattern = _strategy_name(cell.strategy, words)
        strategies[title, cell.stream].add(pattern)
    found = [("benchmark", title, several) for title, several in benchmarks.items()]
    found += [("strategy", title, several) for (title, _), several in strategies.items()]
    for kind, title, several in found:
        # without a name given, settings tell parts of one title apart
        if len(several) > 1 and several & words.names.keys():
            both = " and ".join(map(shown, sorted(several)))
            raise UserError(
                f"Each {kind} has a name of its own; {shown(title)} is that of {both}. Change one."
            )


def _check_known(names: Mapping[str, str], cells: Iterable[CellSpec]) -> None:
    """Raise `UserError` if a pattern fits no cell."""
    parts = [part for cell in cells for part in (cell.benchmark, cell.strategy)]
    for text in names:
        pattern = Pattern.of(text)
        if not any(pattern.fits(part.name, part.settings) for part in parts):
            known = {text for part in parts for text in (part.name, part.spec)}
            raise UserError(
                f"A name is given to a benchmark or a strategy of the records; {text!r} is none. "
                f"{nearest(text, known)}"
            )


def _shown_strategies(cells: Sequence[CellSpec], words: Presentation) -> dict[CellSpec, Any]:
    by_title = _grouped(cells, lambda cell: _strategy_name(cell.strategy, words)[0])
    shown = {}
    for text, group in by_title.items():
        parts = [cell.strategy for cell in group]
        alike = len({part.name for part in parts}) > 1
        # a strategy that is tuned for each benchmark is one strategy
        apart = _differences(parts) if _meet(group) else [""] * len(group)
        several = len({part.version for part in parts}) > 1
        for cell, part, settings in zip(group, parts, apart, strict=True):
            # strategies of several authors may give themselves one title
            title = f"{text} ({part.name})" if alike and not _name(part, words) else text
            shown[cell] = (title, part.titled(settings, versioned=several))
    return shown


def _strategy_name(part: PartSpec, words: Presentation) -> tuple[str, str]:
    """The name or the title of a strategy, and the pattern or the name of the part that has it."""
    pattern = _name(part, words)
    if pattern:
        return words.names[pattern], pattern
    titles = shipped_titles().strategies | {**words.titles}
    return titles.get(part.name, part.name), part.name


def _benchmark_name(part: PartSpec, words: Presentation) -> tuple[str, str]:
    """The same of a benchmark."""
    pattern = _name(part, words)
    if pattern:
        return words.names[pattern], pattern
    return _benchmark_title(part, words.titles), part.name


def _name(part: PartSpec, words: Presentation) -> str:
    """The pattern that names a part; empty if none does."""
    return best_fit(words.names, part.name, part.settings) or ""


def _meet(cells: Sequence[CellSpec]) -> bool:
    """True if a stream has two of the cells, with different strategies."""
    found = {(cell.stream, _identity(cell.strategy)) for cell in cells}
    return len({stream for stream, _ in found}) < len(found)


def _identity(part: PartSpec) -> str:
    return f"{part.name} {part.identity}"


def _shown_benchmarks(cells: Sequence[CellSpec], words: Presentation) -> dict[CellSpec, Any]:
    by_title = _grouped(cells, lambda cell: _benchmark_name(cell.benchmark, words)[0])
    shown = {}
    for text, group in by_title.items():
        parts = [cell.benchmark for cell in group]
        several = len({part.version for part in parts}) > 1
        # commas do not separate the values of a list alone
        apart = [settings.replace(",", ", ") for settings in _told_apart(parts)]
        for cell, part, settings in zip(group, parts, apart, strict=True):
            whole = ", ".join(filter(None, [text, settings]))
            shown[cell] = (part.titled(whole, versioned=several), "")
    return shown


def _benchmark_title(part: PartSpec, own: Mapping[str, str]) -> str:
    """The title of a benchmark, with its settings in place of the braces."""
    titles = shipped_titles().benchmarks | {**own}
    template = titles.get(part.name, "")
    # records of other versions may lack a setting
    if not template or not all(hole in part.settings for hole in _HOLE.findall(template)):
        return part.name
    text = _HOLE.sub(lambda hole: _value(hole[1], part.settings[hole[1]]), template)
    return text[:1].upper() + text[1:]


def _value(setting: str, value: object) -> str:
    """The words for a value; a file is called by its stem."""
    text = as_text(value)
    words = shipped_titles().values.get(setting, {})
    parts = [words.get(each, each) for each in text.split("+")]
    named = " + ".join(parts)
    return PurePosixPath(named).stem if "/" in named or named.endswith(".npz") else named


def _grouped(
    cells: Sequence[CellSpec], key: Callable[[CellSpec], str]
) -> dict[str, list[CellSpec]]:
    groups: defaultdict[str, list[CellSpec]] = defaultdict(list)
    for cell in cells:
        groups[key(cell)].append(cell)
    return dict(groups)


def _differences(parts: Sequence[PartSpec]) -> list[str]:
    """The settings of each part that not all of them have alike, among the overrides."""
    differing = _differing([part.overrides for part in parts])
    return [
        as_pairs({key: value for key, value in part.overrides.items() if key in differing})
        for part in parts
    ]


def _told_apart(benchmarks: Sequence[PartSpec]) -> list[str]:
    """The settings that tell benchmarks apart: those of measurement only where others do not."""
    identities = {_identity(part) for part in benchmarks}
    trained = [
        replace(
            part,
            overrides={key: part.overrides[key] for key in part.overrides if key not in MEASURING},
        )
        for part in benchmarks
    ]
    few = len({_identity(part) for part in trained}) < len(identities)
    return _differences(benchmarks if few else trained)


def _differing(settings: Sequence[Mapping[str, object]]) -> set[str]:
    shared = _shared(settings)
    return {key for each in settings for key in each} - shared.keys()


def _shared(settings: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """The settings that all have, with the same value."""
    first, *others = settings
    return {
        key: value
        for key, value in first.items()
        if all(key in other and other[key] == value for other in others)
    }


class Unsaid(NamedTuple):
    """Settings that no heading and no row of a report says.

    Attributes:
        shared: those that all strategies or all benchmarks share.
        others: those of single strategies and benchmarks.
    """

    shared: str = ""
    others: str = ""


def _unsaid(cells: Sequence[CellSpec], words: Presentation) -> Unsaid:
    strategies = {_identity(cell.strategy): cell.strategy for cell in cells}
    benchmarks = {_identity(cell.benchmark): cell.benchmark for cell in cells}
    shared: list[str] = []
    others: list[str] = []
    for kind, parts in (("strategies", strategies), ("benchmarks", benchmarks)):
        overrides = [_left(part, words) for part in parts.values()]
        common = _shared(overrides) if len(parts) > 1 else {}
        if common:
            shared.append(f"Settings of all {kind}: {_in_prose(common)}.")
        rest = [
            {key: value for key, value in each.items() if key not in common} for each in overrides
        ]
        single = _said_of(list(parts.values()), rest)
        if single:
            others.append(f"Other settings of {kind}: {'; '.join(single)}.")
    return Unsaid(" ".join(shared), " ".join(others))


def _in_prose(settings: Mapping[str, object]) -> str:
    """Settings as text in which a line may end after each comma."""
    return as_pairs(settings).replace(",", ", ")


def _left(part: PartSpec, words: Presentation) -> dict[str, object]:
    """The overrides of a part that its title does not say."""
    said: set[str] = set()
    if not _name(part, words):
        template = (shipped_titles().benchmarks | {**words.titles}).get(part.name, "")
        said = set(_HOLE.findall(template))
    return {key: value for key, value in part.overrides.items() if key not in said}


def _said_of(parts: Sequence[PartSpec], left: Sequence[Mapping[str, object]]) -> list[str]:
    """The settings of each title, which may have several."""
    by_title: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for part, settings in zip(parts, left, strict=True):
        title, beside = part.shown or (part.name, "")
        # a row that shows all its settings needs no note
        if settings and as_pairs(settings) != beside:
            by_title[f"{title} {beside}".strip()][_in_prose(settings)] = None
    return [f"{title}: {' or '.join(texts)}" for title, texts in sorted(by_title.items())]
