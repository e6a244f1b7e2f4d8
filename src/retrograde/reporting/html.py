"""The report as one HTML file without outside requests: every table, figure, cell and definition of a store."""

import base64
import inspect
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from retrograde.metrics.frames import Label, by_strategy, end_frame, labels, ordered
from retrograde.metrics.intervals import BySeed, over_seeds
from retrograde.parts.provenance import Code, Files, changes
from retrograde.parts.registry import Registry, missing, source_of
from retrograde.parts.spec import as_text
from retrograde.records.cell import Cell
from retrograde.records.record import Record
from retrograde.reporting.cells import percent, row_title
from retrograde.reporting.table import Entry, Section, Table, outcomes

if TYPE_CHECKING:
    import pandas as pd

    from retrograde.reporting.report import Report

UNSAID = ("jobs", "threads", "commit")
"""What may differ between records of one machine and its versions."""


class Picture(NamedTuple):
    """A figure as its file, and what it shows."""

    summary: str
    svg: bytes


class Group(NamedTuple):
    """The records of one benchmark or one strategy."""

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

    `faults` says by name what went wrong in each result part that is left out.
    """
    everything, tables = ordered(made.records), list(made.tables.values())
    label = labels(everything)
    benchmarks = _groups("benchmark", everything, label)
    names = [group.name for group in benchmarks]
    shown = {
        "title": made.title,
        "counted": _counted(everything),
        "damaged": made.damaged,
        "faults": faults,
        "tables": tables,
        "overall": [table for table in tables if table.sections == _overall(table, names).sections],
        "besides": [
            t
            for table in tables
            if table.sections != (t := _overall(table, names)).sections and t.sections
        ],
        "cells": _cells(everything, label),
        "lost": _lost(everything, label),
        "benchmarks": [_benchmark(group, tables) for group in benchmarks],
        "figures": [
            {"summary": p.summary, "data": base64.b64encode(p.svg).decode()} for p in pictures
        ],
        "strategies": [
            _strategy(group, label, registry) for group in _groups("strategy", everything, label)
        ],
        "environments": _environments(everything),
    }
    templates = FileSystemLoader(Path(__file__).parent / "templates")
    jinja = Environment(
        loader=templates, autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    jinja.filters["breakable"] = _breakable
    return jinja.get_template("page.html").render(shown, contents=_contents(shown))


def _breakable(text: str) -> Markup:
    """The text escaped, with places after commas where a line may end."""
    return Markup("<wbr>").join(re.split("(?<=,)", text))


def _contents(shown: Mapping[str, object]) -> list[tuple[str, str]]:
    """The places that the page has, and what they are called."""
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
    return [(place, name) for place, needs, name in places if shown[needs]]


def _counted(records: Sequence[Record]) -> str:
    cells = {record.cell for record in records}
    statuses = Counter(record.status for record in records)
    return (
        f"{len(records)} replicates of {len(cells)} cells: {len({cell.strategy.name for cell in cells})} strategies on "
        f"{len({cell.stream for cell in cells})} benchmarks; "
        + ", ".join(f"{n} {status}" for status, n in statuses.items())
    )


def _groups(kind: str, records: Sequence[Record], label: Mapping[Cell, Label]) -> list[Group]:
    found = defaultdict(list)
    for record in records:
        found[getattr(label[record.cell], kind)].append(record)
    return [Group(f"{kind}-{i}", name, found[name]) for i, name in enumerate(sorted(found), 1)]


def _of(section: Section, benchmark: str) -> bool:
    return section.heading == benchmark or section.heading.startswith(f"{benchmark} — ")


def _overall(table: Table, benchmarks: Sequence[str]) -> Table:
    """What of a table is about no single benchmark."""
    return table._replace(
        sections=tuple(s for s in table.sections if not any(_of(s, name) for name in benchmarks))
    )


def _benchmark(group: Group, tables: Sequence[Table]) -> dict[str, object]:
    benchmark = group.records[0].cell.benchmark
    data = {"digest of the data": group.records[0].cell.data} if group.records[0].cell.data else {}
    return {
        "id": group.id,
        "name": group.name,
        "settings": _texts(benchmark.settings) | data,
        "sections": [
            (table, section)
            for table in tables
            for section in table.sections
            if _of(section, group.name)
        ],
    }


def _texts(settings: Mapping[str, object]) -> dict[str, str]:
    return {name: as_text(value) for name, value in settings.items()}


def _strategy(group: Group, label: Mapping[Cell, Label], registry: Registry) -> dict[str, object]:
    """What a strategy says of itself, and its settings in every cell; one that is not installed here says nothing."""
    cells = list(dict.fromkeys(record.cell for record in group.records))
    names = list(dict.fromkeys(name for cell in cells for name in cell.strategy.settings))
    rows = [(label[cell].benchmark, *(_setting(cell, name) for name in names)) for cell in cells]
    doc, declares, file = _described(group.name, cells[0], registry)
    now = _code(*registry.digests(file), group.name)
    return {
        "id": group.id,
        "name": group.name,
        "doc": doc,
        "outdated": sum(
            bool(changes(_code(r.sources.get("strategy", {}), r.source, group.name), now))
            for r in group.records
        ),
        "declares": declares,
        "cells": _section(("benchmark", *names), sorted(set(rows))),
        "file": file.name if file else "",
        "source": file.read_text(encoding="utf-8") if file else "",
    }


def _code(own: Files, source: str, name: str) -> Code:
    """The code of a strategy alone."""
    return Code({"strategy": own} if own else {}, source, name)


def _described(
    name: str, cell: Cell, registry: Registry
) -> tuple[str, dict[str, str], Path | None]:
    """The description of a strategy, its declarations and its file; where it is not installed, the remedy."""
    if name not in registry.names("strategies"):
        return f"Not to be had here: {missing('strategy', name)}", {}, None
    try:
        part = registry.get("strategies", name, cell.strategy.settings)
        return inspect.getdoc(part) or "", part.declares(), source_of(type(part))
    except (
        Exception
    ) as error:  # the code is anybody's, and by now may be another than that of the record
        return f"Not to be had here: {error}", {}, None


def _setting(cell: Cell, name: str) -> str:
    return as_text(cell.strategy.settings[name]) if name in cell.strategy.settings else "–"


def _section(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Section:
    return Section("", columns, tuple(tuple(map(Entry, row)) for row in rows))


def _cells(records: Sequence[Record], label: Mapping[Cell, Label]) -> Section:
    scores, found = _scores(records, label), defaultdict(list)
    for record in records:
        found[record.cell].append(record)
    rows = []
    for cell, replicates in sorted(found.items(), key=lambda item: label[item[0]]):
        title = row_title((replicates[0].upper_bound, *label[cell][1:]))
        seconds = [record.clocks["train"] for record in replicates if record.status == "done"]
        train = f"{sum(seconds) / len(seconds):.3g}" if seconds else "–"
        metric, score = scores.get(label[cell], ("", "–"))
        rows.append(
            (
                title,
                label[cell].benchmark,
                metric,
                score,
                train,
                outcomes([r.status for r in replicates]),
            )
        )
    return _section(("strategy", "benchmark", "metric", "score", "train s", "n"), rows)


def _scores(records: Sequence[Record], label: Mapping[Cell, Label]) -> dict[Label, tuple[str, str]]:
    """By what each cell is judged, and its score: ACC of a stream; of episodes, accuracy or loss after the last inner step."""
    ends, found = end_frame(records, label), {}
    for metric, of_metric in ends[ends.metric != "forgetting"].groupby("metric"):
        for key, values in _values(of_metric):
            found[key] = (
                ("loss", _loss(values)) if metric == "loss" else (f"{metric} %", percent(values))
            )
    return found


def _loss(values: BySeed) -> str:
    mean, low, _, n = over_seeds(values)
    return f"{mean:.4f}" + (f" ± {mean - low:.4f}" if n > 1 else "")


def _values(frame: "pd.DataFrame") -> list[tuple[Label, BySeed]]:
    by_benchmark = frame.groupby("benchmark")
    return [
        (Label(str(name), *key[1:]), values)
        for name, on in by_benchmark
        for key, values in by_strategy(on).items()
    ]


def _lost(records: Sequence[Record], label: Mapping[Cell, Label]) -> list[dict[str, object]]:
    """Every cell of which a replicate failed or diverged: what happened to which seeds, and why."""
    found: dict[Cell, dict[tuple[str, str], list[str]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.status != "done":
            found[record.cell][record.status, record.reason].append(str(record.seed))
    return [
        {
            "name": " · ".join(
                filter(None, (label[cell].strategy, label[cell].settings, label[cell].benchmark))
            ),
            "losses": [
                (f"{status}, seed {', '.join(seeds)}", reason)
                for (status, reason), seeds in losses.items()
            ],
        }
        for cell, losses in sorted(found.items(), key=lambda item: label[item[0]])
    ]


def _environments(records: Sequence[Record]) -> Section:
    """The machines and versions that records came from."""
    found: dict[tuple[tuple[str, str], ...], list[Record]] = defaultdict(list)
    for record in records:
        found[
            tuple((k, as_text(v)) for k, v in record.environment.items() if k not in UNSAID)
        ].append(record)
    names = list(dict.fromkeys(name for key in found for name, _ in key))
    rows = [
        (
            *(dict(key).get(name, "–") for name in names),
            *(_all(group, name) for name in UNSAID),
            str(len(group)),
        )
        for key, group in sorted(found.items())
    ]
    return _section((*names, *UNSAID, "replicates"), rows)


def _all(records: Sequence[Record], name: str) -> str:
    return ", ".join(sorted({as_text(record.environment.get(name, "–")) for record in records}))
