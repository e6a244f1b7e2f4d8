"""Datasets of images that are decoded once and kept as arrays in the cache folder."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from retrograde.data.cache import cache_folder, keep
from retrograde.data.dataset import Dataset
from retrograde.data.files import NAMES, arrays, walked
from retrograde.errors import UserError
from retrograde.paths import kind

DIGITS = 12
"""The number of hexadecimal digits that identify a file's place or content."""
BLOCK = 2**20
"""Bytes of a file that are read at a time."""


def decoded_once(name: str, sources: list[Path], decode: Callable[[], Dataset]) -> Dataset:
    """The dataset of some zips or folders from the cache folder, or decoded and kept there.

    A zip is known by its bytes, a folder by the names, sizes and times of its files: a change of
    either is seen. A damaged file of the cache is made anew. What was kept of the same zips and
    folders before a change is deleted.

    Args:
        name: The name of the file of the cache; another one if `decode` gives other arrays.
        sources: The zips and folders.
        decode: Reads them. Its examples are bytes, and its scale is not kept: 1 / 255, unless the
            caller sets another one.

    Raises:
        UserError: A file cannot be read.
    """
    places = [str(source.resolve()) for source in sources]
    start = f"{name}-{_digits(repr(places).encode())}-"
    path = cache_folder() / f"{start}{_digits(*map(_state, sources))}.npz"
    # A file that is not there, or damaged: an archive of arrays has checksums.
    with suppress(UserError):
        return replace(arrays(path), name=name)
    data = replace(decode(), name=name)
    content = data.arrays
    if data.class_names:
        content[NAMES] = np.array(data.class_names)
    keep(path, lambda file: np.savez(file, **content))
    _forget_others(path, start)
    return data


def _digits(*parts: bytes) -> str:
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part)
    return sha.hexdigest()[:DIGITS]


def _state(source: Path) -> bytes:
    """The content of a zip as a digest, or the names, sizes and times of the files in a folder."""
    if kind(source) == "folder":
        # The content of many small files would take long to read.
        return repr([(str(file), _size_and_time(file)) for file in sorted(walked(source))]).encode()
    try:
        sha = hashlib.sha256()
        with source.open("rb") as file:
            # Python 3.10 has no `hashlib.file_digest`
            while block := file.read(BLOCK):
                sha.update(block)
        return sha.digest()
    except OSError:  # `decode` has the words for it
        return b""


def _size_and_time(file: Path) -> tuple[int, int] | None:
    """The size and the time of a file; None if it cannot be looked up, for `decode` to report."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _forget_others(path: Path, start: str) -> None:
    """Delete the files of the cache that begin like a path, but for itself."""
    with suppress(OSError):
        for other in path.parent.iterdir():
            if other.name.startswith(start) and other != path:
                other.unlink()
