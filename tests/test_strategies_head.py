"""A linear head after many steps in closed form, against the steps one by one."""

import pytest
import torch
from torch.func import grad
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from retrograde.errors import UserError
from retrograde.methods.head import head_after_steps, head_layer, reset_head

RATE = 0.3


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def params():
    return {
        "0.weight": drawn(4, 2),
        "head.weight": drawn(5, 4, seed=1),
        "head.bias": drawn(5, seed=2),
    }


FEATURES, QUERY, Y = drawn(6, 4, seed=3), drawn(3, 4, seed=4), torch.tensor([1, 1, 4, 4, 0, 0])


def by_steps(params, features, query):
    """One step of gradient descent after the other, by PyTorch."""
    head = {name: params[name] for name in ("head.weight", "head.bias")}

    def loss(head, x, y):
        return cross_entropy(x @ head["head.weight"].T + head["head.bias"], y)

    for x, y in zip(features, Y, strict=True):
        slope = grad(loss)(head, x, y)
        head = {name: value - RATE * slope[name] for name, value in head.items()}
    return query @ head["head.weight"].T + head["head.bias"]


def test_the_logits_are_those_of_one_step_after_the_other(params):
    assert_close(
        head_after_steps(params, FEATURES, Y, QUERY, RATE), by_steps(params, FEATURES, QUERY)
    )


def test_all_derivatives_are_those_of_one_step_after_the_other(params):
    def slope(logits):
        return grad(
            lambda p, features, query: (logits(p, features, query) ** 2).sum(), argnums=(0, 1, 2)
        )(params, FEATURES, QUERY)

    assert_close(
        slope(lambda p, features, query: head_after_steps(p, features, Y, query, RATE)),
        slope(by_steps),
    )


def test_in_first_order_the_logits_are_the_same_and_the_features_have_no_derivative(params):
    assert_close(
        head_after_steps(params, FEATURES, Y, QUERY, RATE, first_order=True),
        by_steps(params, FEATURES, QUERY),
    )
    slope = grad(
        lambda features: head_after_steps(params, features, Y, QUERY, RATE, first_order=True).sum()
    )(FEATURES)
    assert not slope.any()


def test_reset_rows_are_zero_and_the_others_as_they_were(params):
    some, none = reset_head(params, Y), reset_head(params)
    rows = torch.tensor([0, 1, 4])
    assert not some["head.weight"][rows].any()
    assert not some["head.bias"][rows].any()
    assert torch.equal(some["head.weight"][2:4], params["head.weight"][2:4])
    assert torch.equal(some["0.weight"], params["0.weight"])
    assert not torch.cat([none["head.weight"].flatten(), none["head.bias"]]).any()


def test_a_model_without_a_linear_head_is_refused_with_the_rule():
    with pytest.raises(UserError, match="must be one linear layer with a bias, named head"):
        head_layer({"0.weight": torch.zeros(2, 2)})
