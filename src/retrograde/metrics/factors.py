"""Comparison of interference between strategies: products compared factor by factor."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from math import factorial
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from retrograde.metrics.frames import Key, by_strategy, competing
from retrograde.metrics.intervals import BySeed, Interval, t_interval

Table = Float[np.ndarray, "seed factor"]


Numbers = Float[np.ndarray, " seed"]


NO_INTERVAL = Interval(float("nan"), float("nan"), float("nan"), 0)


class Factors(NamedTuple):
    """One product against another, on the same seeds.

    ratios: geometric means over seeds, of the product first, then of each factor; NaN where a side
        is not positive on every seed.
    differences: the difference of the products, then the part of it that each factor makes; the
        parts add up.
    shares: the share of each factor in the logarithm of the first ratio; NaN unless that ratio
        differs significantly from 1.
    """

    ratios: tuple[Interval, ...]
    differences: tuple[Interval, ...]
    shares: tuple[Interval, ...]


def factors(mine: Table, others: Table) -> Factors:
    """Compare the products of the rows of two tables.

    A ratio is the geometric mean over seeds, and its interval the t-interval of its logarithm. The
    part of a difference that a factor makes is the change caused by exchanging that factor,
    averaged over all orders in which the factors may be exchanged (Shapley 1953). Unlike a ratio,
    it is defined for all signs. A share is the mean logarithm of a factor's ratio over the mean
    logarithm of the product's.
    """
    logs = [_log_ratio(a, b) for a, b in zip(mine.T, others.T, strict=True)]
    product = mine.prod(axis=1)
    other_product = others.prod(axis=1)
    total = _log_ratio(product, other_product)
    parts = [*exchanged(mine, others)]
    difference = product - other_product
    return Factors(
        ratios=tuple(_geometric(each) for each in (total, *logs)),
        differences=tuple(t_interval(each) for each in (difference, *parts)),
        shares=tuple(_share(each, total) for each in logs),
    )


def exchanged(mine: Table, others: Table) -> Iterator[Numbers]:
    """The part of the difference of the products that each factor makes.

    It is the mean over all orders of exchange.
    """
    count = mine.shape[1]
    parts = np.zeros(mine.T.shape)
    for order in permutations(range(count)):
        # exchange one factor after another, and book each change of the product
        current = others.copy()
        for factor in order:
            before = current.prod(axis=1)
            current[:, factor] = mine[:, factor]
            parts[factor] += (current.prod(axis=1) - before) / factorial(count)
    yield from parts


def _log_ratio(mine: Numbers, others: Numbers) -> Numbers | None:
    """The logarithms of ratios; None unless both sides are positive on every seed."""
    both = np.stack([mine, others])
    positive = both.size > 0 and bool((both > 0).all())
    return np.asarray(np.log(mine) - np.log(others)) if positive else None


def _geometric(logs: Numbers | None) -> Interval:
    """The geometric mean of ratios with its interval."""
    if logs is None:
        return NO_INTERVAL
    mean, low, high, n = t_interval(logs)
    return Interval(float(np.exp(mean)), float(np.exp(low)), float(np.exp(high)), n)


def _share(part: Numbers | None, total: Numbers | None) -> Interval:
    """The ratio of two means with the t-interval of its first-order expansion."""
    if part is None or total is None:
        return NO_INTERVAL
    mean, low, high, n = t_interval(total)
    # a share of a difference that may be 0 says nothing
    if mean == 0 or (n > 1 and low <= 0 <= high):
        return NO_INTERVAL
    share = float(part.mean() / mean)
    deviations = (part - share * total) / abs(mean)
    _, below, above, _ = t_interval(deviations)
    return Interval(share, share + below, share + above, n)


PARTS = ("alignment", "gradient", "path")
"""The factors of interference; the first enters with the opposite sign."""


SIGNS = np.array([-1.0, 1.0, 1.0])


class Comparison(NamedTuple):
    """A strategy against the reference."""

    key: Key
    reference: Key
    seeds: int
    found: Factors


def reference(strategies: Sequence[Key]) -> Key:
    """Plain replay if it is there, else the first of the strategies that compete."""
    replay = (key for key in strategies if key[1] == "er")
    return next(replay, strategies[0])


def comparisons(replicates: pd.DataFrame) -> list[Comparison]:
    """Each strategy of one benchmark against the reference, on the seeds that both have.

    Args:
        replicates: rows of `replicate_accounts`.
    """
    numbers = {metric: competing(of_column(replicates, metric)) for metric in PARTS}
    strategies = [key for key in numbers["path"] if all(key in numbers[metric] for metric in PARTS)]
    if len(strategies) < 2:
        return []
    against = reference(strategies)
    others = [key for key in strategies if key != against]
    compared = [_comparison(numbers, key, against) for key in others]
    # where no seed is shared there is nothing to compare
    return [comparison for comparison in compared if comparison.seeds]


def _comparison(numbers: Mapping[str, Mapping[Key, BySeed]], key: Key, against: Key) -> Comparison:
    """One strategy against another, on the seeds that both have."""
    sides = (key, against)
    known = [set(numbers[metric][side]) for metric in PARTS for side in sides]
    seeds = sorted(set.intersection(*known))
    mine, others = (_parts(numbers, side, seeds) for side in sides)
    return Comparison(key, against, len(seeds), factors(mine, others))


def _parts(
    numbers: Mapping[str, Mapping[Key, BySeed]],
    key: Key,
    seeds: Sequence[int],
) -> Float[np.ndarray, "seed part"]:
    """The factors of one strategy's interference on some seeds."""
    rows = [[numbers[metric][key][seed] for metric in PARTS] for seed in seeds]
    # the shape is given because there may be no seed
    values = np.array(rows, dtype=float).reshape(len(seeds), len(PARTS))
    return np.asarray(values * SIGNS)


def of_column(frame: pd.DataFrame, metric: str) -> dict[Key, BySeed]:
    """The values of one column by strategy and seed, without those that are NaN.

    Args:
        frame: one row for each replicate.
        metric: the column.
    """
    known = frame[frame[metric].notna()]
    return by_strategy(known.assign(value=known[metric]))
