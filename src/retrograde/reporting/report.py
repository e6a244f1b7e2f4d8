"""From a store to files: every result part, in every format asked for."""

from collections.abc import Iterator, Sequence
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
from retrograde.reporting.result import Drawing, Result
from retrograde.reporting.table import Table, malformed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = ("svg", "png")
"""The formats of figures; nothing is drawn unless one of them, or the page, is asked for."""
PAGE = "html"
"""The format of the one page that holds everything."""
Faults = dict[str, str]
"""By the name of a result part that failed: the file and line, and what went wrong."""


class Report(NamedTuple):
    """What was made from the records of a store, by the name of the part that made it."""

    title: str
    records: Sequence[Record]
    tables: dict[str, Table]
    figures: "dict[str, Figure]"
    damaged: int = 0  # records that could not be read
    versions: tuple[str, ...] = ()  # notes on files of which there are several versions


def formats(names: str) -> list[str]:
    """Read `md,csv,tex,svg,png,html`; CSV is always among them."""
    asked = [name.strip() for name in names.split(",") if name.strip()]
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

    A part that fails is left out and noted in `faults`; without these, its error is raised.
    """
    records, notes = told_apart(records)  # a tuple, of which frames are made once
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
    """The tables, those about everything first; scores follow a convention (see `convention.py`)."""
    metrics(convention)  # an unknown one is the user's to put right, and no fault of a part
    results = {
        name: part for name, part in _found(registry, faults).items() if issubclass(part, Result)
    }
    for name in sorted(results, key=lambda name: (_order(results[name]), name)):
        settings = {"convention": convention} if hasattr(results[name], "convention") else {}
        table = None
        with _guarded(name, results[name], faults):
            table = _table(results[name], settings, records)
        if table is not None and table.sections:
            yield name, table


def _table(part: type[Result], settings: dict[str, str], records: Sequence[Record]) -> Table:
    table = part.configured(settings).table(records)
    if fault := malformed(table):
        raise TypeError(fault)
    return table


def figures(
    records: Sequence[Record], registry: Registry, faults: Faults | None = None
) -> "Iterator[tuple[str, Figure]]":
    """The figures, by name."""
    for name, part in _found(registry, faults).items():
        if issubclass(part, Drawing):
            figure = None
            with _guarded(name, part, faults):
                figure = _figure(part, records)
            if figure is not None:
                yield name, figure


def _figure(part: type[Drawing], records: Sequence[Record]) -> "Figure | None":
    from matplotlib.figure import Figure

    from retrograde.reporting.plotting import style

    with style():
        figure = part.configured({}).figure(records)
    if not isinstance(figure, Figure | None):
        raise TypeError(
            f"a figure is a matplotlib.figure.Figure or None, and this is of type {type(figure).__name__}"
        )
    return figure


def _order(part: type[Result]) -> float:
    """The place of a table among the others; the last where a part gives no number."""
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
    """Note in `faults` what a part raises, so that it costs its own table or figure alone."""
    try:
        with within("check", f"the result {name}"):
            yield
    except BaseException as error:
        if faults is None or stops(error):
            raise
        faults.setdefault(name, _said(error, part))


def _said(error: BaseException, part: type[Part] | None) -> str:
    """An error with the part's line it comes from, else with that where it makes its table or figure."""
    made = "table" if hasattr(part, "table") else "figure"
    where = place(error, part) or (begins(part, made) if part else "")
    text = " ".join(str(error).split()) if isinstance(error, UserError) else described(error)
    return f"{where}: {text}" if where else text


def write(
    folder: Path,
    asked: Sequence[str],
    made: Report,
    registry: Registry,
    faults: Faults | None = None,
) -> list[Path]:
    """Write `<name>.<format>` for every table and figure, and `report.html`; the same records give the same bytes.

    What cannot be written as a file of its format is left out and noted in `faults`; without these, the error is raised.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [
            _written(folder / name, content)
            for name, content in _contents(asked, made, registry, faults)
        ]
    except OSError as error:
        raise UserError(
            f"Tables and figures are written to --out, and {folder} cannot be written: {error}."
        ) from error


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _contents(
    asked: Sequence[str], made: Report, registry: Registry, faults: Faults | None
) -> Iterator[tuple[str, bytes]]:
    for name, table in made.tables.items():
        for form in asked:
            if (
                form in FORMATS
                and (content := _rendered(name, table, form, registry, faults)) is not None
            ):
                yield f"{name}.{form}", content
    pictures = {}
    for name, figure in made.figures.items():
        with _guarded(name, registry.find("results", name), faults):
            pictures[name] = _pictures(figure, asked)
    for name, files in pictures.items():
        yield from ((f"{name}.{form}", files[form]) for form in asked if form in FIGURES)
    if PAGE in asked:
        from retrograde.reporting.html import Picture, page

        shown = [
            Picture(registry.find("results", name).summary(), files["svg"])
            for name, files in pictures.items()
        ]
        yield f"report.{PAGE}", page(made, shown, registry, faults or {}).encode()


def _rendered(
    name: str, table: Table, form: str, registry: Registry, faults: Faults | None
) -> bytes | None:
    """A table as the content of a file; None where that failed."""
    with _guarded(name, registry.find("results", name), faults):
        return FORMATS[form](table).encode()
    return None


def _pictures(figure: "Figure", asked: Sequence[str]) -> dict[str, bytes]:
    """The files of a figure that are asked for; the page holds an SVG."""
    from retrograde.reporting.plotting import FORMATS as PICTURES

    return {
        form: PICTURES[form](figure)
        for form in FIGURES
        if form in asked or (form == "svg" and PAGE in asked)
    }
