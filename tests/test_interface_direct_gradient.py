"""First-order gradients by autograd itself are those of `torch.func`."""

import pytest
import torch
from torch.func import grad, vmap

from retrograde.interface.direct_gradient import direct_gradient, is_direct


def loss(params):
    """A function of two sets of parameters, of which one tensor has no part in it."""
    inner, outer = params["inner"], params["outer"]
    value = (inner["a"] ** 3).sum() * outer["b"].sin()
    return value, {"square": value**2}


@pytest.fixture
def params():
    return {
        "inner": {"a": torch.tensor([1.0, 2.0]), "unused": torch.ones(3)},
        "outer": {"b": torch.tensor(0.5)},
    }


def test_the_gradient_is_that_of_torch_func(params):
    found, aux = direct_gradient(loss, params)
    wanted, wanted_aux = grad(loss, has_aux=True)(params)
    assert found["inner"].keys() == {"a", "unused"}
    for name, value in wanted["inner"].items():
        assert torch.equal(found["inner"][name], value)
    assert torch.equal(found["outer"]["b"], wanted["outer"]["b"])
    assert torch.equal(aux["square"], wanted_aux["square"])


def test_the_gradient_of_a_constant_is_zero(params):
    found, _ = direct_gradient(lambda _: (torch.ones(()), None), params)
    wanted, _ = grad(lambda _: (torch.ones(()), ()), has_aux=True)(params)
    assert torch.equal(found["inner"]["a"], wanted["inner"]["a"])
    assert not found["outer"]["b"].requires_grad


def test_nothing_that_it_gives_has_a_graph(params):
    found, aux = direct_gradient(loss, params)
    assert not found["inner"]["a"].requires_grad
    assert not aux["square"].requires_grad
    assert not params["inner"]["a"].requires_grad


def test_it_is_for_places_without_transforms():
    seen = []
    vmap(lambda x: seen.append(is_direct()) or x)(torch.ones(2))
    grad(lambda x: seen.append(is_direct()) or x)(torch.ones(()))
    assert [is_direct(), *seen] == [True, False, False]
