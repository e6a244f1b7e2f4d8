"""The store of records: a folder, indexed by the paths of its files."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain, count
from pathlib import Path

from retrograde.errors import UserError
from retrograde.parts.provenance import version_digest
from retrograde.paths import write_whole
from retrograde.records.cell import CellSpec
from retrograde.records.record import Damaged, OtherSchema, Record
from retrograde.records.sidecars import path_of


class Store:
    """Records at `DIR/<benchmark>/<strategy>/<settings hash>/seed-<n>.json`.

    Attributes:
        folder: the folder DIR.
        damaged: records and folders that could not be read, with the reason.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: dict[Path, str] = {}
        self._began = 0

    def path(self, cell: CellSpec, seed: int) -> Path:
        """The path of the record of one replicate."""
        return self.folder.joinpath(cell.path, f"seed-{seed}.json")

    def check_writable(self) -> None:
        """Check that records can be written.

        Raises:
            UserError: they cannot.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise UserError(
                f"Records are written to a store, and {self.folder} cannot be written: {error}."
            ) from error

    def check_layout(self) -> None:
        """Raise `UserError` if another version of retrograde made the first record of the store."""
        first = next(self.folder.glob("*/*/*/seed-*.json"), None)
        if first is not None:
            self.read(first)
            # Damage matters only to a run that needs this record.
            self.damaged.pop(first, None)

    def begin(self) -> None:
        """Note the time by the clock of the server that keeps the store, for `newer`."""
        # Without a store, all records will be newer; `check_writable` reports one that fails.
        with suppress(OSError):
            self._began = _now(self.folder)

    def newer(self, path: Path) -> bool:
        """True if a file exists that got its name after `begin`, or at the same clock tick."""
        try:
            # The text is written before the file gets its name, which changes only the status.
            return path.stat().st_ctime_ns >= self._began
        except (FileNotFoundError, NotADirectoryError):
            return False

    def write(self, record: Record) -> None:
        """Write a record atomically: the file is complete or does not exist.

        A finished record is never replaced by one of the same files that keeps no more beside it,
        or by one that failed. If other files made it, it is first copied to
        `seed-<n>.superseded-<version>`. What is kept beside a record is written before it.
        """
        path = self.path(record.cell, record.seed)
        if _stays(self.finished(record.cell, record.seed), record):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        for name, content in record.files.items():
            write_whole(path_of(path, name), content)
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

    def restate(self, record: Record) -> None:
        """Replace a record by one with the same results that says more about them."""
        write_whole(self.path(record.cell, record.seed), record.to_json().encode())

    def _published(
        self,
        record: Record,
        temporary: Path,
        path: Path,
    ) -> bool:
        """Give a record's complete file its name, unless a record that stays has it.

        Other runs may write the same record meanwhile, so no file is moved or replaced because of
        what an earlier look showed. A new record comes in by a link, which never replaces a file. A
        damaged one gets a second name, and is examined under that name.

        Returns:
            False if the attempt must be repeated.
        """
        linked = _linked(temporary, path)
        self.damaged.pop(path, None)
        if linked:
            return True
        # Reading it may add it to `damaged` again.
        finished = self.finished(record.cell, record.seed)
        if _stays(finished, record):
            return True
        if finished and finished.outdated_by(record.cell, record.sources):
            _copy(path, path.with_suffix(f".superseded-{version_digest(finished.sources)}"))
        if path in self.damaged and not self._set_aside(path):
            return False
        self.damaged.pop(path, None)
        temporary.replace(path)
        return True

    def _set_aside(self, path: Path) -> bool:
        """Give a damaged record a second, free name.

        Returns:
            False if it no longer exists or is no longer damaged.
        """
        first = path.with_name(f"{path.stem}.damaged")
        numbered = (path.with_name(f"{first.name}-{number}") for number in count(2))
        try:
            aside = next(name for name in chain([first], numbered) if _linked(path, name))
        except FileNotFoundError:
            return False
        try:
            self._parsed(read_shared(aside), path)
        except Damaged:
            return True
        except OtherSchema:
            # The next reading raises the error.
            pass
        # Another run has replaced the damaged record by a whole one, which keeps its only name.
        aside.unlink()
        return False

    def read(self, path: Path) -> Record | None:
        """The record at a path; None if there is none, or a damaged one, which is noted.

        Raises:
            UserError: another version wrote the record, or it cannot be read.
        """
        try:
            return self._parsed(_content(path), path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OtherSchema as error:
            raise UserError(f"{path} was written by {error}") from None
        except OSError as error:
            raise UserError(f"The record {path} cannot be read: {error}.") from error
        except Damaged as error:
            self.damaged[path] = str(error)
            return None

    def _parsed(self, text: bytes, path: Path) -> Record:
        """The record in the text of a file; raises `OtherSchema` or `Damaged`."""
        record = Record.from_json(text)
        proper = self.path(record.cell, record.seed)
        # A file that was copied by hand would count for another cell or seed.
        if proper != path:
            raise Damaged(f"it belongs at {proper}")
        return replace(record, place=path, files={})

    def finished(
        self,
        cell: CellSpec,
        seed: int,
    ) -> Record | None:
        """The record of a replicate, if it is done or diverged.

        A failed or damaged record does not count.
        """
        record = self.read(self.path(cell, seed))
        return None if record is None or record.status == "failed" else record

    def __iter__(self) -> Iterator[Record]:
        """All records, in the order of their paths.

        A file that is damaged or cannot be read is noted in `damaged` and skipped.
        """
        for path in self._paths():
            try:
                record = self.read(path)
            except UserError as error:
                cause = error.__cause__
                # A record of a later version stops the report, which would lack it.
                if not isinstance(cause, OSError):
                    raise
                self.damaged[path] = f"it cannot be read: {cause.strerror or cause}"
                continue
            if record is not None:
                yield record

    def _paths(self) -> Iterator[Path]:
        """The paths of records, sorted.

        A folder that cannot be listed is noted in `damaged`, so that its records are not missed
        silently.
        """
        folders = [self.folder]
        # Three levels: benchmark, strategy, settings.
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
    """The content of a regular file."""
    # Reading a pipe would wait, perhaps for ever.
    if not path.is_file() and path.exists():
        raise Damaged("it is no file")
    return read_shared(path)


def _stays(finished: Record | None, record: Record) -> bool:
    """True if a finished record keeps its place when another is written."""
    if finished is None:
        return False
    if record.status == "failed":
        return True
    return not finished.outdated_by(record.cell, record.sources) and finished.keeps(record.files)


def _copy(path: Path, to: Path) -> None:
    """Copy a file to a path, or to the first of `to-2`, `to-3`, ... that is free.

    The file is created exclusively, so no other process takes the same name.
    """
    content = read_shared(path)
    numbered = (to.with_name(f"{to.name}-{number}") for number in range(2, 1000))
    for name in chain([to], numbered):
        try:
            with name.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            # A file with the same content is the same copy, perhaps by another process.
            if name.read_bytes() != content:
                continue
        return
    raise FileExistsError(f"{to} and all of its kind are taken")


def takes_no_more(
    folder: Path,
    error: OSError,
    unwritten: str = "",
) -> UserError:
    """The error of a store that is full, or that can no longer be written to.

    Args:
        folder: the store.
        error: the reason.
        unwritten: a sentence on records that could not be written, with a space at its end.
    """
    return UserError(
        f"Records are written to a store, and {folder} takes no more: {error}. "
        f"What was written before is kept. {unwritten}"
        "Make room, or put right who may write; then the same command goes on."
    )


def read_shared(path: Path) -> bytes:
    """The content of a file that another process may replace meanwhile.

    A network file system then raises ESTALE, and the file is opened again.
    """
    for _ in range(9):
        try:
            return path.read_bytes()
        # The error is rare, so the cost of `try` in a loop does not matter.
        except OSError as error:  # noqa: PERF203
            if error.errno != errno.ESTALE:
                raise
    return path.read_bytes()


def _linked(file: Path, name: Path) -> bool:
    """Give a file another name; False if the name is taken.

    The file system guarantees that no other process takes the name between look and link.
    """
    try:
        os.link(file, name)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # Without links there is no exclusive way to give a whole file its name.
        return _copied(file, name)
    return True


NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
"""Error numbers of a file system without links, such as FAT."""


def _copied(file: Path, name: Path) -> bool:
    """Copy a file to a name; False if the name is taken."""
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
    """The time of the file system's clock, in nanoseconds."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_ctime_ns
