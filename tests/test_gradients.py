"""Gradient alignment: the cosine of two gradients against its geometry."""

import pytest
import torch
from hypothesis import given, strategies as st
from torch.nn.functional import cosine_similarity

from retrograde.gradients import cosine

UP, RIGHT, NOWHERE = (
    {"w": torch.tensor([[x]]), "b": torch.tensor([y])}
    for x, y in ((0.0, 2.0), (3.0, 0.0), (0.0, 0.0))
)
DOWN = {name: -value for name, value in UP.items()}


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (UP, UP, 1),
        (UP, DOWN, -1),
        (UP, RIGHT, 0),
        (UP, NOWHERE, 0),
        (NOWHERE, UP, 0),
        (NOWHERE, NOWHERE, 0),
    ],
)
def test_the_cosine_of_two_gradients_is_that_of_their_angle(a, b, expected):
    assert cosine(a, b).item() == expected


def gradients():
    random = torch.Generator().manual_seed(0)
    return [
        {name: torch.randn(size, generator=random) for name, size in (("w", (3, 2)), ("b", (4,)))}
        for _ in "ab"
    ]


def test_all_parameters_count_together():
    a, b = gradients()
    joined = [torch.cat([each.flatten() for each in gradient.values()]) for gradient in (a, b)]
    assert cosine(a, b).item() == pytest.approx(cosine_similarity(*joined, dim=0).item(), rel=1e-5)


@given(st.floats(-6, 6), st.floats(-6, 6))
def test_the_lengths_of_the_gradients_do_not_matter(up, down):
    a, b = gradients()
    scaled = [
        {name: 10**power * value for name, value in each.items()}
        for each, power in ((a, up), (b, down))
    ]
    assert cosine(*scaled).item() == pytest.approx(cosine(a, b).item(), rel=1e-4)


@pytest.mark.parametrize("power", [-12, -16, 10])
def test_two_gradients_of_extreme_length_have_a_direction_still(power):
    scaled = [{name: 10.0**power * value for name, value in each.items()} for each in gradients()]
    assert cosine(*scaled).item() == pytest.approx(cosine(*gradients()).item(), rel=1e-4)
