"""The report as one HTML file without outside requests: tables, figures, cells and definitions."""

import base64
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from retrograde.metrics.frames import Label, cell_labels, ordered
from retrograde.metrics.intervals import BySeed, over_seeds
from retrograde.metrics.ranking import display_names
from retrograde.parts.registry import Registry
from retrograde.parts.spec import as_text
from retrograde.records.cell import CellSpec
from retrograde.records.record import Record
from retrograde.reporting.anchors import compared_rows, identifiers, row_identifiers
from retrograde.reporting.cells import format_percent, in_unit, row_title
from retrograde.reporting.standings import (
    Standing,
    answer,
    format_plain,
    lead_in_words,
    notes_on_learning,
    standings,
)
from retrograde.reporting.strategy_cards import cards
from retrograde.reporting.table import NOTHING, Entry, Section, Table, outcomes

if TYPE_CHECKING:
    from retrograde.reporting.report import Report

MAX_SEEDS = 10
"""Largest number of replicates whose numbers a place in a table shows on hover."""
OWN_COLUMNS = ("jobs", "threads", "commit")
"""Keys of the environment that may differ between records of one machine and its versions."""


class Picture(NamedTuple):
    """A figure as a file, with a summary of its content."""

    summary: str
    svg: bytes


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
    label = cell_labels(made.records)
    benchmarks = _benchmarks(records, label)
    overall, besides = _about_everything(tables, [*benchmarks])
    found = standings(made.records, label)
    strategies = cards(records, label, tables, registry)
    shown = {
        "title": made.title,
        "answer": answer(found, label),
        "counted": _counted(records),
        "shared": next((table.caption for table in tables), ""),
        "damaged": made.damaged,
        "faults": faults,
        "tables": tables,
        "overall": overall,
        "besides": besides,
        "leaderboard": [_leaderboard(each, benchmarks[each.benchmark], label) for each in found],
        "compared": identifiers(sorted({*display_names(label.values()).values()}), "row"),
        "lost": _lost(records, label),
        "benchmarks": [_benchmark(name, benchmarks[name], tables) for name in benchmarks],
        "lead": {each.benchmark: lead_in_words(each) for each in found},
        "notes": notes_on_learning(made.records, label),
        "first_figure": [_figure(picture) for picture in pictures[:1]],
        "figures": [_figure(picture) for picture in pictures[1:]],
        "strategies": strategies,
        "environments": _environments(records),
        "benchmark_place": identifiers(benchmarks, "benchmark"),
        "strategy_place": identifiers(sorted(card.name for card in strategies), "strategy"),
        "strategy_of": _names_of(records, label),
    }
    return _rendered(shown, row_identifiers(label.values()))


def _rendered(shown: Mapping[str, object], rows: Mapping[str, str]) -> str:
    """The template filled in.

    Args:
        shown: the values of its names.
        rows: the identifiers of the rows of strategies, by title.
    """
    jinja = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        # records and parts may come from others, so that no text of theirs is taken for HTML
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    jinja.filters["breakable"] = _breakable
    jinja.filters["joined"] = _joined
    jinja.filters["linked"] = _linked
    jinja.filters["exact"] = _exact
    jinja.filters["compared_rows"] = partial(compared_rows, known=rows)
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


def _breakable(text: str, mark: str = ",") -> Markup:
    """The text escaped, with places after commas, or another mark, where a line may end."""
    return Markup("<wbr>").join(re.split(f"(?<={mark})", text))


def _joined(text: str) -> str:
    """The text, in which no line ends after ± or around another sign, or before %."""
    return re.sub("(?<=[±=<]) | (?=[%=<])", "\N{NO-BREAK SPACE}", text)


def _linked(text: str) -> Markup:
    """The text escaped, with links to the papers that it names by their numbers on arXiv."""
    link = Markup('<a href="https://arxiv.org/abs/{0}">arXiv {0}</a>')
    # texts and numbers take turns
    parts = re.split(r"arXiv (\d{4}\.\d{4,5})\b", text)
    linked = [link.format(part) if place % 2 else part for place, part in enumerate(parts)]
    return Markup().join(linked)


def _exact(entry: Entry) -> str:
    """The mean of a place in a table, half of its interval, and the number of each replicate."""
    values = entry.replicates or {}
    mean, low, _, n = over_seeds(values)
    half = f" ± {mean - low:.6g}" if n > 1 else ""
    seeds = [f"{seed}: {values[seed]:.6g}" for seed in sorted(values)[:MAX_SEEDS]]
    others = ", …" if n > MAX_SEEDS else ""
    return f"{mean:.6g}{half}, n = {n}; by seed {', '.join(seeds)}{others}"


def _contents(shown: Mapping[str, object]) -> list[tuple[str, str]]:
    """The places that the page has, and their titles."""
    places = [
        ("leaderboard", "leaderboard", "Leaderboard"),
        ("overview", "overall", "Ranks"),
        ("benchmarks", "benchmarks", "Benchmarks"),
        ("lost", "lost", "Failed"),
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
        f"{_number(len(records), 'replicate')} of {_number(len(cells), 'cell')}: "
        f"{_number(len(strategies), 'strategy', 'strategies')} on "
        f"{_number(len(streams), 'benchmark')}; {counts}"
    )


def _number(count: int, noun: str, plural: str = "") -> str:
    """A count of things, in words."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def _benchmarks(
    records: Sequence[Record], label: Mapping[CellSpec, Label]
) -> dict[str, list[Record]]:
    """The records by the title of the benchmark, in order."""
    groups = defaultdict(list)
    for record in records:
        groups[label[record.cell].benchmark].append(record)
    return dict(sorted(groups.items()))


def _names_of(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> dict[str, str]:
    """The names of strategies by the titles of their rows."""
    return {
        row_title((record.upper_bound, *label[record.cell][1:])): record.cell.strategy.name
        for record in records
    }


def _of(section: Section, benchmark: str) -> bool:
    """True if a section is about one benchmark."""
    return section.heading == benchmark or section.heading.startswith(f"{benchmark} — ")


def _overall(table: Table, benchmarks: Sequence[str]) -> Table:
    """A table with those of its sections that are about no single benchmark."""
    sections = [
        section for section in table.sections if not any(_of(section, name) for name in benchmarks)
    ]
    return table._replace(sections=tuple(sections))


def _benchmark(name: str, records: Sequence[Record], tables: Sequence[Table]) -> dict[str, object]:
    """The settings of a benchmark, and the sections of all tables about it."""
    cell = records[0].cell
    settings = {key: as_text(value) for key, value in cell.benchmark.settings.items()}
    if cell.data:
        settings["digest of the data"] = cell.data
    sections = [
        (table, section) for table in tables for section in table.sections if _of(section, name)
    ]
    return {"name": name, "settings": settings, "sections": sections}


def _section(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Section:
    return Section("", columns, tuple(tuple(map(Entry, row)) for row in rows))


def _leaderboard(
    standing: Standing, records: Sequence[Record], label: Mapping[CellSpec, Label]
) -> Section:
    """The strategies on a benchmark: first score, forgetting and outcomes of replicates."""
    groups = {label[cell][1:]: group for cell, group in _by_cell(records).items()}
    scored = {key[1:] for key in standing.values}
    # strategies without a score come last
    unscored = [(groups[name][0].upper_bound, *name) for name in sorted(groups.keys() - scored)]
    unit = " %" if standing.percent else ""
    columns = {f"{standing.metric}{unit}" if standing.metric else "score": standing.values}
    if standing.forgetting:
        columns[f"forgetting{unit}"] = standing.forgetting
    rows = []
    for key in [*standing.values, *unscored]:
        scores = [_score(values.get(key), percent=standing.percent) for values in columns.values()]
        counts = outcomes([record.status for record in groups[key[1:]]])
        rows.append((Entry(row_title(key)), *scores, Entry(counts)))
    return Section(standing.benchmark, ("strategy", *columns, "n"), tuple(rows))


def _score(values: BySeed | None, *, percent: bool) -> Entry:
    """The mean of a score with its interval."""
    if values is None:
        return NOTHING
    text = format_percent(values) if percent else format_plain(values)
    return Entry(text, replicates=in_unit(values, percent=percent))


def _by_cell(records: Sequence[Record]) -> dict[CellSpec, list[Record]]:
    cells = defaultdict(list)
    for record in records:
        cells[record.cell].append(record)
    return dict(cells)


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
