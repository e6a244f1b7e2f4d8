"""Perceptrons with dropout: their layers, their masks in training, and replicas with keys."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from retrograde.errors import UserError
from retrograde.networks.build import build
from retrograde.networks.dropout import key_names, keyed


def test_dropout_follows_every_relu_and_adds_no_parameters():
    dropping = build("mlpdropout-0.25-8-6", (5,), 3, seed=0)
    plain = build("mlp-8-6", (5,), 3, seed=0)
    kinds = [type(layer) for layer in dropping]
    assert kinds == [nn.Flatten, *2 * (nn.Linear, nn.ReLU, nn.Dropout), nn.Linear]
    x = torch.randn(4, 5)
    assert torch.equal(dropping.eval()(x), plain(x))


@pytest.mark.parametrize("spec", ["mlpdropout", "mlpdropout-1-8", "mlpdropout-0-8", "mlpdropout-8"])
def test_a_share_that_is_none_is_refused_with_the_form(spec):
    with pytest.raises(UserError, match="It is written mlpdropout-DROPOUT-HIDDEN-HIDDEN..."):
        build(spec, (5,), 3, seed=0)


def test_stacked_replicas_with_keys_of_their_own_do_as_in_a_loop():
    modules = [keyed(build("mlpdropout-0.5-16-16", (5,), 3, seed)) for seed in range(3)]
    params, _ = stack_module_state(modules)
    params = {name: value.detach() for name, value in params.items()}
    names = key_names(modules[0])
    keys = torch.arange(3 * len(names)).reshape(3, -1)
    x, y = torch.randn(3, 6, 5), torch.randint(3, (3, 6))

    def gradient(params, keys, x, y):
        def loss(params):
            out = functional_call(modules[0], params | dict(zip(names, keys, strict=True)), (x,))
            return cross_entropy(out, y)

        return grad(loss)(params)

    stacked = vmap(gradient)(params, keys, x, y)
    for i in range(3):
        one = gradient({name: value[i] for name, value in params.items()}, keys[i], x[i], y[i])
        assert_close({name: value[i] for name, value in stacked.items()}, one)
