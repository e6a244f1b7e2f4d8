"""What a look at the gradients says, against explicit vectors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from retrograde.probe import Probe, triangle

VECTORS = st.integers(2, 6).flatmap(lambda n: arrays(float, (n, 4), elements=st.integers(-9, 9).map(float)))


def cos(a, b):
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return a @ b / lengths if lengths else 0.0


def test_the_triangle_is_filled_row_by_row_and_mirrored():
    assert triangle([0.1, 0.2, 0.3], 3).tolist() == [[1, 0.1, 0.2], [0.1, 1, 0.3], [0.2, 0.3, 1]]


@given(VECTORS)
def test_the_matrix_is_that_of_the_cosines_between_gradients(look, vectors):
    expected = [[1.0 if i == j else cos(a, b) for j, b in enumerate(vectors)] for i, a in enumerate(vectors)]
    assert look(0, vectors).cosines == pytest.approx(np.array(expected), abs=6e-5)


@given(VECTORS)
def test_the_arriving_gradient_is_compared_with_the_mean_of_the_earlier_ones(look, vectors):
    mean = vectors[:-1].mean(axis=0)
    if np.linalg.norm(mean) > 1:  # else cosines rounded to four decimals do not tell the length of the mean
        assert look(0, vectors).arriving() == pytest.approx(cos(vectors[-1], mean), abs=0.02)


@pytest.mark.parametrize(
    ("vectors", "arriving", "conflict"),
    [
        ([[3, 0], [0, 4], [1, 0]], 0.6, 0.0),  # the mean is (1.5, 2)
        ([[1, 0], [-2, 0], [1, 0]], -1.0, 0.5),
        ([[1, 0], [-1, 0], [1, 0]], 0.0, 0.5),  # the mean vanishes
        ([[1, 0], [0, 0]], 0.0, 0.0),
    ],
)
def test_small_cases_of_alignment_and_conflict_are_those_computed_by_hand(look, vectors, arriving, conflict):
    probe = look(0, vectors)
    assert (probe.arriving(), probe.conflict()) == pytest.approx((arriving, conflict), abs=1e-9)


def test_the_mean_cosine_among_tasks_leaves_the_next_one_out(look):
    seen = [[1, 0], [0, 1], [1, 0]]
    assert look(2, seen).among() == look(2, [*seen, [-1, -1]]).among() == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("task", "looked", "ended", "arrival"), [(1, 3, True, True), (1, 2, True, False), (2, 3, False, False)]
)
def test_a_task_arrives_where_one_ends_and_the_next_was_looked_at(look, task, looked, ended, arrival):
    assert look(task, np.eye(3)[:looked], ended=ended).arrival is arrival


@pytest.mark.parametrize(
    "damage",
    [
        {"loss": [1.0, 1.0]}, {"norm": [1.0]}, {"cosine": [0.0]}, {"layers": {"out": [0.0]}}, {"update": [0.1, 0.1]},
        {"predicted": [0.1, 0.1, 0.1]}, {"loss": [1.0], "norm": [1.0], "cosine": []},
    ],
    ids=str,
)  # fmt: skip
def test_a_probe_whose_lists_do_not_fit_together_is_at_fault(damage):
    sound = {
        "task": 1, "step": 5, "ended": True, "loss": [1.0] * 3, "norm": [1.0] * 3, "cosine": [0.0] * 3,
        "layers": {"out": [0.0] * 3}, "update": [0.1], "predicted": [0.1],
    }  # fmt: skip
    assert Probe(**sound).fault() == ""
    assert "do not fit together" in Probe(**sound | damage).fault()
