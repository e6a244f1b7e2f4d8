"""`UserError`, the one error that people see, and helpers for its text."""

import re
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Something that the user can put right; shown without a traceback.

    Its text states the rule, the value received and the remedy.
    """


class DataWarning(UserWarning):
    """Data that can be read, and may not be what the user means."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A remedy for an unknown name: the nearest known ones in any capitals, or all of them.

    Example:
        >>> rg.nearest("replya", ["replay", "finetune"])
        'Did you mean replay?'
    """
    names = sorted(known)
    folded = {each.casefold() for each in names}
    close = [name.casefold()]
    # A name in other capitals is the one that is meant, however short it is.
    if close[0] not in folded:
        close = get_close_matches(close[0], sorted(folded), n=3, cutoff=0.5)
    meant = [each for near in close for each in names if each.casefold() == near]
    if meant:
        return f"Did you mean {' or '.join(meant)}?"
    return f"Known: {', '.join(names)}." if names else "None is known."


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def on_one_line(text: str) -> str:
    """The text with `�` in place of line breaks and other control characters.

    A terminal or a table would obey these characters.
    """
    return _CONTROL.sub("�", text)


MAX_SHOWN = 100
"""Maximum number of characters of a value that an error quotes."""


def shown(value: object) -> str:
    """A value as an error quotes it: its `repr`, cut to `MAX_SHOWN` characters."""
    try:
        text = repr(value)
    except Exception:
        # An author's `repr` may raise anything, and Python writes no integer of more than some
        # 4 300 digits.
        text = f"a {type(value).__name__} that cannot be written"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}... ({len(text)} characters)"


def gigabytes(count: float) -> str:
    """A number of bytes as text, in gigabytes."""
    return f"{count / 1e9:.1f} GB" if count < 1e15 else f"{count:.0e} bytes"
