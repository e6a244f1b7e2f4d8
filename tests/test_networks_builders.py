"""Models by import path: the arguments that functions and classes get, torchvision's, lazy layers."""

import sys
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from retrograde.errors import UserError
from retrograde.networks.build import build, extent, model_file
from retrograde.networks.checks import check_module, check_rows_apart
from retrograde.networks.dropout import key_names, keyed

IMAGE = (3, 32, 32)
SHAPE = (6,)

NETS = """
import torch
from torch import nn

class Classes(nn.Linear):
    def __init__(self, num_classes=10, width=6): super().__init__(width, num_classes)

def second(shape, num_classes): return nn.Linear(shape[0], num_classes)
def named(*, outputs, shape): return nn.Linear(shape[0], outputs)
def weights(num_classes, weights="mine"):
    net = nn.Linear(6, num_classes)
    net.weights = weights
    return net

def lazy(shape, outputs):
    return nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(outputs))
"""


@pytest.fixture
def nets(tmp_path):
    (tmp_path / "nets.py").write_text(NETS)
    return str(tmp_path / "nets.py")


@pytest.mark.parametrize("name", ["Classes", "second", "named", "weights"])
def test_a_builder_gets_shape_and_outputs_or_the_number_of_classes(nets, name):
    assert build(f"{nets}:{name}", SHAPE, 4, seed=0).weight.shape == (4, 6)


def test_a_builder_of_the_users_own_file_keeps_its_defaults(nets):
    assert build(f"{nets}:weights", SHAPE, 4, seed=0).weights == "mine"


@pytest.fixture
def far(monkeypatch):
    """A package whose builders tell what they are called with, under a name of one's choice."""

    def make(name, **functions):
        module = ModuleType(name)
        for key, function in functions.items():
            function.__module__ = name
            setattr(module, key, function)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return make


class Told(nn.Linear):
    """A layer that keeps the arguments with which it was built."""

    def __init__(self, **given):
        super().__init__(6, given["num_classes"])
        self.given = given


@pytest.mark.parametrize(
    ("shape", "given"),
    [
        (IMAGE, {"num_classes": 4, "pretrained": False}),
        ((1, 28, 28), {"num_classes": 4, "pretrained": False, "in_chans": 1}),
    ],
)
def test_timm_loads_no_weights_and_gets_the_channels(far, shape, given):
    far("timm", net=lambda pretrained=True, **more: Told(pretrained=pretrained, **more))
    assert build("timm:net", shape, 4, seed=0).given == given


def test_a_builder_of_any_package_loads_no_weights(far):
    def net(num_classes, weights="w", weights_backbone="b", pretrained=True):
        return Told(num_classes=num_classes, of=(weights, weights_backbone), pretrained=pretrained)

    far("far_models", net=net)
    given = build("far_models:net", SHAPE, 4, seed=0).given
    assert given == {"num_classes": 4, "of": (None, None), "pretrained": False}


def test_a_builder_of_transformers_that_takes_a_configuration_is_refused(far):
    far("transformers", net=lambda config: nn.Linear(config, 1))
    with pytest.raises(UserError, match=r"net of transformers takes other .*\(required: config\)"):
        build("transformers:net", SHAPE, 4, seed=0)


def test_torchvisions_resnet18_is_built_without_weights_from_the_seed():
    spec = "torchvision.models:resnet18"
    one, again, other = (build(spec, IMAGE, 7, seed) for seed in (1, 1, 2))
    assert torch.equal(one.fc.weight, again.fc.weight)
    assert not torch.equal(one.fc.weight, other.fc.weight)
    x = torch.randn(4, *IMAGE)
    assert check_module(one, x, 7) is True
    check_rows_apart(one, x, spec)


def test_a_model_of_torchvision_is_measured_and_its_file_is_known():
    size = extent("torchvision.models:resnet18", IMAGE, 10)
    assert size.parameters == 11_181_642
    # The first convolution halves the size, and has 64 channels.
    assert size.widest == 64 * 16 * 16
    file = model_file("torchvision.models:resnet18")
    assert file.parts[-2:] == ("models", "__init__.py")


def test_a_torchvision_class_that_needs_more_is_refused_with_what_it_misses():
    with pytest.raises(UserError, match=r"ResNet of torchvision.*\(required: block, layers\)"):
        build("torchvision.models.resnet:ResNet", IMAGE, 10, seed=0)


def test_outputs_of_torchvision_that_are_no_tensor_are_refused_with_the_remedy():
    module = build("torchvision.models.segmentation:lraspp_mobilenet_v3_large", IMAGE, 3, seed=0)
    with pytest.raises(UserError, match="gave a OrderedDict. Return the outputs alone; if the"):
        check_module(module, torch.randn(2, *IMAGE), 3)


NETWORKS = ["resnet18", "mobilenet_v3_small", "squeezenet1_1"]
"""Models with ReLU or Hardswish in place, the last two with dropout."""


@pytest.mark.parametrize("name", NETWORKS)
def test_replicas_of_torchvisions_models_do_as_in_a_loop(name):
    spec = f"torchvision.models:{name}"
    modules = [keyed(build(spec, IMAGE, 5, seed)).double() for seed in range(2)]
    assert any(getattr(layer, "inplace", False) for layer in modules[0].modules())
    params, buffers = stack_module_state(modules)
    params = {name: value.detach() for name, value in params.items()}
    for number, key in enumerate(key_names(modules[0])):
        buffers[key] = torch.tensor([number, 100 + number])
    x = torch.randn(2, 4, *IMAGE, dtype=torch.float64)
    y = torch.randint(5, (2, 4))

    def gradient(params, buffers, x, y):
        def loss(params):
            own = {name: value.clone() for name, value in buffers.items()}
            return cross_entropy(functional_call(modules[0], (params, own), (x,)), y)

        return grad(loss)(params)

    stacked = vmap(gradient)(params, buffers, x, y)
    for i in range(2):
        own = ({name: value[i] for name, value in tree.items()} for tree in (params, buffers))
        one = gradient(*own, x[i], y[i])
        found = {name: value[i] for name, value in stacked.items()}
        assert_close(found, one, rtol=1e-8, atol=1e-10)


def test_lazy_layers_get_their_shapes_and_weights_from_the_seed(nets):
    spec = f"{nets}:lazy"
    before = torch.get_rng_state()
    one, again, other = (build(spec, SHAPE, 4, seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert [type(layer) for layer in one] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert torch.equal(one[0].weight, again[0].weight)
    assert not torch.equal(one[0].weight, other[0].weight)


def test_the_pass_that_shapes_lazy_layers_leaves_no_trace(nets):
    module = build(f"{nets}:lazy", SHAPE, 4, seed=0)
    assert all(layer.training for layer in module.modules())
    assert torch.equal(module[1].running_var, torch.ones(8))
    assert int(module[1].num_batches_tracked) == 0


def test_a_model_with_lazy_layers_is_measured(nets):
    assert extent(f"{nets}:lazy", SHAPE, 4).parameters == 6 * 8 + 8 + 2 * 8 + 8 * 4 + 4
