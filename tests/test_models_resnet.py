"""Residual networks: their papers' sizes, torchvision's numbers, initial weights, and replicas."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.functional import batch_norm, conv2d, cross_entropy, linear, relu
from torch.testing import assert_close

from retrograde.data.torchvision import import_torchvision
from retrograde.errors import UserError
from retrograde.models._resnet import Block, Layers, Subsampled, group_norm
from retrograde.networks.build import build, extent
from retrograde.networks.head import headless

CIFAR = (3, 32, 32)
SMALL = (3, 16, 16)
EXACT = {"rtol": 1e-9, "atol": 1e-9}


@pytest.mark.parametrize(
    ("spec", "outputs", "count"),
    [
        # ResNet-18 with the first layer of CIFAR, and GEM's with 20 channels.
        ("resnet18", 10, 11_173_962),
        ("resnet18-20", 10, 1_094_750),
        ("resnet18-20", 100, 1_109_240),
        # "0.46M" in table 6 of He et al. 2016.
        ("resnet32", 10, 464_154),
        ("resnet18gn-20", 10, 1_094_750),
        ("resnet32gn", 10, 464_154),
    ],
)
def test_a_network_has_the_papers_number_of_parameters(spec, outputs, count):
    size = extent(spec, CIFAR, outputs)
    assert size.parameters == count
    # Some layer has as many outputs as the first stage.
    assert size.widest >= 16 * 32 * 32


@pytest.mark.parametrize("training", [True, False])
def test_resnet18_gives_torchvisions_numbers(training):
    ours = build("resnet18", CIFAR, 10, seed=0, running=True)
    theirs = import_torchvision().models.resnet18(weights=None, num_classes=10)
    theirs.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.maxpool = nn.Identity()
    values = zip(theirs.state_dict(), ours.state_dict().values(), strict=True)
    theirs.load_state_dict(dict(values))
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, *CIFAR, generator=generator, dtype=torch.float64)
    outputs = [module.double().train(training)(x) for module in (ours, theirs)]
    assert_close(*outputs, rtol=1e-6, atol=1e-6)


def test_resnet32_is_the_papers_network_of_option_a():
    module = build("resnet32", SMALL, 10, seed=0).double()
    weights = dict(module.named_parameters())
    x = torch.randn(4, *SMALL, dtype=torch.float64)

    def layer(x, conv, norm, stride=1):
        out = conv2d(x, weights[f"{conv}.weight"], stride=stride, padding=1)
        scale, shift = weights[f"{norm}.weight"], weights[f"{norm}.bias"]
        return batch_norm(out, None, None, scale, shift, training=True)

    out = relu(layer(x, "conv", "norm"))
    for stage in (1, 2, 3):
        for block in range(5):
            name, stride = f"stage{stage}.{block}", 2 if (stage > 1 and block == 0) else 1
            inner = relu(layer(out, f"{name}.conv1", f"{name}.norm1", stride))
            inner = layer(inner, f"{name}.conv2", f"{name}.norm2")
            short = out[:, :, ::stride, ::stride]
            zeros = torch.zeros_like(inner[:, short.shape[1] :])
            out = relu(inner + torch.cat([short, zeros], 1))
    expected = linear(out.mean((2, 3)), weights["head.weight"], weights["head.bias"])
    assert_close(module(x), expected, **EXACT)


def test_a_shortcut_of_option_a_has_no_parameters_and_adds_zeros():
    shortcut = Subsampled(2, 3)
    x = torch.randn(2, 4, 5, 6)
    out = shortcut(x)
    assert torch.equal(out[:, :4], x[:, :, [0, 2, 4]][..., [0, 2, 4]])
    assert (out.shape, float(out[:, 4:].abs().sum())) == ((2, 7, 3, 3), 0)


def test_without_normalisation_a_block_starts_as_its_shortcut():
    torch.manual_seed(0)
    block = Block(Layers(None, normal=True, projected=True), 4, 4, stride=1)
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(block(x), x.relu())


@pytest.mark.parametrize(
    ("channels", "groups"), [(64, 32), (512, 32), (20, 10), (80, 20), (16, 8), (7, 1), (1, 1)]
)
def test_groups_have_two_channels_or_more(channels, groups):
    assert group_norm(channels).num_groups == groups


@pytest.mark.parametrize(
    ("spec", "layer", "variance"),
    [
        ("resnet18", "stage4.1.conv2", 1 / (3 * 9 * 512)),
        ("resnet32", "stage3.4.conv2", 2 / (9 * 64)),
        ("resnet32", "stage2.0.conv1", 2 / (9 * 32)),
        ("resnet18nonorm", "stage4.1.conv1", 2 / (9 * 512)),
    ],
)
def test_convolutions_start_as_in_their_source(spec, layer, variance):
    weight = build(spec, SMALL, 10, seed=0).get_submodule(layer).weight.detach()
    assert float(weight.var()) == pytest.approx(variance, rel=0.05)


NETWORKS = [f"resnet{depth}{norm}-4" for depth in (18, 32) for norm in ("", "gn", "nonorm")]


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("spec", NETWORKS)
def test_stacked_replicas_do_as_in_a_loop(spec, running):
    modules = [build(spec, SMALL, 5, seed, running).double() for seed in range(3)]
    params, buffers = stack_module_state(modules)
    params = {name: value.detach() for name, value in params.items()}
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, *SMALL, generator=generator, dtype=torch.float64)
    y = torch.randint(5, (3, 4), generator=generator)

    def gradient(params, buffers, x, y):
        def loss(params):
            buffers_after = {name: value.clone() for name, value in buffers.items()}
            out = functional_call(modules[0], (params, buffers_after), (x,))
            return cross_entropy(out, y), buffers_after

        return grad(loss, has_aux=True)(params)

    stacked, after = vmap(gradient)(params, buffers, x, y)
    for i, module in enumerate(modules):
        module.zero_grad()
        cross_entropy(module(x[i]), y[i]).backward()
        for name, value in module.named_parameters():
            assert_close(stacked[name][i], value.grad, **EXACT)
        for name, value in module.named_buffers():
            assert_close(after[name][i], value, **EXACT)


@pytest.mark.parametrize("spec", NETWORKS)
def test_the_head_gives_the_outputs_from_the_features(spec):
    module = build(spec, SMALL, 5, seed=0)
    x = torch.randn(4, *SMALL)
    features = headless(module)(x)
    assert features.shape == (4, 4 * (8 if "18" in spec else 4))
    assert_close(module.head(features), module(x))


@pytest.mark.parametrize("shape", [(3, 7, 8), (3, 8, 7), (192,), (8, 8)])
def test_images_that_are_too_small_are_refused_with_the_rule(shape):
    with pytest.raises(UserError, match="model=resnet18gn needs images of at least 8 x 8 pixels"):
        build("resnet18gn", shape, 5, seed=0)


@pytest.mark.parametrize(("spec", "least"), [("resnet18-4", 8), ("resnet32-4", 4)])
def test_the_smallest_images_can_be_trained_on(spec, least):
    module = build(spec, (1, least, least), 5, seed=0, running=True)
    assert module(torch.randn(3, 1, least, least)).shape == (3, 5)
    with pytest.raises(UserError, match=f"model={spec} needs images of at least {least} x {least}"):
        build(spec, (1, least - 1, least), 5, seed=0)


def test_a_width_that_is_the_default_is_not_written():
    with pytest.raises(UserError, match="here resnet18: each model has one name"):
        build("resnet18-64", CIFAR, 10, seed=0)
