"""Where records lie: a folder whose paths are the index."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

from retrograde.errors import UserError
from retrograde.parts.provenance import changes, version_digest
from retrograde.records.cell import Cell
from retrograde.records.record import Damaged, Record, TooNew


class Store:
    """Records at `DIR/<benchmark>/<strategy>/<settings hash>/seed-<n>.json`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: dict[Path, str] = {}  # records, and folders, that could not be read, and why
        self._began = 0

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
            raise UserError(
                f"Records are written to --out, and {self.folder} cannot be written: {error}."
            ) from error

    def begin(self) -> None:
        """Note the time, by the clock of the server that keeps the store: see `newer`."""
        with suppress(
            OSError
        ):  # no store, so that all will be newer, or one that `check_writable` refuses
            self._began = _now(self.folder)

    def newer(self, path: Path) -> bool:
        """True if there is a file that got its name after `begin`, or at the same tick of the clock."""
        try:
            # Of its status, not of its text, which is written before the file gets its name.
            return path.stat().st_ctime_ns >= self._began
        except (FileNotFoundError, NotADirectoryError):
            return False

    def write(self, record: Record) -> None:
        """Write a record so that it is there whole or not at all.

        A finished one is never replaced by one of the same files or by one that failed; where other files made it, it is first
        copied to `seed-<n>.superseded-<version>`.
        """
        path = self.path(record.cell, record.seed)
        if _stays(self.finished(record.cell, record.seed), record):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent, text=True)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(record.to_json())
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            while not self._published(record, Path(temporary), path):
                pass
        finally:
            Path(temporary).unlink(missing_ok=True)

    def _published(self, record: Record, temporary: Path, path: Path) -> bool:
        """Give a record's whole file its name, unless one that stays has it; False where it is to be tried again.

        Other runs may write the same record meanwhile. So nothing is moved or replaced on the strength of an earlier look: a
        record that is new comes in by a link, which never replaces; a damaged one gets a second name, and is looked at there.
        """
        if _linked(temporary, path):
            self.damaged.pop(path, None)
            return True
        self.damaged.pop(path, None)
        found = self.finished(record.cell, record.seed)
        if _stays(found, record):
            return True
        if found:
            _copy(path, path.with_suffix(f".superseded-{version_digest(found.code)}"))
        if path in self.damaged and not self._set_aside(path):
            return False
        self.damaged.pop(path, None)
        temporary.replace(path)
        return True

    def _set_aside(self, path: Path) -> bool:
        """Give a damaged record a second name that is free; False where it is no longer there, or no longer damaged."""
        names = (
            path.with_name(f"{path.stem}.damaged{f'-{number}' if number > 1 else ''}")
            for number in count(1)
        )
        try:
            aside = next(name for name in names if _linked(path, name))
        except FileNotFoundError:
            return False
        try:
            self._parsed(read_shared(aside), path)
        except Damaged:
            return True
        except TooNew:
            pass  # the next look says so
        aside.unlink()
        return False

    def read(self, path: Path) -> Record | None:
        """The record at a path, or None where there is none or a damaged one, which is noted."""
        try:
            return self._parsed(_content(path), path)
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

    def _parsed(self, text: bytes, path: Path) -> Record:
        """The record that a text at a path is; raises `TooNew` or `Damaged`."""
        record = Record.from_json(text)
        if self.path(record.cell, record.seed) != path:
            raise Damaged(f"it belongs at {self.path(record.cell, record.seed)}")
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
                self.damaged[path] = (
                    f"it cannot be read: {error.__cause__.strerror or error.__cause__}"
                )
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
    if not path.is_file() and path.exists():
        raise Damaged("it is no file")
    return read_shared(path)


def _stays(finished: Record | None, record: Record) -> bool:
    """True if a finished record keeps its place when another is written."""
    return finished is not None and (
        record.status == "failed" or not changes(finished.code, record.code)
    )


def _copy(path: Path, to: Path) -> None:
    """Copy a file to a path, or to the first of `to-2`, `to-3`, ... that is not taken, which no other process then takes."""
    content = read_shared(path)
    for name in (to, *(to.with_name(f"{to.name}-{number}") for number in range(2, 1000))):
        try:
            with name.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            if name.read_bytes() != content:
                continue
        return
    raise FileExistsError(f"{to} and all of its kind are taken")


def takes_no_more(folder: Path, error: OSError, unwritten: str = "") -> UserError:
    """The error of a store that is full, or that may no longer be written to."""
    return UserError(
        f"Records are written to --out, and {folder} takes no more: {error}. What was written before is kept. "
        f"{unwritten}Make room, or put right who may write; then the same command goes on."
    )


def read_shared(path: Path) -> bytes:
    """What is in a file; a network file system may say that it has just been replaced, and then it is opened again."""
    for _ in range(9):
        try:
            return path.read_bytes()
        except OSError as error:  # noqa: PERF203 - it is rare
            if error.errno != errno.ESTALE:
                raise
    return path.read_bytes()


def _linked(file: Path, name: Path) -> bool:
    """Give a file another name, unless that is taken; the file system sees to it that it never is between look and link."""
    try:
        os.link(file, name)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _copied(file, name)  # as good as it gets without links
    return True


NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
"""What a file system says that has no links, such as FAT."""


def _copied(file: Path, name: Path) -> bool:
    if name.exists():
        return False
    with tempfile.NamedTemporaryFile(
        prefix=".", suffix=".tmp", dir=name.parent, delete=False
    ) as copy:
        copy.write(file.read_bytes())
    Path(copy.name).chmod(0o644)
    Path(copy.name).replace(name)
    return True


def _now(folder: Path) -> int:
    """The time of the file system's own clock, in nanoseconds."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_ctime_ns
