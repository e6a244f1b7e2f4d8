"""Types of settings."""

import re
from typing import Annotated

from pydantic import BeforeValidator, Field


def _split(value: object) -> object:
    return [v for v in re.split(r"[,\s]+", value.strip()) if v] if isinstance(value, str) else value


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("Input should be a number, not a truth value")
    return value


MOST = 10**9


SEEDS = 10_000
"""Replicates of one cell."""


Rate = Annotated[float, BeforeValidator(_number), Field(gt=0, allow_inf_nan=False)]
"""A finite number above 0."""


Count = Annotated[int, BeforeValidator(_number), Field(ge=1, le=MOST)]
"""A whole number, at least 1."""


Limit = Annotated[int, BeforeValidator(_number), Field(ge=0, le=MOST)]
"""A whole number; 0 means no limit."""


Steps = Annotated[int, BeforeValidator(_number), Field(ge=0, le=1000)]
"""Inner steps, at least 0; all of them are one computation, whose memory grows with each."""


NonNegative = Annotated[float, BeforeValidator(_number), Field(ge=0, allow_inf_nan=False)]
"""A finite number, at least 0."""


Bound = Annotated[NonNegative, "0 is a case of its own"]
"""A finite number; 0 means no bound."""


Share = Annotated[float, BeforeValidator(_number), Field(gt=0, le=1)]
"""A number above 0, at most 1."""


Whole = Annotated[int, BeforeValidator(_number), Field(ge=-MOST, le=MOST)]
"""A whole number of either sign."""


Ints = Annotated[tuple[Whole, ...], BeforeValidator(_split)]
"""Whole numbers; as text, separated by commas."""
