"""Files and folders that users name: only regular ones are read."""

import stat
from pathlib import Path
from typing import Literal

from retrograde.errors import UserError, shown

Kind = Literal["file", "folder", "nothing"]


def kind(path: Path) -> Kind:
    """The kind of what lies at a path; raises `UserError` for a pipe, a device or a socket, which may never end."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "nothing"
    except (
        OSError,
        ValueError,
    ) as error:  # no permission, a name too long, a circle of links, a null character
        raise UserError(
            f"A path names a file or a folder; {shown(str(path))} cannot be looked up: {reason(error)}."
        ) from error
    if stat.S_ISDIR(mode):
        return "folder"
    if not stat.S_ISREG(mode):
        raise UserError(
            f"Only regular files and folders are read; {path} is a pipe, a device or a socket. Copy it to a file."
        )
    return "file"


def home_path(text: str) -> Path:
    """The path that a text stands for, where `~` is the home folder; raises `UserError` for an unknown user's."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"~ stands for a home folder, and there is none for {shown(text)}. Write the whole path."
        ) from error


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a regular file; raises `UserError` where it has more bytes than that, or cannot be read."""
    if kind(path) != "file":
        raise UserError(f"A file is read, and there is none at {path}.")
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {reason(error)}. Let this user read it."
        ) from error
    if len(content) > most:
        raise UserError(
            f"Such a file has at most {most} bytes; {path} has {path.stat().st_size}. Make it smaller."
        )
    return content


def reason(error: Exception) -> str:
    """The fault without the path, which the error names already."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
