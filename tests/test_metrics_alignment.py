"""Cosines between the gradients of tasks, against explicit vectors."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from retrograde.metrics.alignment import (
    CEILING,
    conflict_rate,
    cosines,
    mean_pairwise_cosine,
    next_task_cosine,
    transfer,
)
from retrograde.records.gradient_probe import GradientProbe

VECTORS = st.integers(2, 6).flatmap(
    lambda n: arrays(float, (n, 4), elements=st.integers(-9, 9).map(float))
)


def cos(a, b):
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return a @ b / lengths if lengths else np.nan


@given(VECTORS)
def test_products_and_cosines_are_those_between_the_gradients(make_probe, vectors):
    probe = make_probe(0, vectors)
    expected = [[cos(a, b) for b in vectors] for a in vectors]
    assert probe.products.tolist() == (vectors @ vectors.T).tolist()
    assert cosines(probe) == pytest.approx(np.array(expected), nan_ok=True)


@given(VECTORS)
def test_the_next_task_gradient_is_compared_with_the_mean_of_the_earlier_ones(make_probe, vectors):
    probe = make_probe(0, vectors)
    mean = vectors[:-1].mean(axis=0)
    assert transfer(probe) == pytest.approx(vectors[-1] @ mean)
    if np.linalg.norm(mean) > 1e-6:
        assert next_task_cosine(probe) == pytest.approx(cos(vectors[-1], mean), nan_ok=True)


@pytest.mark.parametrize(
    ("vectors", "cosine", "product", "conflict"),
    [
        ([[3, 0], [0, 4], [1, 0]], 0.6, 1.5, 0.0),  # the mean is (1.5, 2)
        ([[1, 0], [-2, 0], [1, 0]], -1.0, -0.5, 0.5),
        ([[1, 0], [-1, 0], [1, 0]], np.nan, 0.0, 0.5),  # the mean vanishes
        ([[1, 0], [0, 0]], np.nan, 0.0, 0.0),
    ],
)
def test_small_cases_are_those_computed_by_hand(make_probe, vectors, cosine, product, conflict):
    probe = make_probe(0, vectors)
    found = (next_task_cosine(probe), transfer(probe), conflict_rate(probe))
    assert found == pytest.approx((cosine, product, conflict), nan_ok=True)


def test_a_task_below_the_ceiling_has_inner_products_and_no_cosines(make_probe):
    probe = make_probe(1, [[1, 0], [1, 0], [1, 1]], ceiling=[0.9, 0.99 * CEILING, CEILING])
    known = np.isfinite(cosines(probe))
    assert known.tolist() == [[True, False, True], [False, False, False], [True, False, True]]
    assert transfer(probe) == 1
    assert np.isnan(mean_pairwise_cosine(probe))


def test_a_next_task_below_the_ceiling_has_no_cosine(make_probe):
    assert np.isnan(
        next_task_cosine(make_probe(0, [[1, 0], [1, 0]], ceiling=[0.9, 0.99 * CEILING]))
    )


@pytest.mark.parametrize(("noise", "known"), [(3.4, True), (3.6, False)])
def test_noise_of_the_earlier_tasks_averages_out_in_their_mean_and_hides_it_below_the_ceiling(
    noise, known
):
    """Three tasks share the gradient (1, 0, ...), each half with noise of its own at right angles to all else."""
    halves = np.eye(6) * noise
    first, second = (np.column_stack([np.ones(3), own]) for own in (halves[:3], halves[3:]))
    ceiling_of_mean = cos(first.mean(axis=0), second.mean(axis=0))  # 1 / (1 + noise ** 2 / 3)
    assert (ceiling_of_mean >= CEILING) == known
    inner = np.ones((4, 4))[
        np.tril_indices(4)
    ]  # between halves noise plays no part; the next task has none
    ceiling = [*map(cos, first, second), 1.0]
    assert max(ceiling[:3]) < CEILING
    probe = GradientProbe(2, 30, [1.0] * 4, ceiling, inner.tolist())
    assert next_task_cosine(probe) == pytest.approx(1.0 if known else np.nan, nan_ok=True)


def test_the_mean_cosine_of_pairs_leaves_out_the_next_one_and_unknown_pairs(make_probe):
    seen = [[1, 0], [0, 1], [1, 0]]
    assert (
        mean_pairwise_cosine(make_probe(2, seen))
        == mean_pairwise_cosine(make_probe(2, [*seen, [-1, -1]]))
        == pytest.approx(1 / 3)
    )
    assert mean_pairwise_cosine(make_probe(2, seen, ceiling=[1, 0, 1])) == 1


def test_the_cosines_of_a_layer_come_from_its_own_inner_products(make_probe):
    probe = make_probe(1, [[1, 0], [0, 1]], layers={"head": [4.0, -3.0, 9.0]})
    assert cosines(probe, probe.layer_products("head")) == pytest.approx(
        np.array([[1, -0.5], [-0.5, 1]])
    )
