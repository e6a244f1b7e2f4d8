"""Removal of folders, users and hosts from records, which are shared."""

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
COMMON_NAMES = frozenset({"root", "user", "localhost", ""})
"""Names of users and hosts that identify nobody."""


def without_folder(value: Any) -> Any:
    """A setting without the folder of a path: `…/x.npz` in place of `/home/me/x.npz`.

    Values in a list or a dictionary are treated one by one; anything but a path is returned as it
    is.
    """
    if isinstance(value, list | tuple):
        return [without_folder(item) for item in value]
    if isinstance(value, dict):
        return {name: without_folder(item) for name, item in value.items()}
    if not isinstance(value, str) or not _PATH.fullmatch(value):
        return value
    name = re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    return f"…/{name}" if name else value


def local(settings: Mapping[str, Any]) -> bool:
    """True if a setting names a path outside the folder in which the run was started."""
    # Other types hold no path; a tuple would differ from the list that replaces it.
    candidates = [value for value in settings.values() if isinstance(value, str | list | dict)]
    return any(without_folder(value) != value for value in candidates)


def scrubbed(text: Any) -> Any:
    """The text without folders of this machine, the user's name and the host's.

    A value of another type is returned as it is.
    """
    if not isinstance(text, str):
        return text
    for place in _places():
        text = text.replace(place, "…")
    text = _INSIDE.sub(lambda found: without_folder(found[0]), text)
    for name, instead in _names().items():
        text = re.sub(rf"(?<![\w]){re.escape(name)}(?![\w])", instead, text)
    return text


def _places() -> list[str]:
    """The folders of this user and this run, the longest first.

    `scrubbed` replaces them first, since spaces in their names would hide them from `_INSIDE`.
    """
    # `Path.home` raises where there is no home folder.
    home = os.path.expanduser("~")  # noqa: PTH111
    places = {str(Path.cwd()), home}
    # A folder at the root, such as `/tmp`, tells nothing.
    telling = [place for place in places if place.count(os.sep) > 1]
    return sorted(telling, key=len, reverse=True)


@cache
def _names() -> dict[str, str]:
    """The user's and the host's names, each with its replacement."""
    try:
        user = getpass.getuser()
    # A user may have no name, as in a container.
    except (OSError, KeyError):
        user = ""
    host = socket.gethostname()
    found = {user: "<user>", host: "<host>", host.partition(".")[0]: "<host>"}
    # A name of one or two letters would be replaced in ordinary text as well.
    telling = [name for name in found if name not in COMMON_NAMES and len(name) > 2]
    return {name: found[name] for name in telling}
