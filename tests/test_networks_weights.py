"""Weights from a file: formats, heads for other classes, files that do not fit, and digests."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from retrograde.errors import UserError
from retrograde.networks.build import build
from retrograde.networks.weights import load_weights, weights_digest

SPEC = "mlp-5-4"


def net(outputs=3, seed=0, spec=SPEC):
    return build(spec, (6,), outputs, seed)


@pytest.fixture
def file(tmp_path):
    """A file of weights, written from a state dict or anything else."""

    def write(content, name="w.pt"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return write


def test_a_model_gets_the_weights_of_a_file(file):
    source = net(seed=1)
    module = net(seed=2)
    assert load_weights(module, file(source.state_dict())) == []
    assert all(
        torch.equal(a, b) for a, b in zip(source.parameters(), module.parameters(), strict=True)
    )


def test_the_weights_are_an_argument_of_build(file):
    path = file(net(outputs=9, seed=1).state_dict())
    one, other = (build(SPEC, (6,), 3, seed, weights=str(path)) for seed in (2, 3))
    assert torch.equal(one[1].weight, net(seed=1)[1].weight)
    assert torch.equal(one[1].weight, other[1].weight)
    # The head, for another number of classes, starts from each seed.
    assert torch.equal(one.head.weight, net(seed=2).head.weight)
    assert torch.equal(other.head.weight, net(seed=3).head.weight)


def test_a_head_for_other_classes_or_none_keeps_its_weights_and_is_named(file):
    body = {name: v for name, v in net(seed=1).state_dict().items() if "head" not in name}
    for content in (net(outputs=9, seed=1).state_dict(), body):
        module = net(seed=2)
        assert load_weights(module, file(content)) == ["head.weight", "head.bias"]
        assert torch.equal(module[1].weight, net(seed=1)[1].weight)
        assert torch.equal(module.head.weight, net(seed=2).head.weight)


def test_the_head_of_torchvision_is_its_last_layer(file):
    shape, spec = (3, 32, 32), "torchvision.models:squeezenet1_1"
    source = build(spec, shape, 9, seed=1)
    module = build(spec, shape, 3, seed=2)
    kept = load_weights(module, file(source.state_dict()))
    assert kept == ["classifier.1.weight", "classifier.1.bias"]
    assert torch.equal(module.features[0].weight, source.features[0].weight)


@pytest.mark.parametrize("wrap", [lambda v: {"state_dict": v, "epoch": 3}, lambda v: {"model": v}])
def test_weights_may_stand_beside_other_things_and_be_of_a_parallel_model(file, wrap):
    state = {f"module.{name}": value for name, value in net(seed=1).state_dict().items()}
    module = net(seed=2)
    load_weights(module, file(wrap(state)))
    assert torch.equal(module[1].weight, net(seed=1)[1].weight)


def test_running_statistics_are_loaded_and_left_out_where_the_model_keeps_none(file):
    source = build("mlpbn-5", (6,), 3, seed=1, running=True)
    source(torch.randn(8, 6))
    path = file(source.state_dict())
    tracked = build("mlpbn-5", (6,), 3, seed=2, running=True, weights=path)
    assert torch.equal(tracked[2].running_var, source[2].running_var)
    alone = build("mlpbn-5", (6,), 3, seed=2, running=False, weights=path)
    assert torch.equal(alone[2].weight, source[2].weight)


def test_running_statistics_that_are_missing_are_refused(file):
    path = file(build("mlpbn-5", (6,), 3, seed=1).state_dict())
    with pytest.raises(UserError, match=r"missing: 2\.running_mean, 2\.running_var\. Give"):
        build("mlpbn-5", (6,), 3, seed=2, running=True, weights=path)


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        ("mlp-5-4-2", r"not of the model: 5\.weight, 5\.bias.*head\.weight \(3, 2\) instead of"),
        ("mlp-5", r"missing: 3\.weight, 3\.bias; of other shapes: head"),
        (
            "mlp-6-4",
            r"of other shapes: 1\.weight \(6, 6\) instead of \(5, 6\), 1\.bias \(6,\) instead of \(5,\), 3",
        ),
        ("mlp-9-8-7-6-5", r"not of the model: 5\.weight, 5\.bias, 7\.weight and 3 more"),
    ],
)
def test_weights_of_another_model_are_refused_with_the_first_tensors(file, spec, rule):
    module = net()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(UserError, match=rule):
        load_weights(module, file(net(spec=spec, seed=1).state_dict()))
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ([1, 2], "holds a list. Save them alone"),
        ({}, "holds nothing"),
        ({"epoch": 3, "lr": 0.1}, "holds other things: epoch, lr"),
        (nn.Linear(2, 2), "such as a whole model. Save the weights alone"),
    ],
)
def test_a_file_of_other_things_is_refused_with_the_remedy(file, content, rule):
    with pytest.raises(UserError, match=rule):
        load_weights(net(), file(content))


def test_a_file_that_is_none_is_refused_with_its_place(tmp_path):
    with pytest.raises(UserError, match=f"read from a file; there is none at {tmp_path}/no.pt"):
        load_weights(net(), tmp_path / "no.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(UserError, match="text.pt' is no such file"):
        load_weights(net(), tmp_path / "text.pt")


def test_a_safetensors_file_is_read_or_the_package_is_named(tmp_path):
    path = tmp_path / "w.safetensors"
    if importlib.util.find_spec("safetensors") is None:
        path.write_bytes(b"")
        with pytest.raises(UserError, match="pip install safetensors"):
            load_weights(net(), path)
        return
    from safetensors.torch import save_file

    save_file(net(seed=1).state_dict(), path)
    module = net(seed=2)
    load_weights(module, path)
    assert torch.equal(module[1].weight, net(seed=1)[1].weight)


def test_a_digest_is_that_of_the_tensors_whatever_the_files_name(file):
    state = net(seed=1).state_dict()
    one, same = file(state, "a.pt"), file({"state_dict": state, "epoch": 1}, "b.pt")
    other = file(net(seed=2).state_dict(), "c.pt")
    assert Path(one).read_bytes() != Path(same).read_bytes()
    assert weights_digest(one) == weights_digest(same) != weights_digest(other)
    assert len(weights_digest(one)) == 12


def test_a_digest_knows_every_type_of_number(file):
    values = {
        "half": torch.ones(2, dtype=torch.bfloat16),
        "count": torch.tensor(3),
        "flag": torch.tensor([True]),
        "turned": torch.arange(6.0).reshape(2, 3).T,
        "none": torch.zeros(0, 2),
    }
    changed = values | {"turned": torch.arange(6.0).reshape(3, 2)}
    assert weights_digest(file(values, "a.pt")) != weights_digest(file(changed, "b.pt"))
