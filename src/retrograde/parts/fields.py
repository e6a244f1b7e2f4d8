"""Types of settings."""

import re
from typing import Annotated

from pydantic import BeforeValidator, Field


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    words = re.split(r"[,\s]+", value.strip())
    return [word for word in words if word]


def _number(value: object) -> object:
    # Python counts a truth value as an integer.
    if isinstance(value, bool):
        raise ValueError("Input should be a number, not a truth value")
    return value


MOST = 10**9
"""The largest whole number of a setting."""


SEEDS = 10_000
"""Maximum number of replicates of one cell."""
LONGEST_TIMEOUT = 1_000_000
"""Seconds: eleven days; the system waits no longer than twice that."""


Rate = Annotated[float, BeforeValidator(_number), Field(gt=0, allow_inf_nan=False)]
"""A finite number above 0."""


Count = Annotated[int, BeforeValidator(_number), Field(ge=1, le=MOST)]
"""A whole number, at least 1."""


Limit = Annotated[int, BeforeValidator(_number), Field(ge=0, le=MOST)]
"""A whole number, at least 0."""


Steps = Annotated[int, BeforeValidator(_number), Field(ge=0, le=1000)]
"""Number of inner steps, at least 0.

All of them are one computation, and its memory grows with each step.
"""


NonNegative = Annotated[float, BeforeValidator(_number), Field(ge=0, allow_inf_nan=False)]
"""A finite number, at least 0."""


Bound = Annotated[NonNegative, "0 is a case of its own"]
"""A finite number; 0 means no bound."""


Share = Annotated[float, BeforeValidator(_number), Field(gt=0, le=1)]
"""A number above 0, at most 1."""


Fraction = Annotated[float, BeforeValidator(_number), Field(ge=0, lt=1)]
"""A number, at least 0 and below 1."""


Decay = Annotated[float, BeforeValidator(_number), Field(gt=0, lt=1)]
"""A number above 0 and below 1: the share of a value that remains."""


def _none(value: object) -> object:
    return None if isinstance(value, str) and value.lower() == "none" else value


MaybeDecay = Annotated[Decay | None, BeforeValidator(_none)]
"""A number above 0 and below 1, or None."""


Whole = Annotated[int, BeforeValidator(_number), Field(ge=-MOST, le=MOST)]
"""A whole number of either sign."""


Ints = Annotated[tuple[Whole, ...], BeforeValidator(_split)]
"""Whole numbers; as text, separated by commas."""


def _split_classes(value: object) -> object:
    if isinstance(value, str):
        words = re.split(r"[,\s]+", value.strip())
        # A name may hold spaces, and numbers may be separated by them.
        numbers = all(re.fullmatch("-?[0-9]+", word) for word in words)
        value = [word.strip() for word in (words if numbers else value.split(","))]
        value = [word for word in value if word]
    if not isinstance(value, list | tuple):
        return value
    if any(isinstance(word, str) and "," in word for word in value):
        raise ValueError("A name with a comma is no setting: give the number of the class")
    return [int(word) if _is_number(word) else word for word in value]


def _is_number(word: object) -> bool:
    return isinstance(word, str) and re.fullmatch("-?[0-9]+", word) is not None


Classes = Annotated[tuple[Whole | str, ...], BeforeValidator(_split_classes)]
"""Classes by their numbers, from 0, or by their names; as text, separated by commas.

A name that looks like a number is a number.
"""


Rates = Annotated[tuple[Rate, ...], BeforeValidator(_split)]
"""Finite numbers above 0; as text, separated by commas."""


Numbers = Annotated[
    tuple[Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)], ...],
    BeforeValidator(_split),
]
"""Finite numbers; as text, separated by commas."""


def _split_texts(value: object) -> object:
    return [word for word in value.split(",") if word] if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_split_texts)]
"""Texts without commas; as one text, separated by commas."""


def _split_sizes(value: object) -> object:
    if not isinstance(value, str):
        return value
    # In the name of a model, sizes are separated by dashes.
    return re.split("[-,]", value) if value else []


def _size(value: object) -> object:
    # Zeros in front would be another name for the same model.
    if isinstance(value, str) and not re.fullmatch("[1-9][0-9]*", value):
        raise ValueError("Input should be a whole number, at least 1, without zeros in front")
    return _number(value)


Size = Annotated[int, BeforeValidator(_size), Field(ge=1)]
"""A whole number, at least 1: the width of a layer."""


Sizes = Annotated[tuple[Size, ...], BeforeValidator(_split_sizes)]
"""Whole numbers, at least 1; as text, separated by dashes or commas."""
