"""The inputs of layers reproduce their outputs, for linear layers and convolutions."""

import pytest
import torch
from torch import nn
from torch.func import vmap
from torch.testing import assert_close

from retrograde import layer_inputs, layer_matrix, of_layer_matrix, weighted_layers
from retrograde.errors import UserError
from retrograde.testing import toy_batch, toy_net

CONVOLUTIONS = [
    {"kernel_size": 3},
    {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)},
    {"kernel_size": 2, "padding": "valid", "bias": False},
]


def convolutional(**options):
    torch.manual_seed(0)
    first = nn.Conv2d(2, 3, **options)
    features = first(torch.zeros(1, 2, 6, 6)).numel()
    return nn.Sequential(first, nn.ReLU(), nn.Flatten(), nn.Linear(features, 4))


@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_the_matrix_of_a_convolution_times_its_inputs_is_its_output(options):
    net, params = toy_net(convolutional(**options), shape=(2, 6, 6))
    batch = toy_batch(5, (2, 6, 6))
    inputs = layer_inputs(net, params, batch)
    outputs = inputs["0"] @ layer_matrix(params, "0").T
    expected = net.module[0](batch.x).flatten(2).transpose(1, 2).flatten(0, 1)
    assert_close(outputs, expected)
    hidden = net.module[:3](batch.x)
    assert_close(inputs["3"], torch.cat([hidden, torch.ones(5, 1)], 1))


def test_inputs_of_padding_are_zero():
    net, params = toy_net(convolutional(kernel_size=3), shape=(2, 6, 6))
    batch = toy_batch(5, (2, 6, 6), padding=2)
    inputs = layer_inputs(net, params, batch)
    assert [len(rows) for rows in inputs.values()] == [5 * 16, 5]
    assert inputs["0"][3 * 16 :].abs().sum() == 0
    assert (inputs["0"][: 3 * 16].abs().sum(1) > 0).all()
    assert inputs["3"][3:].abs().sum() == 0


def test_a_layer_that_is_used_twice_has_the_inputs_of_both_calls():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(6, 6, bias=False)
            self.head = nn.Linear(6, 4)

        def forward(self, x):
            return self.head(self.inner(self.inner(x)))

    net, params = toy_net(Twice())
    batch = toy_batch(3)
    inputs = layer_inputs(net, params, batch)["inner"]
    assert_close(inputs, torch.cat([batch.x, batch.x @ params["inner.weight"].T]))


def test_under_vmap_each_replicate_has_its_own_inputs():
    net, params = toy_net("mlp-5")
    batch = toy_batch(3)
    stacked = {name: torch.stack([value, 2 * value]) for name, value in params.items()}
    found = vmap(lambda params: layer_inputs(net, params, batch))(stacked)
    for i, factor in enumerate((1, 2)):
        own = {name: factor * value for name, value in params.items()}
        alone = layer_inputs(net, own, batch)
        assert_close({name: rows[i] for name, rows in found.items()}, alone)
    # No hook is left behind.
    assert not any(layer._forward_pre_hooks for layer in net.networks.evaluating["model"].modules())


def test_a_matrix_becomes_the_parameters_again():
    net, params = toy_net(convolutional(kernel_size=3), shape=(2, 6, 6))
    made = {}
    for layer in weighted_layers(net, params):
        made |= of_layer_matrix(params, layer, layer_matrix(params, layer))
    assert made.keys() == params.keys()
    assert all(torch.equal(made[name], value) for name, value in params.items())


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(2, 4, 3, groups=2),
        nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(2, 4, 3, padding="same"),
        nn.ConvTranspose2d(2, 4, 3),
    ],
)
def test_a_layer_of_another_kind_is_refused(module):
    net, params = toy_net(nn.Sequential(module, nn.Flatten()), shape=(2, 6, 6))
    with pytest.raises(UserError, match="the weights 0.weight. Choose a model such as"):
        weighted_layers(net, params)
