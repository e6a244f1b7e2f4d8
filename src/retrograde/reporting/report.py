"""The report of a store: every table and figure that is asked for, from records alone."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from retrograde.errors import UserError, nearest, shown
from retrograde.metrics.conventions import applicable
from retrograde.metrics.frames import cell_labels, score_frame
from retrograde.parts.part import Part
from retrograde.parts.registry import Registry
from retrograde.records.presentation import Presentation
from retrograde.records.record import Record
from retrograde.records.versions import told_apart
from retrograde.reporting.faults import Faults, guarded, importable
from retrograde.reporting.names import Unsaid, named
from retrograde.reporting.request import Request
from retrograde.reporting.result import FigureResult, TableResult, shown_by
from retrograde.reporting.selection import in_order, selected
from retrograde.reporting.table import Table, malformed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCORES = 1
"""The place of tables of scores (`TableResult.order`), which say what settings a row has."""
FURTHER = 2
"""The place from which tables are no scores of any kind, and are printed only on demand."""
EVERYTHING = Request()


Made = TypeVar("Made")


class ByName(dict[str, Made]):
    """Tables or figures by name; the error of an unknown name has the nearest ones."""

    def __missing__(self, name: str) -> Made:
        raise KeyError(f"The report has no {shown(name)}. {nearest(str(name), self)}")


class Report(NamedTuple):
    """The tables and figures of a store, by the name of the result part."""

    title: str
    records: Sequence[Record]
    tables: dict[str, Table]
    figures: "dict[str, Figure]"
    printed: "Mapping[str, Figure]" = MappingProxyType({})  # the same, as wide as in print
    damaged: int = 0  # records that could not be read
    versions: tuple[str, ...] = ()  # notes on files that have several versions
    scores: str = ""  # the name of the table of scores
    leading: tuple[str, ...] = ()  # the names of the tables of scores, also of few-shot tasks
    settings: str = ""  # settings of single strategies and benchmarks that no row shows

    def __repr__(self) -> str:
        """The names of what is in the report, which itself is long."""
        tables, figures = ", ".join(self.tables), ", ".join(self.figures)
        return f"<report {self.title!r} of {len(self.records)} records; {tables=!s}; {figures=!s}>"


def report(
    records: Sequence[Record],
    asked: Request,
    registry: Registry,
    words: Presentation,
    faults: Faults | None = None,
) -> Report:
    """Make every table that is asked for and, where a format needs them, every figure.

    Args:
        records: the records of a store.
        asked: the request.
        registry: the registry that knows the result parts.
        words: the title of the report, and names.
        faults: takes the errors of parts that fail, which are left out. Without it, an error is
            raised.

    Raises:
        UserError: the request is for something that there is not.
    """
    asked.check_names(registry.names("results"))
    apart, notes = told_apart(records)
    shown, unsaid = _shown(apart, asked, words)
    of_parts = dict(tables(shown, registry, asked, faults))
    scores = next((n for n in of_parts if _order(registry.find("results", n)) == SCORES), "")
    _check_scores(shown, scores, asked)
    made = {
        name: _with_notes(table, unsaid, notes, scores=name == scores)
        for name, table in of_parts.items()
    }
    drawn = figures(shown, registry, asked, faults) if asked.on_screen else ()
    printed = figures(shown, registry, asked, faults, asked.width) if asked.in_print else ()
    return Report(
        words.title,
        shown,
        ByName(made),
        ByName(drawn),
        ByName(printed),
        versions=notes,
        scores=scores,
        leading=tuple(
            n for n in of_parts if SCORES <= _order(registry.find("results", n)) < FURTHER
        ),
        settings=unsaid.others,
    )


def _shown(
    records: Sequence[Record], asked: Request, words: Presentation
) -> tuple[tuple[Record, ...], Unsaid]:
    """The records that are asked for, with their names, and the settings that these leave out."""
    shown, unsaid = named(records, words)
    if not (asked.benchmarks or asked.strategies):
        return shown, unsaid
    # without the others, fewer settings tell the rest apart
    return named(selected(shown, asked.benchmarks, asked.strategies), words)


def _with_notes(table: Table, unsaid: Unsaid, versions: Sequence[str], *, scores: bool) -> Table:
    others = [unsaid.others] if unsaid.others and scores else []
    caption = " ".join(filter(None, [table.caption, unsaid.shared]))
    return table._replace(notes=(*table.notes, *others, *versions), caption=caption)


def _check_scores(records: Sequence[Record], scores: str, asked: Request) -> None:
    """Raise `UserError` if something is asked of the table of scores that it cannot have."""
    for what, text in (("label", asked.label), ("caption", asked.caption)):
        if text and not scores:
            raise UserError(
                f"A {what} is for the table of scores, and none is made of these records; "
                f"it was {shown(text)}. Leave it out."
            )
    if not asked.metrics:
        return
    frame = score_frame(records, cell_labels(records), applicable(records, asked.convention))
    there = dict.fromkeys(frame.metric)
    for metric in asked.metrics:
        if metric not in there:
            raise UserError(
                f"No record has the metric {metric!r}. They have {', '.join(there) or 'none'}."
            )


def tables(
    records: Sequence[Record],
    registry: Registry,
    asked: Request = EVERYTHING,
    faults: Faults | None = None,
) -> Iterator[tuple[str, Table]]:
    """The tables by name, those about everything first.

    Args:
        records: the records of a store.
        registry: the registry that knows the result parts.
        asked: the request.
        faults: as in `report`.
    """
    cells = dict.fromkeys(record.cell for record in records)
    label = cell_labels(records)
    rows = [(cell.strategy, " ".join(label[cell][1:]).strip()) for cell in cells]
    streams = [(cell.benchmark, label[cell].benchmark) for cell in cells]
    wishes: dict[str, Any] = {
        "convention": asked.convention,
        "metrics": asked.metrics,
        "across": asked.across,
        "decimals": asked.decimals,
        "spread": asked.spread,
        "rows": in_order(rows, asked.strategies),
        "streams": in_order(streams, asked.benchmarks),
    }
    # a part may have other defaults than the table of scores
    wishes = {name: wish for name, wish in wishes.items() if wish != _usual(name)}
    for name, part in _wanted(TableResult, registry, asked, faults):
        settings = {known: wishes[known] for known in _settings_of(part) if known in wishes}
        # stays None if the part fails
        table = None
        with guarded(name, part, faults):
            table = _table(part, settings, records)
        if table is not None and table.sections:
            yield name, table


def _usual(wish: str) -> object:
    """The value of a wish in a report of everything."""
    return getattr(EVERYTHING, wish, ())


def _settings_of(part: type[Part]) -> list[str]:
    """The names of a part's settings."""
    if not dataclasses.is_dataclass(part):
        return []
    return [each.name for each in dataclasses.fields(part)]


def _wanted(
    kind: type[Part], registry: Registry, asked: Request, faults: Faults | None
) -> list[tuple[str, Any]]:
    """The classes of results of a kind that are asked for, by name, in their order."""
    # importing a part takes time, and may fail
    names = [name for name in registry.names("results") if asked.wants(name)]
    parts = importable(registry, names, faults).items()
    wanted = [(name, part) for name, part in parts if issubclass(part, kind)]
    return sorted(wanted, key=lambda item: (_order(item[1]), item[0]))


def _table(part: type[TableResult], settings: dict[str, Any], records: Sequence[Record]) -> Table:
    table = part.configured(settings).table(shown_by(records, part))
    fault = malformed(table)
    if fault:
        raise TypeError(fault)
    return table


def figures(
    records: Sequence[Record],
    registry: Registry,
    asked: Request = EVERYTHING,
    faults: Faults | None = None,
    width: float | None = None,
) -> "Iterator[tuple[str, Figure]]":
    """The figures by name, in their order.

    Args:
        records: the records of a store.
        registry: the registry that knows the result parts.
        asked: the request.
        faults: as in `report`.
        width: the width in inches; None: that of a page on a screen.
    """
    for name, part in _wanted(FigureResult, registry, asked, faults):
        # stays None if the part fails
        figure = None
        with guarded(name, part, faults):
            figure = _figure(part, records, width)
        if figure is not None:
            yield name, figure


def _figure(
    part: type[FigureResult], records: Sequence[Record], width: float | None
) -> "Figure | None":
    from matplotlib.figure import Figure

    from retrograde.reporting.plotting import set_for_print, style

    with style(width):
        figure = part.configured({}).figure(shown_by(records, part))
        if width and isinstance(figure, Figure):
            set_for_print(figure)
    if not isinstance(figure, Figure | None):
        kind = type(figure).__name__
        raise TypeError(
            f"a figure is a matplotlib.figure.Figure or None, and this is of type {kind}"
        )
    return figure


def _order(part: type[Part]) -> float:
    """The place of a result among the others; the last if a part gives no number."""
    order = getattr(part, "order", None)
    return order if isinstance(order, int | float) else float("inf")
