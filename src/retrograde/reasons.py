"""Reasons why one strategy interferes with earlier tasks less than another: its factors against a reference's."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from retrograde.factors import Factors, factors
from retrograde.frame import Key, by_strategy, competing
from retrograde.stats import BySeed

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
    return [each for each in found if each.seeds]  # where no seed is shared there is nothing to compare


def _comparison(numbers: Mapping[str, Mapping[Key, BySeed]], key: Key, against: Key) -> Comparison:
    """One strategy against another, on the seeds that both have."""
    shared = [set(numbers[metric][each]) for metric in PARTS for each in (key, against)]
    seeds = sorted(set.intersection(*shared))
    mine, others = (_parts(numbers, each, seeds) for each in (key, against))
    return Comparison(key, against, len(seeds), factors(mine, others))


def _parts(numbers: Mapping[str, Mapping[Key, BySeed]], key: Key, seeds: Sequence[int]) -> Float[np.ndarray, "seed part"]:
    """The factors of one strategy's interference on some seeds."""
    rows = [[numbers[metric][key][seed] for metric in PARTS] for seed in seeds]
    return np.asarray(np.array(rows, dtype=float).reshape(len(seeds), len(PARTS)) * SIGNS)


def of_column(frame: pd.DataFrame, metric: str) -> dict[Key, BySeed]:
    """The numbers of one column that are known, of a frame with a row for each replicate."""
    return by_strategy(frame.assign(value=frame[metric])[frame[metric].notna()])
