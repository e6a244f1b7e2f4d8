"""The seeds of a run: a number of them, a range or a list."""

from collections.abc import Sequence

from retrograde.errors import UserError, shown
from retrograde.parts.fields import SEEDS

LARGEST = 2**31 - 1
"""The largest seed."""


def seeds_of(given: object) -> Sequence[int]:
    """The seeds that a number of them, a text or a sequence stands for.

    As text, `5` is 0 to 4, `100-104` a range and `3,7,9` a list.

    Raises:
        UserError: It stands for none, for too many, or for one twice.
    """
    seeds = _read(given) if isinstance(given, str) else given
    if isinstance(seeds, int) and not isinstance(seeds, bool) and 1 <= seeds <= SEEDS:
        return range(seeds)
    if isinstance(seeds, Sequence) and all(map(_possible, seeds)):
        distinct = sorted(set(seeds))
        if distinct and len(distinct) == len(seeds) <= SEEDS:
            return distinct
    raise UserError(
        f"seeds is the number of replicates of a cell, from 1 to {SEEDS}, or as many different "
        f"seeds, such as 100-104 or 3,7,9; it was {shown(given)}."
    )


def _read(text: str) -> int | list[int]:
    """The number or the list that a text stands for; an empty list if it is neither."""
    try:
        if "," not in text and "-" not in text:
            return int(text)
        seeds: list[int] = []
        for part in text.split(","):
            low, dash, high = part.partition("-")
            # A range that is far too long is cut, and refused as any that is too long.
            last = min(int(high if dash else low), int(low) + SEEDS)
            seeds += range(int(low), last + 1)
    except ValueError:
        return []
    return seeds


def _possible(seed: object) -> bool:
    # In Python, True is an int: it would pass for one replicate.
    return isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed <= LARGEST
