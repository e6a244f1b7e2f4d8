"""A card for each strategy of a report: its source, its settings, and what was reproduced."""

import inspect
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from retrograde.metrics.frames import Label
from retrograde.parts.meaning import Setting, settings_of
from retrograde.parts.provenance import Files, Sources, changes
from retrograde.parts.registry import Registry, missing, source_of
from retrograde.parts.spec import as_text
from retrograde.records.cell import CellSpec
from retrograde.records.record import Record
from retrograde.reporting.cells import row_title
from retrograde.reporting.table import Entry, Section, Table

REPRODUCED = ("published", "metric", "theirs", "ours", "verdict")
"""The columns of a card on published numbers. A table with all of them says what was reproduced."""


class Card(NamedTuple):
    """What a page says of one strategy.

    Attributes:
        name: its name; it identifies the strategy.
        title: its titles in the report, with the name if it has others.
        doc: its description with its source, or the reason why there is none.
        declares: what it declares, by topic.
        settings: its settings with their meaning, and their values in the report.
        reproduced: its published numbers, with verdicts.
        outdated: the number of records whose strategy had other code than its file has now.
        file: the name of its file; empty if it has none here.
        source: the content of the file.
    """

    name: str
    title: str
    doc: str
    declares: Mapping[str, str]
    settings: Section
    reproduced: Section
    outdated: int
    file: str
    source: str


class Installed(NamedTuple):
    """What is known of a strategy from its code here.

    One that is not installed has no file, and its description says how to get it.
    """

    doc: str
    declares: Mapping[str, str] = MappingProxyType({})
    settings: Sequence[Setting] = ()
    file: Path | None = None


def cards(
    records: Sequence[Record],
    label: Mapping[CellSpec, Label],
    tables: Sequence[Table],
    registry: Registry,
) -> list[Card]:
    """The cards, in order of titles.

    Args:
        records: all records of the report, in order.
        label: the labels of their cells.
        tables: all tables of the report.
        registry: the registry that knows the strategies.
    """
    groups = defaultdict(list)
    for record in records:
        groups[record.cell.strategy.name].append(record)
    published = list(_published(tables))
    made = [_card(name, group, label, published, registry) for name, group in groups.items()]
    return sorted(made, key=lambda card: (card.title, card.name))


def _card(
    name: str,
    records: Sequence[Record],
    label: Mapping[CellSpec, Label],
    published: Sequence[tuple[str, tuple[Entry, ...]]],
    registry: Registry,
) -> Card:
    cells = list(dict.fromkeys(record.cell for record in records))
    titles = {row_title((record.upper_bound, *label[record.cell][1:])) for record in records}
    known = _installed(cells[0], registry)
    return Card(
        name=name,
        title=_title(name, cells, label),
        doc=known.doc,
        declares=known.declares,
        settings=_settings(cells, label, known.settings),
        reproduced=_reproduced(titles, published),
        outdated=_outdated(records, registry, known.file),
        file=known.file.name if known.file else "",
        source=known.file.read_text(encoding="utf-8") if known.file else "",
    )


def _title(name: str, cells: Sequence[CellSpec], label: Mapping[CellSpec, Label]) -> str:
    """The titles of a strategy, which a suite may name in several ways."""
    titles = sorted({label[cell].strategy for cell in cells})
    whole = ", ".join(titles)
    return whole if whole.lower() == name else f"{whole} ({name})"


def _installed(cell: CellSpec, registry: Registry) -> Installed:
    name = cell.strategy.name
    if name not in registry.names("strategies"):
        return Installed(f"Not available here: {missing('strategy', name)}")
    try:
        part = registry.get("strategies", name, cell.strategy.settings)
        cls = type(part)
        doc = inspect.getdoc(part) or ""
        return Installed(doc, part.declares(), settings_of(cls), source_of(cls))
    # the code is anybody's, and by now may be another than that of the record
    except Exception as error:
        return Installed(f"Not available here: {error}")


def _settings(
    cells: Sequence[CellSpec], label: Mapping[CellSpec, Label], known: Sequence[Setting]
) -> Section:
    """A row for each setting: its values here, its default and its meaning."""
    about = {setting.name: setting for setting in known}
    order = {name: place for place, name in enumerate(about)}
    # settings may differ between versions of a strategy
    recorded = dict.fromkeys(name for cell in cells for name in cell.strategy.settings)
    rows = []
    for name in sorted(recorded, key=lambda name: order.get(name, len(order))):
        setting = about.get(name, Setting(name, "–", "", ""))
        meaning = "; ".join(filter(None, [setting.meaning, setting.values]))
        default = "–" if setting.default is None else setting.default
        rows.append((name, _values(name, cells, label), default, meaning))
    entries = tuple(tuple(map(Entry, row)) for row in rows)
    return Section("", ("setting", "here", "default", "meaning"), entries)


def _values(name: str, cells: Sequence[CellSpec], label: Mapping[CellSpec, Label]) -> str:
    """The values of a setting, with their benchmarks where these differ."""
    on: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for cell in cells:
        settings = cell.strategy.settings
        text = as_text(settings[name]) if name in settings else "–"
        on[label[cell].benchmark][text] = None
    by_text = defaultdict(list)
    for benchmark, texts in on.items():
        by_text[" or ".join(texts)].append(benchmark)
    if len(by_text) == 1:
        return next(iter(by_text))
    return "; ".join(f"{text} on {' and '.join(names)}" for text, names in by_text.items())


def _published(tables: Sequence[Table]) -> Iterator[tuple[str, tuple[Entry, ...]]]:
    """The rows about published numbers: the title of the strategy, and its entries on the card."""
    for table in tables:
        for section in table.sections:
            columns = section.columns
            if {*REPRODUCED} <= {*columns}:
                places = [columns.index(column) for column in REPRODUCED]
                for row in section.rows:
                    yield row[0].text, (Entry(section.heading), *(row[place] for place in places))


def _reproduced(titles: set[str], published: Sequence[tuple[str, tuple[Entry, ...]]]) -> Section:
    found = [(title, row) for title, row in published if title in titles]
    columns = ("benchmark", *REPRODUCED)
    if len({title for title, _ in found}) < 2:
        return Section("", columns, tuple(row for _, row in found))
    # several settings of a strategy are measured against the same numbers
    return Section("", ("row", *columns), tuple((Entry(title), *row) for title, row in found))


def _outdated(records: Sequence[Record], registry: Registry, file: Path | None) -> int:
    """The number of records whose strategy had other code than its file has now."""
    now = _of_strategy(registry.digests(file))
    then = [_of_strategy(record.sources.get("strategy", {})) for record in records]
    return sum(bool(changes(before, now)) for before in then)


def _of_strategy(files: Files) -> Sources:
    """The files of a strategy as the only role."""
    return {"strategy": files} if files else {}
