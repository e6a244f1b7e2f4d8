import itertools

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import false_discovery_control, permutation_test, ttest_rel

from retrograde.metrics.paired import (
    ALPHA,
    MAX_EXACT_PAIRS,
    all_pairs,
    by_seed,
    complete_runs,
    holm,
    leading_group,
    least_p,
    p_text,
    paired_p,
    sign_flip_p,
)

SCORE = st.integers(-1000, 1000).map(lambda k: k / 1000)
PAIRS = st.integers(2, 12).flatmap(lambda n: arrays(float, (2, n), elements=SCORE))
DIFFERENCES = st.integers(1, 8).flatmap(lambda n: arrays(float, n, elements=SCORE))
P_VALUES = st.lists(st.floats(0, 1), max_size=9).map(np.array).map(lambda p: p.astype(float))


def series(*rows, seeds=None):
    return {
        f"s{i}": dict(zip(seeds or range(len(row)), map(float, row), strict=True))
        for i, row in enumerate(rows)
    }


# The paired t-test


@given(PAIRS)
def test_the_paired_p_value_is_that_of_scipy(pairs):
    assume((pairs[0] - pairs[1]).std() > 1e-6)
    assert paired_p(pairs[0] - pairs[1]) == pytest.approx(ttest_rel(*pairs).pvalue, rel=1e-9)


@given(PAIRS)
def test_which_of_two_strategies_comes_first_does_not_change_the_p_value(pairs):
    a, b = pairs
    assert paired_p(a - b) == paired_p(b - a)


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([], np.nan),
        ([0.25], np.nan),
        ([np.nan, 0.25], np.nan),
        ([0, 0], 1.0),
        ([0.25, 0.25, 0.25], 0.25),
    ],
    ids=["no pair", "one pair", "one pair and one lost", "equal pairs", "one constant difference"],
)
def test_the_p_value_is_defined_without_a_spread_and_undefined_below_two_pairs(
    differences, expected
):
    assert paired_p(np.array(differences, dtype=float)) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("n", [2, 3, 5, 6, 16])
@pytest.mark.parametrize("difference", [1 / 450, -0.5, 1e7 / 3])
def test_equal_differences_have_the_p_value_of_a_sign_flip_test(n, difference):
    two_of_all_patterns = 2 / 2**n
    assert paired_p(np.full(n, difference)) == pytest.approx(two_of_all_patterns)
    assert paired_p(np.array([*[difference] * n, np.nan])) == pytest.approx(two_of_all_patterns)


def test_equal_differences_are_found_through_the_rounding_of_their_scores():
    scores = np.array([0.1, 0.3, 0.7, 0.9, 0.2])
    assert paired_p((scores + 0.01) - scores) == least_p(5)


@pytest.mark.parametrize("n", [17, 30])
def test_of_many_equal_differences_p_is_the_least_that_the_table_prints(n):
    assert paired_p(np.ones(n)) == least_p(n)


def test_a_seed_that_is_missing_is_no_part_of_the_test():
    lacking = np.array([[0.1, np.nan, 0.3, 0.2], [0.1, 0.3, 0.2, np.nan]])
    assert paired_p(lacking) == pytest.approx([float(paired_p(np.array([0.1, 0.3, 0.2])))] * 2)


def test_one_in_twenty_pairs_without_a_difference_falls_below_five_percent():
    common, a, b = np.random.default_rng(7).normal(size=(3, 2000, 5))
    assert np.mean(paired_p((3 * common + a) - (3 * common + b)) < 0.05) == pytest.approx(
        0.05, abs=0.015
    )


# The sign-flip test


@given(DIFFERENCES)
def test_the_sign_flip_p_value_counts_every_pattern_of_signs(differences):
    sums = [
        abs(np.dot(signs, differences))
        for signs in itertools.product((-1, 1), repeat=len(differences))
    ]
    as_far = np.mean(np.array(sums) >= abs(differences.sum()) - 1e-9)
    assert sign_flip_p(differences[None])[0] == pytest.approx(as_far)


@pytest.mark.parametrize("n", [5, 8])
def test_the_sign_flip_p_value_is_that_of_scipy(n):
    a, b = np.random.default_rng(n).normal(size=(2, n))
    theirs = permutation_test(
        (a, b), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_p((a - b)[None])[0] == pytest.approx(theirs.pvalue)


@pytest.mark.parametrize(
    ("n", "least"),
    [(1, 1.0), (2, 0.5), (3, 0.25), (5, 0.0625), (6, 0.03125), (16, 2**-15), (17, 1e-4)],
)
def test_the_least_p_value_is_reached_where_all_differences_have_one_sign(n, least):
    assert least_p(n) == least
    assert (
        sign_flip_p(np.arange(1.0, n + 1)[None])[0] == least
        if n <= MAX_EXACT_PAIRS
        else least <= 2e-4
    )


def test_patterns_by_chance_give_about_the_p_value_of_all_patterns():
    differences = np.random.default_rng(1).normal(0.3, 1, size=20)
    theirs = permutation_test(
        (differences, np.zeros(20)),
        lambda a, b: np.mean(a - b),
        permutation_type="samples",
        n_resamples=20_000,
        rng=5,
    )
    assert sign_flip_p(differences[None])[0] == pytest.approx(theirs.pvalue, abs=0.02)


def test_equal_pairs_have_a_sign_flip_p_value_of_one_and_no_pairs_have_none():
    assert sign_flip_p(np.zeros((2, 5))).tolist() == [1, 1]
    assert np.isnan(sign_flip_p(np.empty((2, 0)))).all()


# Holm's correction


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        ([], []),
        ([0.04], [0.04]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.6, 0.7], [1.0, 1.0]),
        ([0.01, np.nan, 0.02], [0.02, np.nan, 0.02]),
    ],
)
def test_holms_correction_is_that_computed_by_hand(p, expected):
    assert holm(np.array(p, dtype=float)) == pytest.approx(
        np.array(expected, dtype=float), nan_ok=True
    )


@given(P_VALUES)
def test_holms_correction_rejects_what_stepping_down_rejects(p):
    rejected, order = set(), np.argsort(p)
    for step, place in enumerate(order):
        if p[place] * (len(p) - step) >= ALPHA:
            break
        rejected.add(place)
    assert set(np.flatnonzero(holm(p) < ALPHA)) == rejected


@given(P_VALUES)
def test_holms_correction_is_between_the_false_discovery_rate_and_bonferroni(p):
    assume(len(p))
    corrected = holm(p)
    assert np.all(corrected <= np.minimum(1, len(p) * p) + 1e-12)
    assert np.all(corrected >= false_discovery_control(p) - 1e-12)


# All pairs


def test_pairs_that_share_too_few_seeds_are_not_tested():
    scores = by_seed({"a": {0: 1.0, 1: 2, 2: 4}, "b": {1: 9.0, 2: 8, 3: 9}})
    assert scores.shape == (2, 4)
    assert np.isnan(all_pairs(scores).corrected).all()


def test_who_is_above_whom_follows_the_direction_of_the_score():
    pairs = all_pairs(np.array([[1.0, 2, 3, 4, 5], [2.1, 3, 4, 5, 6], [1.2, 1.9, 2.9, 4.1, 5]]))
    assert np.argwhere(pairs.better_than(True)).tolist() == [[1, 0], [1, 2]]
    assert np.argwhere(pairs.better_than(False)).tolist() == [[0, 1], [2, 1]]


@given(st.integers(2, 5), st.integers(5, 8), st.integers(0, 99))
def test_every_pair_has_the_p_value_of_its_own_test(rivals, seeds, draw):
    scores = np.random.default_rng(draw).normal(size=(rivals, seeds))
    pairs = all_pairs(scores)
    alone = [
        ttest_rel(scores[i], scores[j]).pvalue
        for i, j in zip(pairs.first, pairs.second, strict=True)
    ]
    assert pairs.p == pytest.approx(np.array(alone))
    assert len(alone) == rivals * (rivals - 1) // 2


# Leaders


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[1, 2, 3, 4, 5], [1.1, 2, 2.9, 4, 5]], set()),  # no significant difference
        ([[1, 2, 3, 4, 5], [0.5, 1.4, 2.5, 3.5, 4.4]], {"s0"}),
        ([[1, 2, 3, 4, 5], [1.1, 2, 2.8, 4, 5], [0, 1.01, 2, 3, 4]], {"s0", "s1"}),
        ([[1, 2, 3, 4], [0, 1.1, 2, 3]], set()),  # too few
        ([[1], [0]], set()),
        ([[1, 2, 3]], set()),
        ([], set()),
        ([[1, 2, 3, 4, 5], [2, 3, 4, 5], [0, 1.01, 2, 3, 4]], {"s0"}),  # one has fewer replicates
    ],
)
def test_leaders_are_the_best_and_its_equals_if_some_rival_differs(rows, expected):
    assert leading_group(series(*rows), higher_is_better=True) == expected


def test_a_rival_without_seeds_in_common_with_the_best_never_leads():
    best, worse = (
        dict(enumerate(row)) for row in ([0.9, 0.91, 0.92, 0.9, 0.91], [0.5, 0.5, 0.52, 0.5, 0.51])
    )
    elsewhere = dict(enumerate([0.1, 0.2, 0.1, 0.2, 0.1], start=10))
    assert leading_group({"A": best, "B": worse, "C": elsewhere}, higher_is_better=True) == {"A"}


def test_among_equal_strategies_near_the_ceiling_nobody_leads_in_19_of_20_stores():
    draw = np.random.default_rng(0)
    led = sum(
        bool(leading_group(series(*draw.binomial(180, 0.995, (8, 5))), higher_is_better=True))
        for _ in range(400)
    )
    assert led / 400 < 0.05


@pytest.mark.parametrize(
    ("errors", "rivals", "seeds"),
    [(1, 6, 5), (1, 12, 5), (1, 20, 5), (1, 40, 5), (2, 20, 5), (2, 40, 5), (4, 40, 5), (1, 40, 6)],
)
def test_among_equal_strategies_with_few_errors_a_pair_differs_in_5_percent_of_stores_at_most(
    errors, rivals, seeds
):
    stores, draw = 300, np.random.default_rng(errors + rivals + seeds)
    scores = 1 - draw.poisson(errors, (stores, rivals, seeds)) / 450
    significant = sum(bool((all_pairs(store).corrected < ALPHA).any()) for store in scores)
    slack = 2.33 * np.sqrt(
        0.05 * 0.95 / stores
    )  # a share of 5 % stays below in 99 of 100 simulations
    assert significant / stores <= 0.05 + slack


def test_the_sign_flip_of_large_differences_reaches_its_least_p():
    differences = np.abs(np.random.default_rng(0).normal(1e6, 1e5, (200, 8)))
    assert np.unique(sign_flip_p(differences)) == [least_p(8)]


@pytest.mark.parametrize("rivals", [2, 5])
def test_among_equal_strategies_nobody_leads_in_19_of_20_of_a_thousand_stores(rivals):
    draw, led = np.random.default_rng(0), 0
    for _ in range(1000):
        common = 3 * draw.normal(size=5)
        led += bool(
            leading_group(series(*(common + draw.normal(size=(rivals, 5)))), higher_is_better=True)
        )
    assert led / 1000 <= 0.05 + 0.007  # and a standard deviation of the share


def test_a_strategy_that_is_really_better_leads_alone_in_most_stores():
    draw = np.random.default_rng(0)
    better = np.array([[5], [0], [0]])
    stores = (series(*(draw.normal(size=(3, 5)) + better)) for _ in range(200))
    assert (
        np.mean([leading_group(store, higher_is_better=True) == {"s0"} for store in stores]) > 0.9
    )


@given(st.integers(2, 5), st.integers(0, 99), st.integers(-5, 5))
def test_a_shift_of_all_scores_or_less_being_better_changes_no_leader(rivals, draw, shift):
    scores = np.random.default_rng(draw).normal(size=(rivals, 5)) + np.arange(rivals)[:, None] * 2
    found = leading_group(series(*scores), higher_is_better=True)
    assert leading_group(series(*(scores + shift)), higher_is_better=True) == found
    assert leading_group(series(*-scores), higher_is_better=False) == found


def test_whole_are_those_with_as_many_seeds_as_any():
    assert set(complete_runs(series([1, 2, 3], [1, 2], [4, 5, 6]))) == {"s0", "s2"}
    assert complete_runs({}) == {}


def test_a_p_value_has_three_digits_and_a_floor():
    assert list(map(p_text, (0.0625, 0.012345, 1.0, 0.00001, np.nan))) == [
        "0.0625",
        "0.0123",
        "1",
        "< 0.0001",
        "–",
    ]
