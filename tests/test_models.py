"""Models by name, import path or file."""

import pytest
import torch

from retrograde.errors import UserError
from retrograde.models import build


@pytest.mark.parametrize(
    ("spec", "shape", "count"),
    [
        ("mlp-100-100", (1, 28, 28), 784 * 100 + 100 + 100 * 100 + 100 + 100 * 10 + 10),
        ("mlp-400-400", (1, 28, 28), 784 * 400 + 400 + 400 * 400 + 400 + 400 * 10 + 10),
        ("mlp", (7,), 7 * 10 + 10),
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
    file.write_text("from torch import nn\ndef tiny(shape, outputs): return nn.Linear(shape[0], outputs)\n")
    assert build(f"{file}:tiny", (3,), 2, seed=0)(torch.zeros(1, 3)).shape == (1, 2)


def test_a_model_can_come_from_an_import_path():
    assert build("retrograde.models:conv", (1, 8, 8), 2, seed=0)(torch.zeros(1, 1, 8, 8)).shape == (1, 2)


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        ("resnet", "A model is"),
        ("nowhere:Net", "cannot be imported"),
        ("retrograde.models:nothing", "cannot be imported"),
        ("retrograde.models:UserError", "nn.Module"),
        ("nowhere.py:Net", "there is none"),
    ],
)
def test_an_unusable_model_is_refused_with_the_rule(spec, rule):
    with pytest.raises(UserError, match=rule):
        build(spec, (1, 8, 8), 2, seed=0)


def test_a_conv_net_on_features_is_refused():
    with pytest.raises(UserError, match="needs images"):
        build("conv", (12,), 2, seed=0)
