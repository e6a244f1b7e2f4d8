"""Comparison at a matched level, on lines whose values are known."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.stats import linregress

from retrograde.metrics.matched import Range, at_level, common_level, spanned

ENDS = st.tuples(st.integers(0, 8), st.integers(1, 8)).map(
    lambda ends: Range(float(ends[0]), float(sum(ends)))
)


def test_points_on_a_line_are_read_off_it():
    x = np.array([0.5, 1.0, 3.0])
    assert at_level(x, 2 * x - 1, 2.0) == pytest.approx(3.0)


def test_scattered_points_are_read_off_the_line_of_least_squares():
    x, y = np.random.default_rng(0).normal(size=(2, 20))
    line = linregress(x, y)
    assert at_level(x, y, 0.3) == pytest.approx(line.intercept + 0.3 * line.slope)


@pytest.mark.parametrize("level", [0.4, 3.1, np.nan])
def test_a_level_out_of_reach_has_no_value(level):
    assert np.isnan(at_level(np.array([0.5, 3.0]), np.array([1.0, 2.0]), level))


def test_points_that_are_not_known_do_not_widen_the_reach():
    x, y = np.array([0.5, 1.0, 3.0]), np.array([1.0, 2.0, np.nan])
    assert at_level(x, y, 0.75) == pytest.approx(1.5)
    assert np.isnan(at_level(x, y, 2.0))


@pytest.mark.parametrize("levels", [[], [1.0], [1.0, 1.0], [1.0, np.nan]])
def test_one_level_spans_no_range(levels):
    assert spanned(np.array(levels, dtype=float)) is None
    assert spanned(np.array([2.0, np.nan, 1.0])) == (1, 2)


@pytest.mark.parametrize(
    ("ranges", "level"),
    [
        ({}, None),
        ({"a": []}, None),
        ({"a": [(0, 4)]}, 2),
        ({"a": [(0, 4)], "b": [(2, 8)]}, 3),
        ({"a": [(0, 4), (0, 4)], "b": [(2, 8), (3, 8)]}, 3.5),  # two replicates of each are wanted
        ({"a": [(0, 9), (0, 9)], "b": [(0, 1), (0, 2)], "c": [(0, 3), (0, 2)]}, 0.5),
        ({"a": [(0, 2)], "b": [(4, 5)]}, 1),  # nothing is shared: the widest
        ({"a": [(0, 2), (3, 5)]}, 1),  # of equally wide pieces the lowest
    ],
)
def test_the_level_is_the_middle_of_the_widest_piece_that_most_reach(ranges, level):
    found = common_level(
        {name: [Range(*map(float, each)) for each in mine] for name, mine in ranges.items()}
    )
    assert found == pytest.approx(np.nan if level is None else level, nan_ok=True)


@given(st.dictionaries(st.sampled_from("abcd"), st.lists(ENDS, min_size=1, max_size=3), min_size=1))
def test_no_level_on_a_fine_grid_is_reached_by_more(ranges):
    def reached(level):
        there = {
            name: sum(low <= level <= high for low, high in mine) for name, mine in ranges.items()
        }
        return sum(n >= min(2, len(ranges[name])) for name, n in there.items()), sum(there.values())

    grid = np.arange(0, 16) + 0.5  # inside the pieces, whose ends are whole numbers
    assert reached(common_level(ranges)) == max(map(reached, grid))
