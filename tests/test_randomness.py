"""Random choices: generators by axis, and numbers that follow from a key alone."""

import numpy as np
import pytest
import torch
from scipy.stats import chi2, kstest

from retrograde.randomness import keys, uniform


def drawn(count, size=1000):
    return torch.stack(
        [uniform(key, size) for key in torch.from_numpy(keys(0, "chance", 1, count))]
    ).numpy()


def test_numbers_are_spread_evenly_over_the_unit_interval():
    numbers = drawn(200).ravel()
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert kstest(numbers, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("axis", [0, 1])
def test_neighbours_are_independent_along_the_counter_and_across_keys(axis):
    numbers = drawn(400).swapaxes(0, axis)
    cells = (8 * numbers).astype(int)
    table = np.bincount((8 * cells[:-1] + cells[1:]).ravel(), minlength=64)
    statistic = ((table - table.mean()) ** 2 / table.mean()).sum()
    assert statistic < chi2.isf(1e-4, 63)


def test_consecutive_keys_give_unrelated_numbers():
    numbers = torch.stack([uniform(torch.tensor(key), 5000) for key in range(5)])
    off = torch.corrcoef(numbers) - torch.eye(5)
    assert off.abs().max() < 0.06


def test_the_same_key_gives_the_same_numbers_in_any_company():
    key = torch.tensor([3, 4])
    both = torch.func.vmap(lambda key: uniform(key, 2, 3))(key)
    assert torch.equal(both[1], uniform(key[1], 2, 3))
    assert not torch.equal(both[0], both[1])
