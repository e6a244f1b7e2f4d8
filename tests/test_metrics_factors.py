"""Products compared factor by factor, against closed forms."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from retrograde.metrics.factors import exchanged, factors
from retrograde.metrics.intervals import t_interval

TABLES = arrays(float, (2, 3, 3), elements=st.integers(-5, 5).map(float))


def test_ratios_multiply_and_shares_add_up():
    draw = np.random.default_rng(0)
    mine, others = draw.uniform(0.5, 1, (5, 3)), draw.uniform(2, 3, (5, 3))
    found = factors(mine, others)
    total, *parts = (ratio.mean for ratio in found.ratios)
    assert total == pytest.approx(np.prod(parts))
    assert total == pytest.approx(np.prod(mine / others) ** (1 / 5))
    assert sum(share.mean for share in found.shares) == pytest.approx(1)


def test_the_interval_of_a_ratio_is_that_of_its_logarithm():
    mine, others = np.array([[1.0], [2.0], [4.0]]), np.ones((3, 1))
    mean, low, high, n = t_interval(np.log(mine[:, 0]))
    assert factors(mine, others).ratios[1] == pytest.approx(
        (np.exp(mean), np.exp(low), np.exp(high), n)
    )
    assert mean == pytest.approx(np.log(2))


def test_one_factor_that_makes_all_the_ratio_has_all_of_it_for_sure():
    mine, others = (
        np.array([[1.0, 3.0], [2.0, 5.0], [2.5, 7.0]]),
        np.array([[4.0, 3.0], [6.0, 5.0], [9.0, 7.0]]),
    )
    first, second = factors(mine, others).shares
    assert first == pytest.approx((1, 1, 1, 3))
    assert second == pytest.approx((0, 0, 0, 3))


def test_a_ratio_that_does_not_differ_from_1_is_not_shared_out():
    mine, others = np.array([[1.0, 2.0], [4.0, 2.0]]), np.array([[2.0, 1.0], [1.0, 2.0]])
    assert np.isnan([share.mean for share in factors(mine, others).shares]).all()


def test_without_a_positive_product_there_is_a_difference_and_the_ratios_of_what_is_positive():
    mine, others = np.array([[-1.0, 2.0], [1.0, 2.0]]), np.array([[1.0, 4.0], [1.0, 4.0]])
    found = factors(mine, others)
    assert [ratio.mean for ratio in found.ratios] == pytest.approx(
        [np.nan, np.nan, 0.5], nan_ok=True
    )
    assert found.differences[0].mean == pytest.approx((-6 - 2) / 2)


def test_two_factors_are_exchanged_as_computed_by_hand():
    first, second = exchanged(np.array([[3.0, 5.0]]), np.array([[2.0, 7.0]]))
    assert (first[0], second[0]) == ((3 - 2) * (5 + 7) / 2, (5 - 7) * (3 + 2) / 2)


@given(TABLES)
def test_what_the_factors_make_adds_up_to_the_difference_and_turns_with_the_sides(tables):
    mine, others = tables
    parts = np.array([*exchanged(mine, others)])
    assert parts.sum(axis=0) == pytest.approx(mine.prod(axis=1) - others.prod(axis=1))
    assert parts == pytest.approx(-np.array([*exchanged(others, mine)]))


@given(TABLES, st.integers(0, 2))
def test_a_factor_that_both_share_makes_nothing_of_the_difference(tables, which):
    mine, others = tables
    others[:, which] = mine[:, which]
    assert [*exchanged(mine, others)][which] == pytest.approx(0)


def test_one_seed_has_no_intervals_and_none_has_nothing():
    found = factors(np.array([[1.0, 2.0]]), np.array([[2.0, 3.0]]))
    assert found.ratios[0].mean == pytest.approx(1 / 3)
    assert np.isnan(found.ratios[0].low)
    empty = factors(np.empty((0, 2)), np.empty((0, 2)))
    assert np.isnan([each.mean for each in (*empty.ratios, *empty.differences)]).all()
