"""A part and its settings as text, `NAME:key=value,...`, and digests of settings."""

import hashlib
import itertools
import json
import re
from ast import literal_eval
from collections.abc import Mapping
from typing import Any

from retrograde.errors import UserError, shown


def literal(value: object) -> Any:
    """The value that a text stands for.

    It is a number, a truth value, None or a tuple of these; any other text stands for itself.
    """
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, str):
        return value
    # People write these constants in lower case as well.
    constant = value.lower() in ("true", "false", "none")
    try:
        return literal_eval(value.title() if constant else value)
    # The errors of `literal_eval` that Python's documentation lists.
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return value


def as_text(value: object) -> str:
    """A setting as the command line accepts it."""
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def words(text: str) -> tuple[str, ...]:
    """The words of a list that is separated by commas."""
    stripped = [word.strip() for word in text.split(",")]
    return tuple(word for word in stripped if word)


def parse(spec: str) -> tuple[str, dict[str, str]]:
    """Read `NAME[:key=value,...]`; a value may itself hold commas, as in `class_order=3,1,2`.

    Returns:
        The name, and the text of each setting.

    Raises:
        UserError: a setting is not written as key=value, or is given twice.

    Example:
        >>> rg.parse("split:tasks=2,class_order=3,1,2,0")
        ('split', {'tasks': '2', 'class_order': '3,1,2,0'})
    """
    name, _, rest = spec.partition(":")
    # A comma separates settings only if the next one's name and `=` follow.
    pairs = re.split(r",(?=\s*[A-Za-z_]\w*\s*=)", rest) if rest else []
    settings: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UserError(
                f"Settings are written NAME:key=value,key=value; {shown(spec)} has {shown(pair)}."
            )
        if key in settings:
            raise UserError(f"A setting is given once; {shown(spec)} has {shown(key)} twice.")
        settings[key] = value.strip()
    return name.strip(), settings


def expanded(spec: str) -> list[str]:
    """All parts of a grid, such as `er:lr=0.1|1,buffer_size=50|200`; the last setting goes first.

    Raises:
        UserError: see `parse`; or a value between bars is empty, or there is a range.
    """
    name, settings = parse(spec)
    choices = {
        key: [choice.strip() for choice in text.split("|")] for key, text in settings.items()
    }
    for key, text in settings.items():
        if range_ends(text):
            raise UserError(
                f"A range is for `retrograde tune` to search; {shown(spec)} has {key}={text}. "
                f"Give a value, or {key}=A|B|C for each of several."
            )
    for key, several in choices.items():
        if len(several) > 1 and not all(several):
            raise UserError(
                f"The values of a grid are written {key}=A|B|C; {shown(spec)} has "
                f"{key}={settings[key]}."
            )
    cells = itertools.product(*choices.values())
    return [write(name, dict(zip(choices, values, strict=True))) for values in cells]


def range_ends(text: str) -> tuple[str, str] | None:
    """The ends of a range of numbers, written `LOW..HIGH`; None if the text is none."""
    low, _, high = text.partition("..")
    return (low, high) if _is_number(low) and _is_number(high) else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def as_pairs(settings: Mapping[str, object]) -> str:
    """Settings as the command line accepts them: `key=value,...`."""
    return ",".join(f"{name}={as_text(value)}" for name, value in settings.items())


def write(name: str, settings: Mapping[str, object]) -> str:
    """The text of a part with some of its settings; the inverse of `parse`."""
    return f"{name}:{as_pairs(settings)}" if settings else name


# Made once, since the path of every record is a digest.
_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def as_json(value: object) -> str:
    """The one text of a JSON value."""
    return _JSON.encode(value)


def digest(value: object) -> str:
    """Twelve hexadecimal digits that identify a JSON value."""
    return hashlib.sha256(as_json(value).encode()).hexdigest()[:12]
