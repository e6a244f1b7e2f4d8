"""A model's layers as forward calls them, whatever its class and the order of its names."""

import pytest
import torch
from torch import nn

from retrograde.networks.calls import output_layer, perceptron_layers, trial
from retrograde.networks.head import has_features


class Own(nn.Module):
    """Layers that are named from the last to the first, and a forward of its own."""

    def __init__(self, forward):
        super().__init__()
        self.head = nn.Linear(5, 3)
        self.hidden = nn.Linear(6, 5)
        self.own = forward

    def forward(self, x):
        return self.own(self, x.flatten(1))


class Scaled(nn.Sequential):
    def forward(self, x):
        return super().forward(x) / 10


def usual(net, x):
    return net.head(net.hidden(x).relu())


def layers(last=nn.ReLU):
    return nn.Flatten(), nn.Linear(6, 5), last(), nn.Linear(5, 3)


def hooked():
    module = nn.Sequential(*layers())
    module[1].register_forward_hook(lambda _, __, outputs: outputs / 10)
    return module


def starting_at_zero():
    module = Own(lambda net, x: usual(net, x) / 10)
    nn.init.zeros_(module.head.weight)
    nn.init.zeros_(module.head.bias)
    return module


def certain(kind):
    """A network whose outputs are nearly those of its last bias."""
    module = nn.Sequential(*layers(kind))
    nn.init.constant_(module[3].bias, 100)
    return module


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (nn.Sequential(*layers()), ("1", "3")),
        (nn.Sequential(nn.Sequential(*layers())), ("0.1", "0.3")),
        (certain(nn.ReLU), ("1", "3")),
        (Own(usual), ("hidden", "head")),
        (Scaled(*layers()), ()),
        (nn.Sequential(*layers(nn.Tanh)), ()),
        (nn.Sequential(*layers(lambda: nn.BatchNorm1d(5, affine=False)), nn.ReLU()), ()),
        (Own(lambda net, x: usual(net, x) + x[:, :3]), ()),
        (Own(lambda net, x: usual(net, x.relu())), ()),
        (hooked(), ()),
        (starting_at_zero(), ()),
        (nn.Sequential(*layers(nn.ReLU6)), ()),
        (nn.Sequential(*layers(lambda: nn.Hardtanh(0, 20))), ()),
        (certain(nn.GELU), ()),
    ],
)
def test_a_perceptron_is_known_by_what_it_computes(module, names):
    assert perceptron_layers(module, (2, 3)) == names


@pytest.mark.parametrize(
    ("forward", "layer", "has"),
    [
        (usual, "head", True),
        (lambda net, x: usual(net, x) / 10, "", False),
        (lambda net, x: usual(net, x) + x[:, :3], "", False),
        (lambda net, x: net.hidden(nn.functional.pad(usual(net, x), (0, 3))), "hidden", False),
        (lambda net, x: usual(net, x).mul_(2), "", False),
    ],
)
def test_features_are_those_of_a_head_whose_outputs_are_the_models(forward, layer, has):
    module = Own(forward)
    assert output_layer(module, (6,)) == layer
    assert has_features(module, torch.linspace(-1, 1, 12).reshape(2, 6)) is has


def test_a_trial_leaves_the_model_as_it_is():
    module = nn.Sequential(*layers(lambda: nn.BatchNorm1d(5))).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    trial(module, (6,))
    assert module.training
    assert not module[1]._forward_hooks
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
