"""Models by name, import path or file."""

import pytest
import torch
from torch import nn
from torch.nn.functional import batch_norm, conv2d
from torch.testing import assert_close

from retrograde.errors import UserError
from retrograde.models._layers import Halving
from retrograde.networks.build import build
from retrograde.training.replicas import stacked


@pytest.mark.parametrize(
    ("spec", "shape", "count"),
    [
        ("mlp-100-100", (1, 28, 28), 784 * 100 + 100 + 100 * 100 + 100 + 100 * 10 + 10),
        ("mlp-400-400", (1, 28, 28), 784 * 400 + 400 + 400 * 400 + 400 + 400 * 10 + 10),
        ("mlp", (7,), 7 * 10 + 10),
        ("plainconv-4", (1, 28, 28), 9 * 4 + 4 + 2 * (36 * 4 + 4) + 16 * 4 * 10 + 10),
        ("gated-mlp-5", (7,), 2 * (7 * 5 + 5) + (5 * 5 + 5) + 5 * 10 + 10),
        ("conv", (1, 8, 8), 32 * 9 + 32 + 32 * 32 * 9 + 32 + 32 * 4 * 10 + 10),
    ],
)
def test_a_named_model_has_the_papers_size(spec, shape, count):
    module = build(spec, shape, 10, seed=0)
    assert sum(p.numel() for p in module.parameters()) == count
    assert module(torch.zeros(3, *shape)).shape == (3, 10)


def test_weights_follow_from_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    same, again, other = (build("mlp-4", (3,), 2, seed)[1].weight for seed in (1, 1, 2))
    assert torch.equal(same, again)
    assert not torch.equal(same, other)
    assert torch.equal(before, torch.get_rng_state())


def test_a_model_can_come_from_a_file_of_the_users(tmp_path):
    file = tmp_path / "nets.py"
    file.write_text(
        "from torch import nn\ndef tiny(shape, outputs): return nn.Linear(shape[0], outputs)\n"
    )
    assert build(f"{file}:tiny", (3,), 2, seed=0)(torch.zeros(1, 3)).shape == (1, 2)


def test_replicates_of_a_model_of_the_users_own_class_can_be_stacked(tmp_path):
    file = tmp_path / "nets.py"
    own = "class Tiny(nn.Linear):\n    def __init__(self, shape, outputs): super().__init__(*shape, outputs)\n"
    file.write_text(f"from torch import nn\n{own}")
    params, _ = torch.func.stack_module_state(
        [build(f"{file}:Tiny", (3,), 2, seed) for seed in (0, 1)]
    )
    assert params["weight"].shape == (2, 2, 3)


def test_a_model_can_come_from_an_import_path(tmp_path, monkeypatch):
    (tmp_path / "far_nets.py").write_text(
        "from torch import nn\ndef tiny(shape, outputs): return nn.Linear(shape[0], outputs)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert build("far_nets:tiny", (3,), 2, seed=0)(torch.zeros(1, 3)).shape == (1, 2)


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        ("resnet", "A model is"),
        ("nowhere:Net", "cannot be imported"),
        ("retrograde.networks.build:build_al", "has no 'build_al'. Did you mean"),
        ("retrograde.networks.build:UserError", "nn.Module"),
        ("nowhere.py:Net", "there is none"),
    ],
)
def test_an_unusable_model_is_refused_with_the_rule(spec, rule):
    with pytest.raises(UserError, match=rule):
        build(spec, (1, 8, 8), 2, seed=0)


def test_a_conv_net_on_features_is_refused():
    with pytest.raises(UserError, match="needs images.*Choose a dataset"):
        build("conv", (12,), 2, seed=0)


def as_convolution(weight):
    """The weight of a `Halving` as that of a 3 x 3 convolution: (output, input, row, column)."""
    return weight.reshape(3, 3, -1, weight.shape[-1]).permute(3, 2, 0, 1)


@pytest.mark.parametrize(("height", "width"), [(6, 6), (7, 7), (5, 8), (2, 3), (1, 1)])
def test_halving_is_a_convolution_of_stride_2_with_batch_norm_and_so_is_its_gradient(height, width):
    torch.manual_seed(0)
    layer, x = (
        Halving(3, 4).double(),
        torch.randn(5, height, width, 3, dtype=torch.float64, requires_grad=True),
    )
    for p in layer.parameters():
        nn.init.normal_(p)
    convolved = conv2d(x.permute(0, 3, 1, 2), as_convolution(layer.weight), stride=2, padding=1)
    expected = batch_norm(
        convolved, None, None, layer.norm.weight, layer.norm.bias, training=True
    ).permute(0, 2, 3, 1)
    assert_close(layer(x), expected, rtol=1e-10, atol=1e-12)
    towards = torch.randn_like(expected)
    inputs = [x, *layer.parameters()]
    ours, theirs = (torch.autograd.grad((y * towards).sum(), inputs) for y in (layer(x), expected))
    assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [28, 13])
def test_conv4_is_the_papers_network_of_pytorchs_layers(size):
    ours, x = (
        build("conv4-6", (2, size, size), 5, seed=0).double(),
        torch.randn(7, 2, size, size, dtype=torch.float64),
    )
    blocks = []
    for layer in (each for each in ours if isinstance(each, Halving)):
        weight = as_convolution(layer.weight.detach())
        convolution = nn.Conv2d(
            weight.shape[1], weight.shape[0], 3, stride=2, padding=1, bias=False
        )
        convolution.weight = nn.Parameter(weight)
        blocks += [
            convolution,
            nn.BatchNorm2d(len(weight), track_running_stats=False).double(),
            nn.ReLU(),
        ]
    theirs = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), ours.head)
    assert_close(ours(x), theirs(x), rtol=1e-10, atol=1e-12)


def test_a_block_without_normalisation_is_a_convolution_of_stride_2_with_a_bias():
    torch.manual_seed(0)
    block, x = Halving(3, 5, normalised=False), torch.randn(2, 7, 6, 3)
    torch.nn.init.normal_(block.norm.bias)
    weight = block.weight.reshape(3, 3, 3, 5).permute(3, 2, 0, 1)
    expected = conv2d(x.permute(0, 3, 1, 2), weight, block.norm.bias, stride=2, padding=1)
    assert_close(block(x), expected.permute(0, 2, 3, 1))


def test_gated_features_are_those_of_the_body_times_the_gate():
    model, x = (
        build("gated-mlp-5", (7,), 3, seed=0),
        torch.randn(2, 7, generator=torch.Generator().manual_seed(1)),
    )
    gate = model.gated.gate(x).sigmoid()
    assert_close(model(x), model.head(model.gated.body(x) * gate))


def test_a_gated_model_needs_a_head(tmp_path):
    file = tmp_path / "nets.py"
    file.write_text(
        "from torch import nn\ndef tiny(shape, outputs): return nn.Linear(shape[0], outputs)\n"
    )
    with pytest.raises(UserError, match="a linear layer named head"):
        build(f"gated-{file}:tiny", (3,), 2, seed=0)


NETS = """
import torch
from torch import nn

class Pair(nn.Linear):
    def __init__(self, shape, outputs): super().__init__(shape[0], outputs)
    def forward(self, x): return super().forward(x), x

class Named(Pair):
    def forward(self, x): return {"logits": super().forward(x)[0]}

class Typo(Pair):
    def forward(self, x): return self.heads(x)

class Unused(nn.Linear):
    def __init__(self, shape, outputs):
        super().__init__(shape[0], outputs)
        self.extra = nn.LazyLinear(3)

def wide(shape, outputs, *, width): return nn.Linear(width, outputs)
def builder(*, weights=None, **more): raise AssertionError("it would load weights")
def breaks(shape, outputs): return {}[shape]
three = 3
class Narrow(nn.Linear):
    def __init__(self, shape, outputs): super().__init__(shape[0], outputs)
    def forward(self, x): return super().forward(x)[:, :1]
class Noisy(Narrow):
    def forward(self, x): return nn.Linear.forward(self, x) + torch.rand(2)
"""
ODD = {
    "Pair": r"a row of 2 outputs for each example; Pair\.forward \(nets\.py:7\) gave a tuple. Return the outputs alone",
    "Named": r"Named\.forward \(nets\.py:10\) gave a dict",
    "Typo": r"cannot take examples of shape \(3,\): nets\.py:13: AttributeError: 'Typo' object has no attribute 'heads'",
    "Unused": "those of extra.weight in model=.* have none: forward never uses it",
    "wide": r"wide of .*nets\.py takes other arguments \(required: shape, outputs, width\). Write a file with a function",
    "builder": r"A model is called with the shape of one example.*takes other arguments. Write a file with a function",
    "breaks": r"could not be built for shape \(3,\) and 2 outputs: nets\.py:22: KeyError",
    "three": "is 3, which cannot be called",
    "Narrow": r"must give 2 outputs for each example; Narrow\.forward \(nets\.py:26\) gave shape",
    "Noisy": r"same outputs when it is called again.*Noisy\.forward \(nets\.py:28\) gives others",
}


@pytest.mark.parametrize("name", ODD)
def test_a_model_of_the_users_that_does_not_fit_is_refused_with_the_rule_and_the_line(
    tmp_path, name
):
    (tmp_path / "nets.py").write_text(NETS)
    with pytest.raises(UserError, match=ODD[name]):
        stacked(f"{tmp_path / 'nets.py'}:{name}", torch.zeros(4, 3), 2, [0], torch.device("cpu"))
