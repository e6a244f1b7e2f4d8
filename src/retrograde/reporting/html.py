"""The report as one HTML file without outside requests: tables, figures, cells and definitions."""

import base64
import inspect
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from retrograde.metrics.frames import Label, by_strategy, cell_labels, end_frame, ordered
from retrograde.metrics.intervals import BySeed, over_seeds
from retrograde.parts.provenance import Files, Sources, changes
from retrograde.parts.registry import Registry, missing, source_of
from retrograde.parts.spec import as_text
from retrograde.records.cell import CellSpec
from retrograde.records.record import Record
from retrograde.reporting.cells import format_percent, row_title
from retrograde.reporting.table import Entry, Section, Table, outcomes

if TYPE_CHECKING:
    import pandas as pd

    from retrograde.reporting.report import Report

OWN_COLUMNS = ("jobs", "threads", "commit")
"""Keys of the environment that may differ between records of one machine and its versions."""


class Picture(NamedTuple):
    """A figure as a file, with a summary of its content."""

    summary: str
    svg: bytes


class Group(NamedTuple):
    """The records of one benchmark or one strategy, with its title."""

    id: str
    name: str
    records: Sequence[Record]


def page(
    made: "Report",
    pictures: Sequence[Picture],
    registry: Registry,
    faults: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The whole page; the same records, tables, figures and strategies' files give the same text.

    Args:
        made: the tables and records of the report.
        pictures: its figures.
        registry: the registry that knows the strategies.
        faults: by name, the error of each result part that is left out.
    """
    records = ordered(made.records)
    tables = list(made.tables.values())
    label = cell_labels(records)
    benchmarks = _benchmarks(records, label)
    strategies = _strategies(records, label)
    overall, besides = _about_everything(tables, [group.name for group in benchmarks])
    shown = {
        "title": made.title,
        "counted": _counted(records),
        "shared": next((table.caption for table in tables), ""),
        "damaged": made.damaged,
        "faults": faults,
        "tables": tables,
        "overall": overall,
        "besides": besides,
        "cells": _cells(records, label),
        "lost": _lost(records, label),
        "benchmarks": [_benchmark(group, tables) for group in benchmarks],
        "figures": [_figure(picture) for picture in pictures],
        "strategies": [_strategy(group, label, registry) for group in strategies],
        "environments": _environments(records),
    }
    return _rendered(shown)


def _rendered(shown: Mapping[str, object]) -> str:
    """The template filled in."""
    jinja = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        # records and parts may come from others, so that no text of theirs is taken for HTML
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    jinja.filters["breakable"] = _breakable
    template = jinja.get_template("page.html")
    return template.render(shown, contents=_contents(shown))


def _about_everything(
    tables: Sequence[Table],
    benchmarks: Sequence[str],
) -> tuple[list[Table], list[Table]]:
    """The tables about no single benchmark, and such sections of the other tables."""
    overall = []
    besides = []
    for table in tables:
        reduced = _overall(table, benchmarks)
        if table.sections == reduced.sections:
            overall.append(table)
        elif reduced.sections:
            besides.append(reduced)
    return overall, besides


def _figure(picture: Picture) -> dict[str, str]:
    # a data URL makes no request
    data = base64.b64encode(picture.svg)
    return {"summary": picture.summary, "data": data.decode()}


def _breakable(text: str) -> Markup:
    """The text escaped, with places after commas where a line may end."""
    return Markup("<wbr>").join(re.split("(?<=,)", text))


def _contents(shown: Mapping[str, object]) -> list[tuple[str, str]]:
    """The places that the page has, and their titles."""
    places = [
        ("overview", "overall", "Overview"),
        ("cells", "cells", "Cells"),
        ("lost", "lost", "Failed"),
        ("benchmarks", "benchmarks", "Benchmarks"),
        ("figures", "figures", "Figures"),
        ("strategies", "strategies", "Strategies"),
        ("methods", "tables", "Methods"),
        ("environment", "environments", "Environment"),
    ]
    # a place without content is left out of the page
    return [(place, name) for place, needs, name in places if shown[needs]]


def _counted(records: Sequence[Record]) -> str:
    """The numbers of replicates, cells, strategies and benchmarks, in words."""
    cells = {record.cell for record in records}
    strategies = {cell.strategy.name for cell in cells}
    streams = {cell.stream for cell in cells}
    statuses = Counter(record.status for record in records)
    counts = ", ".join(f"{n} {status}" for status, n in statuses.items())
    return (
        f"{len(records)} replicates of {len(cells)} cells: "
        f"{len(strategies)} strategies on {len(streams)} benchmarks; {counts}"
    )


def _benchmarks(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> list[Group]:
    """The records by the title of the benchmark, in order."""
    groups = defaultdict(list)
    for record in records:
        groups[label[record.cell].benchmark].append(record)
    return [Group(f"benchmark-{i}", name, groups[name]) for i, name in enumerate(sorted(groups), 1)]


def _strategies(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> list[Group]:
    """The records by strategy, in order of titles; a suite may give one several names."""
    groups = defaultdict(list)
    for record in records:
        groups[record.cell.strategy.name].append(record)
    titles = {name: _title(name, group, label) for name, group in groups.items()}
    ordered_names = sorted(groups, key=titles.__getitem__)
    return [
        Group(f"strategy-{i}", titles[name], groups[name])
        for i, name in enumerate(ordered_names, 1)
    ]


def _title(name: str, records: Sequence[Record], label: Mapping[CellSpec, Label]) -> str:
    """The titles of a strategy, with its name if it has others."""
    titles = sorted({label[record.cell].strategy for record in records})
    whole = ", ".join(titles)
    return whole if whole.lower() == name else f"{whole} ({name})"


def _of(section: Section, benchmark: str) -> bool:
    """True if a section is about one benchmark."""
    return section.heading == benchmark or section.heading.startswith(f"{benchmark} — ")


def _overall(table: Table, benchmarks: Sequence[str]) -> Table:
    """A table with those of its sections that are about no single benchmark."""
    sections = [
        section for section in table.sections if not any(_of(section, name) for name in benchmarks)
    ]
    return table._replace(sections=tuple(sections))


def _benchmark(group: Group, tables: Sequence[Table]) -> dict[str, object]:
    """The settings of a benchmark, and the sections of all tables about it."""
    cell = group.records[0].cell
    settings = {name: as_text(value) for name, value in cell.benchmark.settings.items()}
    if cell.data:
        settings["digest of the data"] = cell.data
    sections = [
        (table, section)
        for table in tables
        for section in table.sections
        if _of(section, group.name)
    ]
    return {"id": group.id, "name": group.name, "settings": settings, "sections": sections}


def _strategy(
    group: Group,
    label: Mapping[CellSpec, Label],
    registry: Registry,
) -> dict[str, object]:
    """The description and source of a strategy, and its settings in every cell.

    A strategy that is not installed here has neither description nor source.
    """
    cells = list(dict.fromkeys(record.cell for record in group.records))
    # settings may differ between versions of a strategy
    names = list(dict.fromkeys(name for cell in cells for name in cell.strategy.settings))
    rows = [(label[cell].benchmark, *(_setting(cell, name) for name in names)) for cell in cells]
    doc, declares, file = _described(cells[0], registry)
    return {
        "id": group.id,
        "name": group.name,
        "doc": doc,
        "outdated": _outdated(group, registry, file),
        "declares": declares,
        "cells": _section(("benchmark", *names), sorted(set(rows))),
        "file": file.name if file else "",
        "source": file.read_text(encoding="utf-8") if file else "",
    }


def _outdated(group: Group, registry: Registry, file: Path | None) -> int:
    """The number of records whose strategy had other code than its file has now."""
    now = _of_strategy(registry.digests(file))
    then = [_of_strategy(record.sources.get("strategy", {})) for record in group.records]
    return sum(bool(changes(before, now)) for before in then)


def _of_strategy(files: Files) -> Sources:
    """The files of a strategy as the only role."""
    return {"strategy": files} if files else {}


def _described(
    cell: CellSpec,
    registry: Registry,
) -> tuple[str, dict[str, str], Path | None]:
    """The description of a strategy, its declarations and its file.

    Of a strategy that is not installed, the description says how to get it.
    """
    name = cell.strategy.name
    if name not in registry.names("strategies"):
        return f"Not to be had here: {missing('strategy', name)}", {}, None
    try:
        part = registry.get("strategies", name, cell.strategy.settings)
        return inspect.getdoc(part) or "", part.declares(), source_of(type(part))
    # the code is anybody's, and by now may be another than that of the record
    except Exception as error:
        return f"Not to be had here: {error}", {}, None


def _setting(cell: CellSpec, name: str) -> str:
    return as_text(cell.strategy.settings[name]) if name in cell.strategy.settings else "–"


def _section(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Section:
    return Section("", columns, tuple(tuple(map(Entry, row)) for row in rows))


def _cells(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> Section:
    """Every cell with its score, its training time and the outcomes of its replicates."""
    scores = _scores(records, label)
    cells = _by_cell(records)
    rows = []
    for cell in sorted(cells, key=label.__getitem__):
        replicates = cells[cell]
        benchmark, strategy, settings = label[cell]
        title = row_title((replicates[0].upper_bound, strategy, settings))
        metric, score = scores.get(label[cell], ("", "–"))
        counts = outcomes([record.status for record in replicates])
        rows.append((title, benchmark, metric, score, _seconds(replicates), counts))
    return _section(("strategy", "benchmark", "metric", "score", "train s", "n"), rows)


def _by_cell(records: Sequence[Record]) -> dict[CellSpec, list[Record]]:
    cells = defaultdict(list)
    for record in records:
        cells[record.cell].append(record)
    return dict(cells)


def _seconds(replicates: Sequence[Record]) -> str:
    """The mean training time of the replicates that are done."""
    seconds = [record.clocks["train"] for record in replicates if record.status == "done"]
    if not seconds:
        return "–"
    mean = sum(seconds) / len(seconds)
    return f"{mean:.3g}"


def _scores(
    records: Sequence[Record],
    label: Mapping[CellSpec, Label],
) -> dict[Label, tuple[str, str]]:
    """The metric and the score of each cell.

    The metric is ACC of a stream, and accuracy or loss after the last inner step of episodes.
    """
    ends = end_frame(records, label)
    scores = {}
    for metric, of_metric in ends[ends.metric != "forgetting"].groupby("metric"):
        for key, values in _values(of_metric):
            if metric == "loss":
                scores[key] = ("loss", _loss(values))
            else:
                scores[key] = (f"{metric} %", format_percent(values))
    return scores


def _loss(values: BySeed) -> str:
    mean, low, _, n = over_seeds(values)
    return f"{mean:.4f} ± {mean - low:.4f}" if n > 1 else f"{mean:.4f}"


def _values(frame: "pd.DataFrame") -> Iterator[tuple[Label, BySeed]]:
    """The values of one metric, by cell and seed."""
    for benchmark, rows in frame.groupby("benchmark"):
        for (_, strategy, settings), values in by_strategy(rows).items():
            yield Label(str(benchmark), strategy, settings), values


def _lost(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> list[dict[str, object]]:
    """Every cell with a replicate that failed or diverged: the seeds by status and reason."""
    lost = _by_cell([record for record in records if record.status != "done"])
    entries: list[dict[str, object]] = []
    for cell in sorted(lost, key=label.__getitem__):
        benchmark, strategy, settings = label[cell]
        name = " · ".join(filter(None, (strategy, settings, benchmark)))
        entries.append({"name": name, "losses": _losses(lost[cell])})
    return entries


def _losses(records: Sequence[Record]) -> list[tuple[str, str]]:
    """The status and seeds of replicates that are lost, with the reason that they share."""
    seeds = defaultdict(list)
    for record in records:
        seeds[record.status, record.reason].append(str(record.seed))
    return [
        (f"{status}, seed {', '.join(names)}", reason) for (status, reason), names in seeds.items()
    ]


def _environments(records: Sequence[Record]) -> Section:
    """The machines and versions that records came from."""
    groups: dict[tuple[tuple[str, str], ...], list[Record]] = defaultdict(list)
    for record in records:
        groups[_environment(record)].append(record)
    # keys differ between versions of the suite, so a row may lack some
    names = list(dict.fromkeys(name for environment in groups for name, _ in environment))
    rows = []
    for environment, group in sorted(groups.items()):
        known = dict(environment)
        texts = [known.get(name, "–") for name in names]
        differing = [_all(group, name) for name in OWN_COLUMNS]
        rows.append((*texts, *differing, str(len(group))))
    return _section((*names, *OWN_COLUMNS, "replicates"), rows)


def _environment(record: Record) -> tuple[tuple[str, str], ...]:
    """The environment of a record as text, without the keys `OWN_COLUMNS`."""
    items = record.environment.items()
    return tuple((name, as_text(value)) for name, value in items if name not in OWN_COLUMNS)


def _all(records: Sequence[Record], name: str) -> str:
    """Every value of a key of the environment among records."""
    return ", ".join(sorted({as_text(record.environment.get(name, "–")) for record in records}))
