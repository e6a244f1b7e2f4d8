"""Versions of code among records: no row of a table mixes two versions of a file."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from retrograde.parts.provenance import DIGEST_DIGITS, Files, short
from retrograde.parts.spec import digest
from retrograde.records.cell import CellSpec
from retrograde.records.record import Record

MAX_LISTED = 2
"""Maximum number of files in the name of a version."""


_FileItems = tuple[tuple[str, str], ...]
"""The items of `Files`, which can be hashed."""


def told_apart(records: Sequence[Record]) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    """Separate records by version: each version of a file becomes a part of its own.

    Versions of a benchmark or a model make several benchmarks of one, since nothing can be compared
    across them. Versions of a strategy make several strategies of one. Records that do not name
    their files count as of the only version, if there is exactly one.

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
    cells: dict[tuple[CellSpec, str, str], CellSpec] = {}
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


def _versioned(cell: CellSpec, benchmark: str, strategy: str) -> CellSpec:
    return replace(
        cell,
        benchmark=replace(cell.benchmark, files=benchmark),
        strategy=replace(cell.strategy, files=strategy),
    )


def _benchmark_groups(records: Sequence[Record]) -> list[list[int]]:
    """The places of the records of each stream."""
    # A digest for each cell, not for each record.
    streams: dict[CellSpec, str] = {}
    for record in records:
        if record.cell not in streams:
            streams[record.cell] = record.cell.stream
    return _grouped([streams[record.cell] for record in records])


def _strategy_groups(records: Sequence[Record]) -> list[list[int]]:
    """The places of the records of each strategy."""
    return _grouped([record.cell.strategy.name for record in records])


def _grouped(scopes: Sequence[str]) -> list[list[int]]:
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
        files = {number: _files(records[number], roles) for number in group}
        names = _names(set(files.values()))
        known = [name for version, name in names.items() if version]
        without = [number for number, version in files.items() if not version]
        if without and len(known) == 1:
            names[()] = known[0]
            assumptions.append(_assumption(first, roles[0], len(without), known[0]))
        if len(set(names.values())) > 1:
            in_group = {number: names[version] for number, version in files.items()}
            versions |= in_group
            said.append(_sentence(first, roles[0], list(in_group.values())))
    return versions, sorted(said), sorted(assumptions)


def _files(record: Record, roles: tuple[str, ...]) -> _FileItems:
    files: list[tuple[str, str]] = []
    for role in roles:
        files += record.sources.get(role, {}).items()
    return tuple(files)


def _names(versions: set[_FileItems]) -> dict[_FileItems, str]:
    """A name for each version, made of the files in which versions differ."""
    contents = {version: dict(version) for version in versions if version}
    differing = _differing(list(contents.values()))
    shared = [name for name in differing if all(name in files for files in contents.values())]
    names = {version: _name(files, shared) for version, files in contents.items()}
    # Files that only some versions have are named where the others are not enough.
    if len(set(names.values())) < len(names):
        names = {version: _name(files, differing) for version, files in contents.items()}
    # Two folders may have files of one name.
    if len(set(names.values())) < len(names):
        names = {version: _whole(version) for version in contents}
    return names | {version: "files not recorded" for version in versions if not version}


def _differing(contents: Sequence[Files]) -> list[str]:
    """The names of the files with several contents, sorted; a missing file counts as one."""
    everything = {name for files in contents for name in files}
    digests = {name: {files.get(name) for files in contents} for name in everything}
    return sorted(name for name, values in digests.items() if len(values) > 1)


def _name(files: Files, differing: Sequence[str]) -> str:
    main = next(iter(files))
    if len(differing) > MAX_LISTED:
        return f"{main} and others, {digest(files)[:DIGEST_DIGITS]}"
    shown = differing or [main]
    return ", ".join(
        f"{name} {short(files[name])}" if name in files else f"no {name}" for name in shown
    )


def _whole(version: _FileItems) -> str:
    main, _ = version[0]
    return f"{main} and others, {digest(version)[:DIGEST_DIGITS]}"


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
