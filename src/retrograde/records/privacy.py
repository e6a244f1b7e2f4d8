"""Records without a trace of who ran them: they are shared, and folders, users and hosts are nobody's business."""

import getpass
import os
import re
import socket
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_PATH = re.compile(r"(?:~[\w.-]*|[A-Za-z]:|\.\.)?[/\\].*")
_INSIDE = re.compile(
    r"(?<![\w.:/\\…])(?:~[\w.-]*|[A-Za-z]:)?(?:[/\\]+[^\s/\\'\"<>|:;,()\[\]]+){2,}[/\\]?"
)
ANYBODY = frozenset({"root", "user", "localhost", ""})
"""Names of users and hosts that tell nothing."""


def without_folder(value: Any) -> Any:
    """A setting without the folder of a path: of `/home/me/x.npz` is left `…/x.npz`; anything else as it is."""
    if isinstance(value, list | tuple):
        return [without_folder(each) for each in value]
    if not isinstance(value, str) or not _PATH.fullmatch(value):
        return value
    name = re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    return f"…/{name}" if name else value


def local(settings: Mapping[str, Any]) -> bool:
    """True if a setting names a place outside the folder in which the run was started."""
    return any(
        without_folder(value) != value
        for value in settings.values()
        if isinstance(value, str | list)
    )


def scrubbed(text: Any) -> Any:
    """A text that names no folder of this machine, no user and no host; anything else as it is."""
    if not isinstance(text, str):
        return text
    for place in _places():
        text = text.replace(place, "…")
    text = _INSIDE.sub(lambda found: without_folder(found[0]), text)
    for name, instead in _names().items():
        text = re.sub(rf"(?<![\w]){re.escape(name)}(?![\w])", instead, text)
    return text


def _places() -> list[str]:
    """The folders of this user and this run, the longest first; spaces in their names would hide them from `_INSIDE`."""
    found = {str(Path.cwd()), os.path.expanduser("~")}  # noqa: PTH111 - `Path.home` raises where there is none
    return sorted((place for place in found if place.count(os.sep) > 1), key=len, reverse=True)


@cache
def _names() -> dict[str, str]:
    """The user's and the host's name, and what stands in their place."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user without a name, as in a container
        user = ""
    host = socket.gethostname()
    found = {user: "<user>", host: "<host>", host.partition(".")[0]: "<host>"}
    return {
        name: instead for name, instead in found.items() if name not in ANYBODY and len(name) > 2
    }
