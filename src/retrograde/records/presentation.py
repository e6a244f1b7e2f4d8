"""The title of a store's suite and the names of its cells: `suite.json` in the store."""

from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from retrograde.errors import UserError
from retrograde.parts.spec import parse, write
from retrograde.paths import kind, read_bytes, reason, write_whole
from retrograde.records.privacy import without_folder

FILE = "suite.json"
"""The file of a store; it says nothing about results, and no record depends on it."""
BYTES = 1_000_000
"""Maximum size of the file."""


@dataclass(frozen=True)
class Presentation:
    """Words for a report.

    Attributes:
        title: the title of the suite; empty if there is none.
        names: names of benchmarks and strategies, by pattern (see `Pattern`).
        titles: titles that parts of the user's own give themselves, by name of the part.
    """

    title: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)

    @property
    def public(self) -> "Presentation":
        """The same words, with files in patterns named without their folders."""
        names = {_without_folders(pattern): name for pattern, name in self.names.items()}
        return Presentation(self.title, names, self.titles)


def _without_folders(pattern: str) -> str:
    name, settings = parse(pattern)
    return write(name, {key: without_folder(text) for key, text in settings.items()})


_ADAPTER = TypeAdapter(Presentation)


def read_presentation(folder: Path) -> Presentation:
    """The words of a store; empty ones if no suite was run into it.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / FILE
    if kind(path) == "nothing":
        return Presentation()
    try:
        # Some editors write a byte-order mark first.
        return _ADAPTER.validate_json(read_bytes(path, BYTES).removeprefix(BOM_UTF8))
    except ValidationError as error:
        first = error.errors()[0]["msg"]
        raise UserError(
            f"{path} has the title of the suite and names, and cannot be read: {first}. "
            "Run the suite again, or remove the file."
        ) from None


def write_presentation(folder: Path, words: Presentation | None, titles: Mapping[str, str]) -> None:
    """Write the words of a run into its store.

    Args:
        folder: the folder of the store.
        words: the title and the names of the suite; None: those of the store stay.
        titles: the titles that parts of the run give themselves.

    Raises:
        UserError: the file cannot be written.
    """
    if words is None and not titles:
        return
    before = read_presentation(folder) if words is None else words
    after = replace(before, titles={**before.titles, **titles})
    path = folder / FILE
    content = _ADAPTER.dump_json(after.public, indent=2) + b"\n"
    try:
        # Unchanged files keep their time, and a store without permission to write is read alone.
        if kind(path) != "file" or path.read_bytes() != content:
            write_whole(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {reason(error)}.") from error
