"""Files and folders that users name: only regular ones are read."""

import stat
import tempfile
from pathlib import Path
from typing import Literal

from retrograde.errors import UserError, shown

Kind = Literal["file", "folder", "nothing"]


def kind(path: Path) -> Kind:
    """The kind of entry at a path.

    Raises:
        UserError: it is a pipe, a device or a socket, whose content may never end, or it cannot be
            looked up.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "nothing"
    # No permission, a name too long, a circle of links, a null character.
    except (OSError, ValueError) as error:
        raise UserError(
            f"A path names a file or a folder; {shown(str(path))} cannot be looked up: "
            f"{reason(error)}."
        ) from error
    if stat.S_ISDIR(mode):
        return "folder"
    if not stat.S_ISREG(mode):
        raise UserError(
            f"Only regular files and folders are read; {path} is a pipe, a device or a socket. "
            "Copy it to a file."
        )
    return "file"


def home_path(text: str) -> Path:
    """The path that a text stands for, with `~` as the home folder.

    Raises:
        UserError: the text names the home folder of an unknown user.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"~ stands for a home folder, and there is none for {shown(text)}. "
            "Write the whole path."
        ) from error


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Raises:
        UserError: there is no such file, it is larger, or it cannot be read.
    """
    if kind(path) != "file":
        raise UserError(f"A file is read, and there is none at {path}.")
    try:
        with path.open("rb") as file:
            # One byte more tells a file that is too large from one that just fits.
            content = file.read(most + 1)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {reason(error)}. Let this user read it."
        ) from error
    if len(content) > most:
        size = path.stat().st_size
        raise UserError(
            f"Such a file has at most {most} bytes; {path} has {size}. Make it smaller."
        )
    return content


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in place of one that has the name; a reader sees all of either."""
    with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as folder:
        whole = Path(folder) / path.name
        whole.write_bytes(content)
        whole.replace(path)


def reason(error: Exception) -> str:
    """The reason for an error, without the path that its text may hold."""
    strerror = error.strerror if isinstance(error, OSError) else None
    return strerror or str(error)
