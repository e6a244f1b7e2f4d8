"""Forgetting and transfer as others compute them, by hand and against ours."""

import re

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from retrograde.errors import UserError
from retrograde.metrics import matrix
from retrograde.metrics.conventions import CONVENTIONS, VERSIONS, metrics
from retrograde.metrics.matrix import METRICS

TWO = np.array([[0.5, 0.5], [0.6, 0.7], [0.8, 0.9]])
THREE = np.array([[0.1, 0.85, 0.3], [0.9, 0.4, 0.2], [0.95, 0.8, 0.5], [0.6, 0.5, 0.7]])
FOUR = np.array(
    [
        [0.1, 0.1, 0.1, 0.1],
        [0.9, 0.95, 0.8, 0.1],
        [0.7, 0.9, 0.3, 0.1],
        [0.8, 0.6, 0.6, 0.2],
        [0.5, 0.7, 0.4, 0.9],
    ]
)
BY_HAND = {  # Mammoth sees task 2's 0.95, one task early, and not task 3's 0.8, two early
    ("mammoth", "forgetting"): (0.0, 0.325, (0.4 + 0.25 + 0.2) / 3),
    ("avalanche", "forgetting"): (-0.2, 0.3, (0.4 + 0.2 + 0.2) / 3),
    ("gem", "BWT"): (0.1, -0.2, -0.8 / 4),
    ("gem", "FWT"): (0.1, (-0.45 + 0.2) / 3, (0.85 + 0.2 + 0.1) / 4),
    ("lamaml", "BWT"): (0.1, -0.2, -0.8 / 4),
    ("lamaml", "FWT"): (0.1, (-0.45 + 0.2) / 3, (0.85 + 0.2 + 0.1) / 4),
}
REPLACED = [(convention, name) for convention, own in CONVENTIONS.items() for name in own]


def value(metric, r, first=None, learned=None):
    """A metric of R; with an experience for each task, unless `first` and `learned` are given."""
    each = np.arange(r.shape[-1])
    first, learned = (each if given is None else given for given in (first, learned))
    inputs = {"R": r, "first": first, "learned": learned}
    return metric.of(*(inputs[need] for need in metric.needs))


def matrices(least: int = 1):
    return st.integers(least, 5).flatmap(
        lambda t: arrays(float, (t + 1, t), elements=st.floats(0, 1))
    )


@pytest.mark.parametrize(("convention", "name"), REPLACED)
def test_a_convention_gives_what_its_formula_gives_by_hand_for_two_three_and_four_tasks(
    convention, name
):
    found = [value(CONVENTIONS[convention][name], r) for r in (TWO, THREE, FOUR)]
    assert found == pytest.approx(BY_HAND[convention, name], abs=1e-12)


@pytest.mark.parametrize(("convention", "name"), REPLACED)
def test_a_convention_differs_from_ours_in_the_scores_it_replaces(convention, name):
    (ours,) = [metric for metric in METRICS if metric.name == name]
    theirs = CONVENTIONS[convention][name]
    assert any(value(theirs, r) != pytest.approx(value(ours, r)) for r in (TWO, THREE, FOUR))
    assert (theirs.name, theirs.higher_is_better) == (f"{name}_{convention}", ours.higher_is_better)
    assert theirs.version >= 1
    assert theirs.source.split(",")[0][-4:].isdigit()


@pytest.mark.parametrize(("convention", "name"), REPLACED)
def test_with_one_task_nothing_is_forgotten_or_transferred(convention, name):
    found = value(CONVENTIONS[convention][name], np.array([[0.1], [0.7]]))
    assert np.isnan(found) if name != "BWT" else found == 0


# Four experiences of three tasks: the second task comes back, the third comes with the second.
REPEATING = np.array(
    [[0.1, 0.2, 0.3], [0.9, 0.4, 0.2], [0.7, 0.8, 0.5], [0.6, 0.5, 0.7], [0.5, 0.9, 0.6]]
)
BY_HAND_REPEATING = {
    ("mammoth", "forgetting"): (0.4 + 0.1) / 2,
    ("avalanche", "forgetting"): (0.4 + 0.1) / 2,
    ("gem", "BWT"): (-0.4 - 0.1) / 3,
    ("gem", "FWT"): (0.2 - 0.1) / 3,
    ("lamaml", "BWT"): (-0.4 - 0.1) / 3,
    ("lamaml", "FWT"): (0.2 - 0.1) / 3,
}


@pytest.mark.parametrize(("convention", "name"), REPLACED)
def test_a_convention_gives_what_its_formula_gives_by_hand_where_a_task_comes_back(
    convention, name
):
    first, learned = np.array([0, 1, 1]), np.array([0, 3, 2])
    found = value(CONVENTIONS[convention][name], REPEATING, first, learned)
    assert found == pytest.approx(BY_HAND_REPEATING[convention, name], abs=1e-12)


def test_every_other_score_stays_ours_and_in_its_place():
    names = [metric.name for metric in metrics("gem")]
    assert names == [
        {"BWT": "BWT_gem", "FWT": "FWT_gem"}.get(metric.name, metric.name) for metric in METRICS
    ]
    assert metrics("own") == METRICS


@given(matrices(least=2))
def test_mammoth_never_reports_less_than_no_forgetting_nor_less_than_avalanche(r):
    mammoth, avalanche = (
        value(CONVENTIONS[name]["forgetting"], r) for name in ("mammoth", "avalanche")
    )
    assert mammoth >= max(0, avalanche) - 1e-12


@given(matrices(least=2))
def test_avalanche_reports_the_backward_transfer_with_the_other_sign(r):
    each = np.arange(r.shape[-1])
    assert value(CONVENTIONS["avalanche"]["forgetting"], r) == -matrix.bwt(r, each)


def test_every_convention_names_the_code_that_it_follows_with_a_version_or_a_year():
    assert set(VERSIONS) == set(CONVENTIONS) - {"own"}
    assert all(re.search(r"20\d\d|\d\.\d", version) for version in VERSIONS.values())


def test_an_unknown_convention_names_the_known_ones():
    with pytest.raises(UserError, match="'x'.*Known: avalanche, gem, lamaml, mammoth, own"):
        metrics("x")
