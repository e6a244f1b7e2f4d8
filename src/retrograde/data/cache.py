"""The user's cache folder, and files that are kept in it."""

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def cache_folder() -> Path:
    """Where retrograde keeps what it can fetch or make again."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "retrograde"
    except RuntimeError:  # nobody's home is known, as in some containers
        return Path(tempfile.gettempdir(), "retrograde")


def keep(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file of the cache so that it is there whole or not at all; where it cannot be, it is made again the next time."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as folder:
            whole = Path(folder) / path.name
            write(whole)
            whole.replace(path)
