"""Types of the values in a record: its schema admits only what a report can compute with."""

import math
from typing import Annotated

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

LARGEST = 1e100
"""The largest number: more than single precision can make, and its square is finite too."""
MOST = 2**53
"""The largest count, which a float holds exactly."""
LONGEST = 1e10
"""The longest time in seconds: three centuries."""

Whole = Annotated[int, Field(ge=0, le=MOST)]
"""A count."""
Number = Annotated[int, Field(le=MOST)]
"""A whole number whose lower bound depends on others."""
Positive = Annotated[int, Field(ge=1, le=MOST)]
"""A count of what cannot be missing."""
Finite = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
"""A number, not NaN nor infinite."""
Seconds = Annotated[float, Field(ge=0, le=LONGEST, allow_inf_nan=False)]
"""A duration."""
Length = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
"""A finite number, at least 0."""
Cosine = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
"""A cosine."""
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A number from 0 to 1."""
Digest = Annotated[str, Field(pattern=r"^([0-9a-f]{12})?$")]
"""Twelve hexadecimal digits, or nothing."""


OPEN = with_config(ConfigDict(extra="allow"))
"""Marks a dictionary that may have keys beside those named, which are kept as they are."""


@OPEN
class Way(TypedDict, total=False):
    """One way of training that a trial measured."""

    together: Positive
    threads: Positive
    compiled: bool
    ready: Seconds
    rest: Seconds


@OPEN
class How(TypedDict, total=False):
    """How a replicate was trained; `replicates` trained together, for `steps` steps."""

    backend: str
    compiled: bool
    note: str | None
    replicates: Positive
    steps: Whole
    trial: list[Way]


@OPEN
class Place(TypedDict, total=False):
    """The machine and the versions that a record comes from."""

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
    """The settings that every benchmark has and reports read; other settings are anything."""

    scenario: str
    probe: Whole
    probe_every: Whole
    test_every: Whole
    test_tasks: Positive
    transductive: bool


def odd_number(value: object) -> bool:
    """True if a number anywhere in a JSON value is NaN or infinite."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(odd_number, value.values()))
    return isinstance(value, list) and any(map(odd_number, value))
