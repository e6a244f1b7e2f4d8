"""A part and its settings as text, `NAME:key=value,...`, and digests of settings."""

import hashlib
import json
import re
from ast import literal_eval
from typing import Any

from retrograde.errors import UserError, shown


def literal(value: object) -> Any:
    """The value that a text stands for: a number, a truth value, None, several of these, else the text itself."""
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, str):
        return value
    try:
        return literal_eval(value.title() if value.lower() in ("true", "false", "none") else value)
    except (
        ValueError,
        TypeError,
        SyntaxError,
        MemoryError,
        RecursionError,
    ):  # as Python's documentation of it lists them
        return value


def as_text(value: object) -> str:
    """A setting as the command line takes it."""
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse(spec: str) -> tuple[str, dict[str, str]]:
    """Read `NAME[:key=value,...]`; a value may itself hold commas, as in `class_order=3,1,2`."""
    name, _, rest = spec.partition(":")
    pairs = re.split(r",(?=\s*[A-Za-z_]\w*\s*=)", rest) if rest else []
    settings: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UserError(
                f"Settings are written NAME:key=value,key=value; {shown(spec)} has {shown(pair)}."
            )
        if key.strip() in settings:
            raise UserError(
                f"A setting is given once; {shown(spec)} has {shown(key.strip())} twice."
            )
        settings[key.strip()] = value.strip()
    return name.strip(), settings


def write(name: str, changed: str) -> str:
    """The inverse of `parse`."""
    return f"{name}:{changed}" if changed else name


_JSON = json.JSONEncoder(
    sort_keys=True, separators=(",", ":")
)  # made once, for every record's path is a digest


def digest(value: object) -> str:
    """Twelve hexadecimal digits that identify a JSON value."""
    return hashlib.sha256(_JSON.encode(value).encode()).hexdigest()[:12]
