"""The report of a store: every table and figure, written in every requested format."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from retrograde.errors import UserError, nearest
from retrograde.metrics.conventions import metrics
from retrograde.parts.author_code import begins, described, place, stops
from retrograde.parts.deadline import within
from retrograde.parts.part import Part
from retrograde.parts.registry import Registry
from retrograde.records.record import Record
from retrograde.records.versions import told_apart
from retrograde.reporting.formats import FORMATS
from retrograde.reporting.result import FigureResult, TableResult, shown_by
from retrograde.reporting.table import Table, malformed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = ("svg", "png")
"""The formats of figures; figures are drawn only if one of them, or the page, is requested."""
PAGE = "html"
"""The format of the single page that holds everything."""
Faults = dict[str, str]
"""The errors of result parts that failed, by name: file, line and message."""


class Report(NamedTuple):
    """The tables and figures of a store, by the name of the result part."""

    title: str
    records: Sequence[Record]
    tables: dict[str, Table]
    figures: "dict[str, Figure]"
    damaged: int = 0  # records that could not be read
    versions: tuple[str, ...] = ()  # notes on files that have several versions


def formats(names: str) -> list[str]:
    """The formats in a text such as `md,csv,tex,svg,png,html`; CSV is always among them.

    Raises:
        UserError: there is no such format.
    """
    stripped = [name.strip() for name in names.split(",")]
    asked = [name for name in stripped if name]
    known = [*FORMATS, *FIGURES, PAGE]
    for name in asked:
        if name not in known:
            raise UserError(f"There is no format {name!r}. {nearest(name, known)}")
    return [name for name in known if name in asked or name == "csv"]


def report(
    title: str,
    records: Sequence[Record],
    asked: Sequence[str],
    registry: Registry,
    convention: str = "own",
    faults: Faults | None = None,
) -> Report:
    """Make every table and, where a format needs them, every figure that has something to show.

    Args:
        title: the title of the report.
        records: the records of a store.
        asked: the requested formats.
        registry: the registry that knows the result parts.
        convention: the convention of scores (see `conventions.py`).
        faults: takes the errors of parts that fail, which are left out. Without it, an error is
            raised.
    """
    # frames are cached for a tuple of records
    records, notes = told_apart(records)
    drawn = figures(records, registry, faults) if {*FIGURES, PAGE} & set(asked) else ()
    found = tables(records, registry, convention, faults)
    made = {name: table._replace(notes=(*table.notes, *notes)) for name, table in found}
    return Report(title, records, made, dict(drawn), versions=notes)


def tables(
    records: Sequence[Record],
    registry: Registry,
    convention: str = "own",
    faults: Faults | None = None,
) -> Iterator[tuple[str, Table]]:
    """The tables by name, those about everything first.

    Args:
        records: the records of a store.
        registry: the registry that knows the result parts.
        convention: the convention of scores (see `conventions.py`).
        faults: as in `report`.
    """
    # an unknown convention is the user's error, and no fault of a part
    metrics(convention)
    parts = _found(registry, faults)
    results = {name: part for name, part in parts.items() if issubclass(part, TableResult)}
    in_order = sorted(results.items(), key=lambda item: (_order(item[1]), item[0]))
    for name, part in in_order:
        settings = {"convention": convention} if hasattr(part, "convention") else {}
        # stays None if the part fails
        table = None
        with _guarded(name, part, faults):
            table = _table(part, settings, records)
        if table is not None and table.sections:
            yield name, table


def _table(part: type[TableResult], settings: dict[str, str], records: Sequence[Record]) -> Table:
    table = part.configured(settings).table(shown_by(records, part))
    fault = malformed(table)
    if fault:
        raise TypeError(fault)
    return table


def figures(
    records: Sequence[Record],
    registry: Registry,
    faults: Faults | None = None,
) -> "Iterator[tuple[str, Figure]]":
    """The figures by name; `faults` as in `report`."""
    for name, part in _found(registry, faults).items():
        if not issubclass(part, FigureResult):
            continue
        # stays None if the part fails
        figure = None
        with _guarded(name, part, faults):
            figure = _figure(part, records)
        if figure is not None:
            yield name, figure


def _figure(part: type[FigureResult], records: Sequence[Record]) -> "Figure | None":
    from matplotlib.figure import Figure

    from retrograde.reporting.plotting import style

    with style():
        figure = part.configured({}).figure(shown_by(records, part))
    if not isinstance(figure, Figure | None):
        kind = type(figure).__name__
        raise TypeError(
            f"a figure is a matplotlib.figure.Figure or None, and this is of type {kind}"
        )
    return figure


def _order(part: type[TableResult]) -> float:
    """The place of a table among the others; the last if a part gives no number."""
    return part.order if isinstance(part.order, int | float) else float("inf")


def _found(registry: Registry, faults: Faults | None) -> dict[str, type[Part]]:
    """Every result part that can be imported."""
    found = {}
    for name in registry.names("results"):
        with _guarded(name, None, faults):
            found[name] = registry.find("results", name)
    return found


@contextmanager
def _guarded(name: str, part: type[Part] | None, faults: Faults | None) -> Iterator[None]:
    """Note the error of a part in `faults`, so that only its own table or figure is lost."""
    try:
        with within("check", f"the result {name}"):
            yield
    # a part may raise anything; `stops` knows the errors that end the program
    except BaseException as error:
        if faults is None or stops(error):
            raise
        faults.setdefault(name, _said(error, part))


def _said(error: BaseException, part: type[Part] | None) -> str:
    """An error with its place in the part's file, else with the start of its table or figure."""
    made = "table" if hasattr(part, "table") else "figure"
    where = place(error, part)
    if not where and part:
        where = begins(part, made)
    text = " ".join(str(error).split()) if isinstance(error, UserError) else described(error)
    return f"{where}: {text}" if where else text


def write(
    folder: Path,
    asked: Sequence[str],
    made: Report,
    registry: Registry,
    faults: Faults | None = None,
) -> list[Path]:
    """Write `<name>.<format>` for every table and figure, and `report.html`.

    The same records give the same bytes.

    Args:
        folder: the folder to write to; it is created if needed.
        asked: the requested formats.
        made: the report.
        registry: the registry that knows the result parts.
        faults: takes the errors of tables and figures that cannot be written in a format, which
            are left out. Without it, an error is raised.

    Returns:
        The paths of the files.

    Raises:
        UserError: the folder cannot be written.
    """
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in _contents(asked, made, registry, faults):
            path = folder / name
            path.write_bytes(content)
            paths.append(path)
    except OSError as error:
        raise UserError(
            f"Tables and figures are written to a folder; {folder} cannot be written: {error}."
        ) from error
    return paths


def _contents(
    asked: Sequence[str],
    made: Report,
    registry: Registry,
    faults: Faults | None,
) -> Iterator[tuple[str, bytes]]:
    """The names and contents of all files."""
    for name, table in made.tables.items():
        for form in asked:
            if form not in FORMATS:
                continue
            content = _rendered(name, table, form, registry, faults)
            if content is not None:
                yield f"{name}.{form}", content
    # the page needs the pictures too, so that each is drawn once
    pictures = {}
    for name, figure in made.figures.items():
        with _guarded(name, registry.find("results", name), faults):
            pictures[name] = _pictures(figure, asked)
    for name, files in pictures.items():
        for form in asked:
            if form in FIGURES:
                yield f"{name}.{form}", files[form]
    # the page comes last, since it lists the faults
    if PAGE in asked:
        yield f"report.{PAGE}", _page(made, pictures, registry, faults)


def _page(
    made: Report,
    pictures: Mapping[str, Mapping[str, bytes]],
    registry: Registry,
    faults: Faults | None,
) -> bytes:
    from retrograde.reporting.html import Picture, page

    shown = []
    for name, files in pictures.items():
        summary = registry.find("results", name).summary()
        shown.append(Picture(summary, files["svg"]))
    return page(made, shown, registry, faults or {}).encode()


def _rendered(
    name: str,
    table: Table,
    form: str,
    registry: Registry,
    faults: Faults | None,
) -> bytes | None:
    """A table as the content of a file; None where that failed."""
    with _guarded(name, registry.find("results", name), faults):
        return FORMATS[form](table).encode()
    return None


def _pictures(figure: "Figure", asked: Sequence[str]) -> dict[str, bytes]:
    """The requested files of a figure; the page needs an SVG."""
    from retrograde.reporting.plotting import FORMATS as PICTURES

    needed = {*asked, "svg"} if PAGE in asked else {*asked}
    return {form: PICTURES[form](figure) for form in FIGURES if form in needed}
