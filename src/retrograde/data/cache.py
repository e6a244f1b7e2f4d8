"""The user's cache folder, and the files that are kept in it."""

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def cache_folder() -> Path:
    """The folder for data that retrograde can download or compute again."""
    parent = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(parent).expanduser() / "retrograde"
    except RuntimeError:  # nobody's home is known, as in some containers
        return Path(tempfile.gettempdir(), "retrograde")


def keep(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file of the cache as a whole or not at all.

    A file that cannot be written is not an error: its content is computed again the next time.

    Args:
        path: The file of the cache.
        write: Writes the content to the path that it is given.
    """
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        # In the same folder, so that the move is within one file system and therefore atomic.
        with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as folder:
            whole = Path(folder) / path.name
            write(whole)
            whole.replace(path)
