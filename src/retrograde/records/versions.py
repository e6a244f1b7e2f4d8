"""Replicates of one cell that different code trained, told apart: no row of a table mixes two versions of a file."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import NamedTuple

from retrograde.parts.provenance import SHORT, Files, short
from retrograde.parts.spec import digest
from retrograde.records.cell import Cell
from retrograde.records.record import Record

FEW = 2
"""Files that the name of a version lists."""


class _Seen(NamedTuple):
    """The version of a part as one record has it; without files, all that is known is `source`, which may be empty."""

    files: tuple[tuple[str, str], ...]
    source: str


def told_apart(records: Sequence[Record]) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    """The records, with versions in their cells where there are several, and a note that names these.

    Versions of a benchmark or a model make several benchmarks of one, since nothing can be compared across them. Versions of
    a strategy make several strategies of one. Records before schema 6 do not know their files: they count as of the version
    that they fit, if there is exactly one, and among themselves are told apart within a cell alone.
    """
    knowing = {record.cell.strategy.name for record in records if record.sources}
    names = [record.cell.strategy.name for record in records]
    streams: dict[Cell, str] = {}  # a digest for each cell, not for each record
    for record in records:
        if record.cell not in streams:
            streams[record.cell] = record.cell.stream
    benchmarks = _grouped([streams[record.cell] for record in records])
    strategies = _grouped(
        [n if n in knowing else r.cell.path for n, r in zip(names, records, strict=True)]
    )
    of_benchmarks, said, taken = _versions(records, benchmarks, ("benchmark", "model"))
    of_strategies, also, _ = _versions(records, strategies, ("strategy",))
    if not (said or also):
        return tuple(records), tuple(taken)
    cells: dict[tuple[Cell, str, str], Cell] = {}
    told = []
    for number, record in enumerate(records):
        key = record.cell, of_benchmarks.get(number, ""), of_strategies.get(number, "")
        if key not in cells:
            cells[key] = _versioned(*key)
        told.append(replace(record, cell=cells[key]))
    return tuple(told), (_NOTE + " ".join([*said, *also]), *taken)


_NOTE = "Replicates of several versions of a file were found. Each version has rows of its own, and no row mixes two. "


def _versioned(cell: Cell, benchmark: str, strategy: str) -> Cell:
    return replace(
        cell,
        benchmark=replace(cell.benchmark, version=benchmark),
        strategy=replace(cell.strategy, version=strategy),
    )


def _grouped(scopes: Sequence[Hashable]) -> list[list[int]]:
    """The places of the records within which versions matter."""
    found = defaultdict(list)
    for number, scope in enumerate(scopes):
        found[scope].append(number)
    return list(found.values())


def _versions(
    records: Sequence[Record], groups: Sequence[list[int]], roles: tuple[str, ...]
) -> tuple[dict[int, str], list[str], list[str]]:
    """The version of each record that is in a group with several; a sentence on each such group, and on what is assumed."""
    found: dict[int, str] = {}
    said = []
    taken = []
    for group in groups:
        seen = {number: _seen(records[number], roles) for number in group}
        joined = _joined(set(seen.values()))
        names = _names({joined[each] for each in seen.values()})
        if len(names) > 1:
            own = {number: names[joined[each]] for number, each in seen.items()}
            found |= own
            said.append(_sentence(records[group[0]], roles[0], list(own.values())))
        assumed = [
            each for each in seen.values() if not (each.files or each.source) and joined[each].files
        ]
        if assumed:
            taken.append(
                _assumption(records[group[0]], roles[0], len(assumed), names[joined[assumed[0]]])
            )
    return found, sorted(said), sorted(taken)


def _seen(record: Record, roles: tuple[str, ...]) -> _Seen:
    files = tuple(
        (name, value) for role in roles for name, value in record.sources.get(role, {}).items()
    )
    return _Seen(files, record.source if roles == ("strategy",) else "")


def _joined(seen: set[_Seen]) -> dict[_Seen, _Seen]:
    """The version that stands for each: where files are known, these decide, else the one that fits if there is just one."""
    known = {each.files: _Seen(each.files, "") for each in seen if each.files}
    found = {}
    for each in seen:
        fitting = {
            known[other.files]
            for other in seen
            if other.files and each.source in ("", other.source)
        }
        if not known and not each.source:
            fitting = {other for other in seen if other.source}
        alone = fitting.pop() if len(fitting) == 1 else each
        found[each] = known[each.files] if each.files else alone
    return found


def _names(versions: set[_Seen]) -> dict[_Seen, str]:
    """The versions by the files in which they differ."""
    contents = {each: dict(each.files) for each in versions if each.files}
    everything = {name for files in contents.values() for name in files}
    differing = sorted(
        name for name in everything if len({files.get(name) for files in contents.values()}) > 1
    )
    shared = [name for name in differing if all(name in files for files in contents.values())]
    names = {each: _name(files, shared) for each, files in contents.items()}
    if len(set(names.values())) < len(names):
        names = {each: _name(files, differing) for each, files in contents.items()}
    if len(set(names.values())) < len(names):  # two folders have files of one name
        names = {each: _whole(each) for each in contents}
    return names | {each: _unknown(each) for each in versions if not each.files}


def _name(files: Files, differing: Sequence[str]) -> str:
    own = next(iter(files))
    if len(differing) > FEW:
        return f"{own} and others, {digest(files)[:SHORT]}"
    shown = differing or [own]
    return ", ".join(
        f"{name} {short(files[name])}" if name in files else f"no {name}" for name in shown
    )


def _whole(version: _Seen) -> str:
    return f"{version.files[0][0]} and others, {digest(version.files)[:SHORT]}"


def _unknown(version: _Seen) -> str:
    return f"source {version.source[:SHORT]}" if version.source else "files not recorded"


def _assumption(record: Record, role: str, count: int, version: str) -> str:
    """A remark on records that do not name their files, and are taken to be of the one version that is known."""
    return f"{count} replicates of the {role} {_called(record, role)} do not name its files; they are taken to be of {version}."


def _called(record: Record, role: str) -> str:
    return record.cell.benchmark.text if role == "benchmark" else record.cell.strategy.name


def _sentence(record: Record, role: str, versions: Sequence[str]) -> str:
    """The versions of a part, and how many replicates each has."""
    counts = sorted(Counter(versions).items())
    each = ", ".join(
        f"{version} ({count} replicate{'s' * (count > 1)})" for version, count in counts
    )
    return f"Versions of the {role} {_called(record, role)}: {each}."
