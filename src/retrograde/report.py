"""From a store to files: every result part, in every format asked for."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

from retrograde.errors import UserError, nearest
from retrograde.record import Record
from retrograde.registry import Registry
from retrograde.render import FORMATS
from retrograde.result import Result, Table


def tables(records: Iterable[Record], registry: Registry) -> Iterator[tuple[str, Table]]:
    """The table of every result part, by name."""
    everything = list(records)
    for name in registry.names("results"):
        part = cast("Result", registry.get("results", name))
        yield name, part.table(everything)


def formats(names: str) -> list[str]:
    """Read `md,csv,tex`; CSV is always among them."""
    asked = [name.strip() for name in names.split(",") if name.strip()]
    for name in asked:
        if name not in FORMATS:
            raise UserError(f"There is no format {name!r}. {nearest(name, FORMATS)}")
    return [name for name in FORMATS if name in asked or name == "csv"]


def write_tables(made: Iterable[tuple[str, Table]], folder: Path, names: list[str]) -> list[Path]:
    """Write `<table>.<format>` for every table; the same records give the same bytes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for name, table in made:
            for form in names:
                path = folder / f"{name}.{form}"
                path.write_text(FORMATS[form](table), encoding="utf-8", newline="\n")
                written.append(path)
    except OSError as error:
        raise UserError(f"Tables are written to --out, and {folder} cannot be written: {error}.") from error
    return written
