"""Safe reading of TOML files: limits on size and keys, and `tomli` for Python 3.10."""

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
"""Maximum size of a TOML file; it is read in a few seconds at worst.

The largest suite that ships has a thirtieth of it.
"""
PARTS = 30
"""Number of parts at which a dotted key is refused: the reader's memory grows with their square."""
_PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
_LONG_KEY = re.compile(
    rf"(?:^[ \t]*(?:\[+[ \t]*)?|[{{,][ \t]*)(?:{_PART}[ \t]*\.[ \t]*){{{PARTS}}}", re.MULTILINE
)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The content of a user's TOML file.

    Args:
        path: the file.
        what: the kind of file, as an error names it.

    Raises:
        UserError: the file cannot be read, is too large, or is not valid TOML.
    """
    content = read_bytes(path, BYTES)
    try:
        # Some editors write a byte-order mark first.
        text = content.decode("utf-8-sig")
        if _LONG_KEY.search(text):
            raise UserError(f"{what} {path} is not valid TOML: a key has {PARTS} parts or more.")
        return tomllib.loads(text)
    except RecursionError:
        raise UserError(
            f"{what} {path} is not valid TOML: it is nested too deeply. Write plain lists."
        ) from None
    # Errors of TOML and UTF-8 are `ValueError`s; so are those of integers of thousands of digits.
    except ValueError as error:
        raise UserError(f"{what} {path} is not valid TOML: {error}.") from None
