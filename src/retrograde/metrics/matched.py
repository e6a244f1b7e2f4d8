"""Comparison at a matched level, read off lines through the points of each replicate."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

MIN_RUNS = 2
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
    """The level that the most strategies reach, and among such levels the most replicates.

    A strategy reaches a level if `MIN_RUNS` of its replicates do. Ends of ranges cut the axis into
    pieces. The level is the middle of the widest of the best pieces, the lowest of equally wide
    ones.

    Args:
        ranges: the ranges of each strategy's replicates.

    Returns:
        The level; NaN if there is none.
    """
    ends = {end for of_strategy in ranges.values() for span in of_strategy for end in span}
    pieces = list(itertools.pairwise(sorted(ends)))
    if not pieces:
        return float("nan")

    def rank(piece: Range) -> tuple[int, int, float, float]:
        counts = [_reaching(of_strategy, piece) for of_strategy in ranges.values()]
        needed = [min(MIN_RUNS, len(of_strategy)) for of_strategy in ranges.values()]
        pairs = zip(counts, needed, strict=True)
        # a strategy without any range needs none and reaches nothing
        strategies = sum(count >= least > 0 for count, least in pairs)
        return strategies, sum(counts), piece.high - piece.low, -piece.low

    low, high = max(itertools.starmap(Range, pieces), key=rank)
    return (low + high) / 2


def _reaching(ranges: Sequence[Range], piece: Range) -> int:
    """The number of ranges that contain a piece."""
    return sum(span.low <= piece.low and piece.high <= span.high for span in ranges)


def at_level(x: Float[np.ndarray, " point"], y: Float[np.ndarray, " point"], level: float) -> float:
    """The value at a level of the least-squares line through points.

    It is NaN where the range of x does not reach the level.
    """
    known = np.isfinite(x) & np.isfinite(y)
    reach = spanned(x[known])
    # a line is not extended beyond its points
    if reach is None or not reach.low <= level <= reach.high:
        return float("nan")
    mean = x[known].mean()
    centred = x[known] - mean
    slope = centred @ y[known] / (centred @ centred)
    return float(y[known].mean() + slope * (level - mean))
