"""Probes of the gradients, against explicit vectors."""

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from retrograde.records.gradient_probe import GradientProbe, triangle

VECTORS = st.integers(2, 6).flatmap(
    lambda n: arrays(float, (n, 4), elements=st.integers(-9, 9).map(float))
)


def cos(a, b):
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return a @ b / lengths if lengths else np.nan


def test_the_triangle_is_filled_row_by_row_and_mirrored():
    assert triangle([1, 2, 3, 4, 5, 6], 3).tolist() == [[1, 2, 4], [2, 3, 5], [4, 5, 6]]


def test_a_probe_has_a_next_task_if_that_was_probed(make_probe):
    assert make_probe(1, np.eye(3)).has_next_task
    assert not make_probe(1, np.eye(3)[:2]).has_next_task


@pytest.mark.parametrize(
    "damage",
    [{"loss": [1.0, 1.0]}, {"ceiling": [1.0]}, {"inner": [0.0]}, {"layers": {"out": [0.0]}},
     {"loss": [1.0], "ceiling": [1.0], "inner": [1.0], "layers": {}}],
    ids=str,
)  # fmt: skip
def test_a_probe_whose_lists_do_not_fit_together_is_inconsistent(damage):
    whole = {
        "task": 1, "step": 5, "loss": [1.0] * 3, "ceiling": [1.0] * 3, "inner": [1.0] * 6, "layers": {"out": [1.0] * 6},
    }  # fmt: skip
    assert GradientProbe(**whole).inconsistency() == ""
    assert "do not fit together" in GradientProbe(**whole | damage).inconsistency()


def test_a_probe_with_a_number_that_is_not_finite_is_inconsistent():
    assert "not finite" in GradientProbe(0, 5, [float("inf")], [1.0], [1.0]).inconsistency()
