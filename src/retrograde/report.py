"""From a store to files: every result part, in every format asked for."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from retrograde.errors import UserError, nearest
from retrograde.record import Record
from retrograde.registry import Registry
from retrograde.render import FORMATS
from retrograde.result import Drawing, Result, Table
from retrograde.versions import told_apart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = ("svg", "png")
"""The formats of figures; nothing is drawn unless one of them, or the page, is asked for."""
PAGE = "html"
"""The format of the one page that holds everything."""


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


def report(title: str, records: Sequence[Record], asked: Sequence[str], registry: Registry, convention: str = "own") -> Report:
    """Make every table and, where a format needs them, every figure that has something to show."""
    records, notes = told_apart(records)  # a tuple, of which frames are made once
    drawn = figures(records, registry) if {*FIGURES, PAGE} & set(asked) else ()
    made = {name: table._replace(notes=(*table.notes, *notes)) for name, table in tables(records, registry, convention)}
    return Report(title, records, made, dict(drawn), versions=notes)


def tables(records: Sequence[Record], registry: Registry, convention: str = "own") -> Iterator[tuple[str, Table]]:
    """The tables, those about everything first; scores follow a convention (see `convention.py`)."""
    found = {name: registry.find("results", name) for name in registry.names("results")}
    results = {name: part for name, part in found.items() if issubclass(part, Result)}
    for name in sorted(results, key=lambda name: (results[name].order, name)):
        part = results[name].configured({"convention": convention} if hasattr(results[name], "convention") else {})
        if (table := part.table(records)).sections:
            yield name, table


def figures(records: Sequence[Record], registry: Registry) -> "Iterator[tuple[str, Figure]]":
    """The figures, by name."""
    from retrograde.figure import style

    for name in registry.names("results"):
        part = registry.get("results", name)
        if isinstance(part, Drawing):
            with style():
                figure = part.figure(records)
            if figure is not None:
                yield name, figure


def write(folder: Path, asked: Sequence[str], made: Report, registry: Registry) -> list[Path]:
    """Write `<name>.<format>` for every table and figure, and `report.html`; the same records give the same bytes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_written(folder / name, content) for name, content in _contents(asked, made, registry)]
    except OSError as error:
        raise UserError(f"Tables and figures are written to --out, and {folder} cannot be written: {error}.") from error


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _contents(asked: Sequence[str], made: Report, registry: Registry) -> Iterator[tuple[str, bytes]]:
    for name, table in made.tables.items():
        yield from ((f"{name}.{form}", FORMATS[form](table).encode()) for form in asked if form in FORMATS)
    pictures = {name: _pictures(figure, asked) for name, figure in made.figures.items()}
    for name, files in pictures.items():
        yield from ((f"{name}.{form}", files[form]) for form in asked if form in FIGURES)
    if PAGE in asked:
        from retrograde.page import Picture, page

        shown = [Picture(registry.find("results", name).summary(), files["svg"]) for name, files in pictures.items()]
        yield f"report.{PAGE}", page(made, shown, registry).encode()


def _pictures(figure: "Figure", asked: Sequence[str]) -> dict[str, bytes]:
    """The files of a figure that are asked for; the page holds an SVG."""
    from retrograde.figure import FORMATS as PICTURES

    return {form: PICTURES[form](figure) for form in FIGURES if form in asked or (form == "svg" and PAGE in asked)}
