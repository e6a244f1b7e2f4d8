"""From a store to files: every result part, in every format asked for."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from retrograde.errors import UserError, nearest
from retrograde.record import Record
from retrograde.registry import Registry
from retrograde.render import FORMATS
from retrograde.result import Drawing, Result, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = ("svg", "png")
"""The formats of figures; nothing is drawn unless one of them is asked for."""


def formats(names: str) -> list[str]:
    """Read `md,csv,tex,svg,png`; CSV is always among them."""
    asked = [name.strip() for name in names.split(",") if name.strip()]
    known = [*FORMATS, *FIGURES]
    for name in asked:
        if name not in known:
            raise UserError(f"There is no format {name!r}. {nearest(name, known)}")
    return [name for name in known if name in asked or name == "csv"]


def tables(records: Iterable[Record], registry: Registry, convention: str = "own") -> Iterator[tuple[str, Table]]:
    """The table of every result part that has something to show, by name; scores follow a convention (see `convention.py`)."""
    everything = list(records)
    for name in registry.names("results"):
        follows = hasattr(registry.find("results", name), "convention")
        part = registry.get("results", name, {"convention": convention} if follows else {})
        if isinstance(part, Result) and (table := part.table(everything)).sections:
            yield name, table


def figures(records: Iterable[Record], registry: Registry) -> "Iterator[tuple[str, Figure]]":
    """The figure of every result part that has something to show, by name."""
    from retrograde.figure import style

    everything = list(records)
    for name in registry.names("results"):
        part = registry.get("results", name)
        if isinstance(part, Drawing):
            with style():
                figure = part.figure(everything)
            if figure is not None:
                yield name, figure


def write(
    folder: Path, names: list[str], made: Iterable[tuple[str, Table]], drawn: "Iterable[tuple[str, Figure]]" = ()
) -> list[Path]:
    """Write `<name>.<format>` for every table and figure; the same records give the same bytes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_written(folder / name, content) for name, content in _contents(names, made, drawn)]
    except OSError as error:
        raise UserError(f"Tables and figures are written to --out, and {folder} cannot be written: {error}.") from error


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _contents(
    names: list[str], made: Iterable[tuple[str, Table]], drawn: "Iterable[tuple[str, Figure]]"
) -> Iterator[tuple[str, bytes]]:
    for name, table in made:
        yield from ((f"{name}.{form}", FORMATS[form](table).encode()) for form in names if form in FORMATS)
    for name, figure in drawn:
        from retrograde.figure import FORMATS as PICTURES

        yield from ((f"{name}.{form}", PICTURES[form](figure)) for form in names if form in FIGURES)
