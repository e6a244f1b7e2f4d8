"""Why one strategy interferes with earlier tasks less than another: products compared factor by factor."""

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


UNKNOWN = Interval(float("nan"), float("nan"), float("nan"), 0)


class Factors(NamedTuple):
    """One product against another, on the same seeds: the product itself first, then each factor."""

    ratios: tuple[
        Interval, ...
    ]  # geometric means over seeds; NaN where a side is not positive on every seed
    differences: tuple[
        Interval, ...
    ]  # of the products, and the part of it that each factor makes; they add up
    shares: tuple[
        Interval, ...
    ]  # of each factor in the logarithm of the first ratio; NaN unless that is told from 1


def factors(mine: Table, others: Table) -> Factors:
    """Compare the products of the rows of two tables.

    A ratio is the geometric mean over seeds, and its interval the t-interval of its logarithm. The part that a factor makes
    of a difference is what exchanging that factor changes, averaged over all orders in which the factors may be exchanged
    (Shapley 1953): unlike a ratio it is defined whatever the signs. A share is the mean logarithm of a factor's ratio over
    the mean logarithm of the product's.
    """
    logs = [_log_ratio(a, b) for a, b in zip(mine.T, others.T, strict=True)]
    total = _log_ratio(mine.prod(axis=1), others.prod(axis=1))
    parts = [*exchanged(mine, others)]
    difference = mine.prod(axis=1) - others.prod(axis=1)
    return Factors(
        ratios=tuple(_geometric(each) for each in (total, *logs)),
        differences=tuple(t_interval(each) for each in (difference, *parts)),
        shares=tuple(_share(each, total) for each in logs),
    )


def exchanged(mine: Table, others: Table) -> Iterator[Numbers]:
    """For each factor, how much of the difference of the products its exchange makes, over all orders of exchange."""
    count = mine.shape[1]
    parts = np.zeros(mine.T.shape)
    for order in permutations(range(count)):
        current = others.copy()
        for factor in order:
            before = current.prod(axis=1)
            current[:, factor] = mine[:, factor]
            parts[factor] += (current.prod(axis=1) - before) / factorial(count)
    yield from parts


def _log_ratio(mine: Numbers, others: Numbers) -> Numbers | None:
    """The logarithms of ratios; None where there is none on some seed."""
    both = np.stack([mine, others])
    positive = both.size > 0 and bool((both > 0).all())
    return np.asarray(np.log(mine) - np.log(others)) if positive else None


def _geometric(logs: Numbers | None) -> Interval:
    if logs is None:
        return UNKNOWN
    mean, low, high, n = t_interval(logs)
    return Interval(float(np.exp(mean)), float(np.exp(low)), float(np.exp(high)), n)


def _share(part: Numbers | None, total: Numbers | None) -> Interval:
    """The ratio of two means with the t-interval of its first-order expansion."""
    if part is None or total is None:
        return UNKNOWN
    mean, low, high, n = t_interval(total)
    nothing = mean == 0 or (n > 1 and low <= 0 <= high)
    if nothing:
        return UNKNOWN
    share = float(part.mean() / mean)
    _, below, above, _ = t_interval((part - share * total) / abs(mean))
    return Interval(share, share + below, share + above, n)


PARTS = ("alignment", "gradient", "path")
"""The factors of interference, the first with its sign turned."""


SIGNS = np.array([-1.0, 1.0, 1.0])


class Comparison(NamedTuple):
    """A strategy against the reference."""

    key: Key
    reference: Key
    seeds: int
    found: Factors


def reference(strategies: Sequence[Key]) -> Key:
    """Plain replay if it is there, else the first of the strategies that compete."""
    return next((key for key in strategies if key[1] == "er"), strategies[0])


def comparisons(replicates: pd.DataFrame) -> list[Comparison]:
    """Each strategy of one benchmark against the reference, from what `replicate_accounts` gives."""
    numbers = {metric: competing(of_column(replicates, metric)) for metric in PARTS}
    strategies = [key for key in numbers["path"] if all(key in numbers[metric] for metric in PARTS)]
    if len(strategies) < 2:
        return []
    against = reference(strategies)
    found = [_comparison(numbers, key, against) for key in strategies if key != against]
    return [
        each for each in found if each.seeds
    ]  # where no seed is shared there is nothing to compare


def _comparison(numbers: Mapping[str, Mapping[Key, BySeed]], key: Key, against: Key) -> Comparison:
    """One strategy against another, on the seeds that both have."""
    shared = [set(numbers[metric][each]) for metric in PARTS for each in (key, against)]
    seeds = sorted(set.intersection(*shared))
    mine, others = (_parts(numbers, each, seeds) for each in (key, against))
    return Comparison(key, against, len(seeds), factors(mine, others))


def _parts(
    numbers: Mapping[str, Mapping[Key, BySeed]], key: Key, seeds: Sequence[int]
) -> Float[np.ndarray, "seed part"]:
    """The factors of one strategy's interference on some seeds."""
    rows = [[numbers[metric][key][seed] for metric in PARTS] for seed in seeds]
    return np.asarray(np.array(rows, dtype=float).reshape(len(seeds), len(PARTS)) * SIGNS)


def of_column(frame: pd.DataFrame, metric: str) -> dict[Key, BySeed]:
    """The numbers of one column that are known, of a frame with a row for each replicate."""
    return by_strategy(frame.assign(value=frame[metric])[frame[metric].notna()])
