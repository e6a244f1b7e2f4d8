"""Comparison at a matched level: lines through the points of each replicate, read off where as many as possible reach."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

FEWEST = 2
"""Replicates of a strategy that must reach a level for it to count; one if it has no more."""


class Range(NamedTuple):
    """The levels that a replicate passes through."""

    low: float
    high: float


def spanned(levels: Float[np.ndarray, " point"]) -> Range | None:
    """The range of some levels; None unless two of them differ."""
    known = levels[np.isfinite(levels)]
    if len(known) < 2 or np.ptp(known) == 0:
        return None
    return Range(float(known.min()), float(known.max()))


def common_level(ranges: Mapping[str, Sequence[Range]]) -> float:
    """The level that the most strategies reach, and among such levels the most replicates; NaN if none.

    A strategy reaches a level if `FEWEST` of its replicates do. Ends of ranges cut the axis into pieces. The level is the
    middle of the widest of the best pieces, the lowest of equally wide ones.
    """
    ends = sorted({end for mine in ranges.values() for each in mine for end in each})
    pieces = list(itertools.pairwise(ends))
    if not pieces:
        return float("nan")

    def rank(piece: tuple[float, float]) -> tuple[int, int, float, float]:
        low, high = piece
        reaching = [
            sum(each.low <= low and high <= each.high for each in mine) for mine in ranges.values()
        ]
        needed = [min(FEWEST, len(mine)) for mine in ranges.values()]
        strategies = sum(there >= least > 0 for there, least in zip(reaching, needed, strict=True))
        return strategies, sum(reaching), high - low, -low

    low, high = max(pieces, key=rank)
    return (low + high) / 2


def at_level(x: Float[np.ndarray, " point"], y: Float[np.ndarray, " point"], level: float) -> float:
    """The value at a level of the least-squares line through points; NaN where their range does not reach it."""
    known = np.isfinite(x) & np.isfinite(y)
    reach = spanned(x[known])
    if reach is None or not reach.low <= level <= reach.high:
        return float("nan")
    centred = x[known] - x[known].mean()
    slope = centred @ y[known] / (centred @ centred)
    return float(y[known].mean() + slope * (level - x[known].mean()))
