"""Types of the values in a record; they admit only values that a report can compute with."""

import math
from typing import Annotated

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

MAX_NUMBER = 1e100
"""The largest number: above the range of single precision, and with a finite square."""
MAX_COUNT = 2**53
"""The largest count; a float represents it exactly."""
MAX_SECONDS = 1e10
"""The longest duration in seconds, about three centuries."""

Whole = Annotated[int, Field(ge=0, le=MAX_COUNT)]
"""A count."""
Number = Annotated[int, Field(le=MAX_COUNT)]
"""A whole number whose lower bound depends on others."""
Positive = Annotated[int, Field(ge=1, le=MAX_COUNT)]
"""A count of at least 1."""
Finite = Annotated[float, Field(ge=-MAX_NUMBER, le=MAX_NUMBER, allow_inf_nan=False)]
"""A number that is neither NaN nor infinite."""
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
"""A duration in seconds."""
Length = Annotated[float, Field(ge=0, le=MAX_NUMBER, allow_inf_nan=False)]
"""A finite number, at least 0."""
Cosine = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
"""A cosine."""
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A number from 0 to 1."""
Digest = Annotated[str, Field(pattern=r"^([0-9a-f]{12})?$")]
"""Twelve hexadecimal digits, or an empty text."""


OPEN = with_config(ConfigDict(extra="allow"))
"""Decorator of a dictionary type that admits further keys; their values are kept as they are."""


@OPEN
class Timing(TypedDict, total=False):
    """One execution mode that autotuning measured."""

    replicates: Positive
    threads: Positive
    compiled: bool
    warm_up: Seconds
    training: Seconds


@OPEN
class Continued(TypedDict, total=False):
    """The shorter stream that a run went on from, and the number of its experiences."""

    benchmark: str
    experiences: Whole


@OPEN
class How(TypedDict, total=False):
    """The execution of a replicate: `replicates` trained together, for `steps` steps."""

    backend: str
    compiled: bool
    note: str | None
    replicates: Positive
    steps: Whole
    timings: list[Timing]
    continued: Continued


@OPEN
class Place(TypedDict, total=False):
    """The machine and the versions of libraries that produced a record."""

    cpu: str
    cores: Positive | None
    system: str
    device: str
    threads: Positive
    jobs: Positive
    python: str
    torch: str
    numpy: str
    retrograde: str
    commit: str


@OPEN
class Reported(TypedDict, total=False):
    """Settings of benchmarks that reports read; other settings may have any type."""

    scenario: str
    probe_examples: Whole
    probe_every: Whole
    eval_every: Whole
    test_tasks: Positive
    transductive: bool


def odd_number(value: object) -> bool:
    """True if a JSON value contains NaN or an infinite number at any depth."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(odd_number, value.values()))
    return isinstance(value, list) and any(map(odd_number, value))
