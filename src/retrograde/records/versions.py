"""Versions of code among records: no row of a table mixes two versions of a file."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import NamedTuple

from retrograde.parts.provenance import SHORT, Files, short
from retrograde.parts.spec import digest
from retrograde.records.cell import Cell
from retrograde.records.record import Record

FEW = 2
"""Maximum number of files that the name of a version lists."""


_FileItems = tuple[tuple[str, str], ...]
"""The items of `Files`, which can be hashed."""


class _Seen(NamedTuple):
    """The version of a part as one record states it.

    Without files, only `source` is known, and it may be empty.
    """

    files: _FileItems
    source: str


def told_apart(records: Sequence[Record]) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    """Separate records by version: each version of a file becomes a part of its own.

    Versions of a benchmark or a model make several benchmarks of one, since nothing can be compared
    across them. Versions of a strategy make several strategies of one. Records before schema 6 do
    not know their files. They count as of the version that they fit, if there is exactly one, and
    otherwise are distinguished from one another only within a cell.

    Returns:
        The records, with versions in their cells where there are several, and notes: one that names
        the versions, and those on what was assumed.
    """
    of_benchmarks, said, assumed = _versions(
        records, _benchmark_groups(records), ("benchmark", "model")
    )
    of_strategies, also, _ = _versions(records, _strategy_groups(records), ("strategy",))
    if not (said or also):
        return tuple(records), tuple(assumed)
    # One object for each cell, since a cell computes its path only once.
    cells: dict[tuple[Cell, str, str], Cell] = {}
    separated = []
    for number, record in enumerate(records):
        of_benchmark = of_benchmarks.get(number, "")
        of_strategy = of_strategies.get(number, "")
        key = (record.cell, of_benchmark, of_strategy)
        if key not in cells:
            cells[key] = _versioned(*key)
        separated.append(replace(record, cell=cells[key]))
    note = _NOTE + " ".join([*said, *also])
    return tuple(separated), (note, *assumed)


_NOTE = (
    "Replicates of several versions of a file were found. "
    "Each version has rows of its own, and no row mixes two. "
)


def _versioned(cell: Cell, benchmark: str, strategy: str) -> Cell:
    return replace(
        cell,
        benchmark=replace(cell.benchmark, version=benchmark),
        strategy=replace(cell.strategy, version=strategy),
    )


def _benchmark_groups(records: Sequence[Record]) -> list[list[int]]:
    """The places of the records of each stream."""
    # A digest for each cell, not for each record.
    streams: dict[Cell, str] = {}
    for record in records:
        if record.cell not in streams:
            streams[record.cell] = record.cell.stream
    return _grouped([streams[record.cell] for record in records])


def _strategy_groups(records: Sequence[Record]) -> list[list[int]]:
    """The places of the records of each strategy.

    Where no record of a strategy has files, each of its cells is a group.
    """
    with_files = {record.cell.strategy.name for record in records if record.sources}
    scopes: list[Hashable] = []
    for record in records:
        name = record.cell.strategy.name
        scopes.append(name if name in with_files else record.cell.path)
    return _grouped(scopes)


def _grouped(scopes: Sequence[Hashable]) -> list[list[int]]:
    """The places of equal scopes."""
    groups = defaultdict(list)
    for number, scope in enumerate(scopes):
        groups[scope].append(number)
    return list(groups.values())


def _versions(
    records: Sequence[Record],
    groups: Sequence[list[int]],
    roles: tuple[str, ...],
) -> tuple[dict[int, str], list[str], list[str]]:
    """Versions of the parts of some roles, within each group of records.

    Returns:
        The version of each record in a group with several, a sentence on each such group, and a
        sentence on each group in which files are assumed.
    """
    versions: dict[int, str] = {}
    said = []
    assumptions = []
    for group in groups:
        first = records[group[0]]
        seen = {number: _seen(records[number], roles) for number in group}
        joined = _joined(set(seen.values()))
        names = _names({joined[version] for version in seen.values()})
        if len(names) > 1:
            in_group = {number: names[joined[version]] for number, version in seen.items()}
            versions |= in_group
            sentence = _sentence(first, roles[0], list(in_group.values()))
            said.append(sentence)
        unknown = [version for version in seen.values() if not (version.files or version.source)]
        assumed = [version for version in unknown if joined[version].files]
        if assumed:
            name = names[joined[assumed[0]]]
            assumptions.append(_assumption(first, roles[0], len(assumed), name))
    return versions, sorted(said), sorted(assumptions)


def _seen(record: Record, roles: tuple[str, ...]) -> _Seen:
    files: list[tuple[str, str]] = []
    for role in roles:
        files += record.sources.get(role, {}).items()
    # `source` is a digest of the strategy only.
    source = record.source if roles == ("strategy",) else ""
    return _Seen(tuple(files), source)


def _joined(seen: set[_Seen]) -> dict[_Seen, _Seen]:
    """The version that stands for each one seen.

    Known files identify a version. One without files joins the version that it fits, if there is
    exactly one, and otherwise stands for itself.
    """
    known = {version.files: _Seen(version.files, "") for version in seen if version.files}
    return {
        version: known[version.files] if version.files else _only_fit(version, seen, known)
        for version in seen
    }


def _only_fit(
    version: _Seen,
    seen: set[_Seen],
    known: dict[_FileItems, _Seen],
) -> _Seen:
    """The only version that one without files fits, else the version itself."""
    if known or version.source:
        fitting = {
            known[other.files]
            for other in seen
            if other.files and version.source in ("", other.source)
        }
    else:
        fitting = {other for other in seen if other.source}
    return fitting.pop() if len(fitting) == 1 else version


def _names(versions: set[_Seen]) -> dict[_Seen, str]:
    """A name for each version, made of the files in which versions differ."""
    contents = {version: dict(version.files) for version in versions if version.files}
    differing = _differing(list(contents.values()))
    shared = [name for name in differing if all(name in files for files in contents.values())]
    names = {version: _name(files, shared) for version, files in contents.items()}
    # Files that only some versions have are named where the others are not enough.
    if len(set(names.values())) < len(names):
        names = {version: _name(files, differing) for version, files in contents.items()}
    # Two folders may have files of one name.
    if len(set(names.values())) < len(names):
        names = {version: _whole(version) for version in contents}
    return names | {version: _unknown(version) for version in versions if not version.files}


def _differing(contents: Sequence[Files]) -> list[str]:
    """The names of the files with several contents, sorted; a missing file counts as one."""
    everything = {name for files in contents for name in files}
    digests = {name: {files.get(name) for files in contents} for name in everything}
    return sorted(name for name, values in digests.items() if len(values) > 1)


def _name(files: Files, differing: Sequence[str]) -> str:
    main = next(iter(files))
    if len(differing) > FEW:
        return f"{main} and others, {digest(files)[:SHORT]}"
    shown = differing or [main]
    return ", ".join(
        f"{name} {short(files[name])}" if name in files else f"no {name}" for name in shown
    )


def _whole(version: _Seen) -> str:
    main, _ = version.files[0]
    return f"{main} and others, {digest(version.files)[:SHORT]}"


def _unknown(version: _Seen) -> str:
    return f"source {version.source[:SHORT]}" if version.source else "files not recorded"


def _assumption(
    record: Record,
    role: str,
    count: int,
    version: str,
) -> str:
    """A note on records without files that are assumed to be of the only known version."""
    return (
        f"{count} replicates of the {role} {_called(record, role)} do not name its files; "
        f"they are taken to be of {version}."
    )


def _called(record: Record, role: str) -> str:
    return record.cell.benchmark.spec if role == "benchmark" else record.cell.strategy.name


def _sentence(
    record: Record,
    role: str,
    versions: Sequence[str],
) -> str:
    """A note that lists the versions of a part with their numbers of replicates."""
    counts = sorted(Counter(versions).items())
    listed = [f"{version} ({count} replicate{'s' * (count > 1)})" for version, count in counts]
    return f"Versions of the {role} {_called(record, role)}: {', '.join(listed)}."
