"""Names of rows in the table of benchmarks, and the sides of a comparison."""

from collections.abc import Callable
from typing import Any, NamedTuple


def way(compiled: bool, replicates: int) -> str:
    """Name how ours ran: compiled or eager, and how many replicates together."""
    step = "compiled" if compiled else "eager"
    return (
        f"{step}, 1 replicate" if replicates == 1 else f"{step}, {replicates} replicates together"
    )


def ours(what: str, compiled: bool, replicates: int) -> str:
    """Name a figure of ours that is each replicate's share."""
    share = "" if replicates == 1 else ", each"
    return f"{what}, {way(compiled, replicates)}{share}"


TENSORS, FILES = "on tensors", "on its SplitMNIST"
"""Where Avalanche takes its examples from: tensors in memory, or images that are decoded and normalised one by one."""


def avalanches(what: str, source: str) -> str:
    """Name a figure of Avalanche by where its examples come from."""
    return f"Avalanche's {what} {source}"


class Side(NamedTuple):
    """One side of a comparison: `start` is not timed, and `work` takes what it returns."""

    start: Callable[[], Any]
    work: Callable[[Any], Any]
    things: int
    against: tuple[str, ...] = ()
