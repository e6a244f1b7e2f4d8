"""Where records lie: a folder whose paths are the index."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

from retrograde.errors import UserError
from retrograde.record import Cell, Damaged, Record, TooNew


class Store:
    """Records at `DIR/<benchmark>/<strategy>/<settings hash>/seed-<n>.json`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: dict[Path, str] = {}  # records, and folders, that could not be read, and why

    def path(self, cell: Cell, seed: int) -> Path:
        """Where the record of one replicate lies."""
        return self.folder.joinpath(cell.path, f"seed-{seed}.json")

    def check_writable(self) -> None:
        """Raise `UserError` unless records can be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise UserError(f"Records are written to --out, and {self.folder} cannot be written: {error}.") from error

    def write(self, record: Record) -> None:
        """Write a record so that it is there whole or not at all; a finished one is never replaced."""
        path = self.path(record.cell, record.seed)
        if self.finished(record.cell, record.seed):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent, text=True)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(record.to_json())
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            if path in self.damaged:
                with suppress(FileNotFoundError):  # another run has set it aside
                    path.replace(_free(path.with_suffix(".damaged")))
                del self.damaged[path]
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def read(self, path: Path) -> Record | None:
        """The record at a path, or None where there is none or a damaged one, which is noted."""
        try:
            record = Record.from_json(_content(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except TooNew as error:
            raise UserError(
                f"{path} was written by a later version ({error}). Upgrade retrograde, or take it out of the store."
            ) from None
        except OSError as error:
            raise UserError(f"The record {path} cannot be read: {error}.") from error
        except Damaged as error:
            self.damaged[path] = str(error)
            return None
        if self.path(record.cell, record.seed) != path:
            self.damaged[path] = f"it belongs at {self.path(record.cell, record.seed)}"
            return None
        return record

    def finished(self, cell: Cell, seed: int) -> Record | None:
        """The record of a replicate that is done or diverged; a failed or damaged one does not count."""
        record = self.read(self.path(cell, seed))
        return None if record is None or record.status == "failed" else record

    def __iter__(self) -> Iterator[Record]:
        """All records, in the order of their paths; what is damaged or may not be read is noted and passed over."""
        for path in self._paths():
            try:
                record = self.read(path)
            except UserError as error:
                if not isinstance(error.__cause__, OSError):
                    raise
                self.damaged[path] = f"it cannot be read: {error.__cause__.strerror or error.__cause__}"
                continue
            if record is not None:
                yield record

    def _paths(self) -> Iterator[Path]:
        """The places of records, sorted; a folder that may not be listed is noted, or its records were missed in silence."""
        folders = [self.folder]
        for _ in range(3):
            folders = [inner for folder in folders for inner in self._listed(folder)]
        for folder in folders:
            yield from (path for path in self._listed(folder) if path.match("seed-*.json"))

    def _listed(self, folder: Path) -> list[Path]:
        try:
            return sorted(folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self.damaged[folder] = f"the folder cannot be read: {error.strerror or error}"
            return []


def _content(path: Path) -> bytes:
    """The content of a file; a pipe would be waited for, perhaps for ever."""
    if path.exists() and not path.is_file():
        raise Damaged("it is no file")
    return path.read_bytes()


def _free(path: Path) -> Path:
    """The path, or the first of `path-2`, `path-3`, ... that is not taken."""
    names = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return path if not path.exists() else next(name for name in names if not name.exists())
