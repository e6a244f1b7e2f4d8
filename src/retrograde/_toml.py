"""The reader of TOML: the standard library's, which Python 3.10 lacks, kept from what would stop it."""

import re
import sys
from pathlib import Path
from typing import Any

from retrograde.errors import UserError
from retrograde.paths import read_bytes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["read_toml", "tomllib"]

BYTES = 200_000
"""The size of a TOML file that is read, in a few seconds at worst; the largest suite that ships has a thirtieth of it."""
PARTS = 30
"""Parts of a dotted key: the reader's memory grows with their square."""
_PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
_LONG_KEY = re.compile(
    rf"(?:^[ \t]*(?:\[+[ \t]*)?|[{{,][ \t]*)(?:{_PART}[ \t]*\.[ \t]*){{{PARTS}}}", re.MULTILINE
)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The content of a TOML file of the user's, which an error calls `what`; raises `UserError` where it cannot be read."""
    content = read_bytes(path, BYTES)
    try:
        text = content.decode("utf-8-sig")  # some editors write a byte-order mark first
        if _LONG_KEY.search(text):
            raise UserError(f"{what} {path} is not valid TOML: a key has {PARTS} parts or more.")
        return tomllib.loads(text)
    except RecursionError:
        raise UserError(
            f"{what} {path} is not valid TOML: it is nested too deeply. Write plain lists."
        ) from None
    except (
        ValueError
    ) as error:  # faults of TOML and UTF-8 are some; so are integers of thousands of digits
        raise UserError(f"{what} {path} is not valid TOML: {error}.") from None
