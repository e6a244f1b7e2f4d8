"""A single replicate of a convolutional network is trained without vmap, and learns the same."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from retrograde import Strategy
from retrograde.data.dataset import Dataset
from retrograde.networks.build import convolutional
from retrograde.networks.checks import channels_last, takes_channels_last
from retrograde.parts.registry import Registry
from retrograde.records.cell import CellSpec, PartSpec
from retrograde.running.cell import CPU, StreamCell
from retrograde.streams.memory import ExemplarMemory
from retrograde.streams.schedule import Schedule, held_out_rows
from retrograde.training import cell_check
from retrograde.training.replicas import Replicas, finite
from retrograde.training.stream_replicas import StreamReplicas

PARTS = Registry()
SHAPE = 3, 8, 8


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    arrays = [random.integers(0, 255, (40, *SHAPE), np.uint8), np.repeat(np.arange(4), 10)]
    return Dataset("noise", *arrays, *arrays, scale=1 / 255)


@pytest.fixture
def doubles():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def benchmark(model, **settings):
    settings = {"model": model, "tasks": "2", "probe_examples": "4"} | settings
    return PARTS.get("benchmarks", "split", settings)


def replicas(data, strategy, model, seeds=(0,), **settings):
    split = benchmark(model, **settings)
    streams = [split.stream(data, seed) for seed in seeds]
    return StreamReplicas(split, strategy, streams, list(seeds), CPU)


def learned(backend):
    """The state, the scores and the gradients after two experiences."""
    backend.begin(0)
    backend.warm_up("off")
    for number in range(2):
        backend.learn(number, lambda _: None)
    rows = torch.from_numpy(backend.test_rows[0].array)
    scores = backend.scores(backend.for_prediction(), rows)
    parts = backend.examples(backend.test_rows[0].reshape(1, 2, -1))
    params = backend.net.model_params(backend.state.params)
    return backend.carried, scores, backend.gradients(params, parts)


@dataclass(frozen=True)
class Draws(Strategy):
    """Adds noise of its own to the gradient, and logs what it drew."""

    def step(self, net, state, data):
        noise = net.uniform(2, name="noise")
        gradient = net.grad(state.params, data.combined)
        moved = {name: value + noise[0] for name, value in gradient.items()}
        return net.update(state, moved, 0.1).log(first=noise[0], second=noise[1])


@dataclass(frozen=True)
class Branches(Strategy):
    """Branches on data, which vmap refuses."""

    def step(self, net, state, data):
        gradient = net.grad(state.params, data.combined)
        return net.update(state, gradient, 0.1) if data.incoming.x.sum() > 0 else state


def strategy(name):
    return Draws() if name == "draws" else PARTS.get("strategies", name)


@pytest.mark.parametrize("name", ["er", "derpp", "scr", "draws"])
@pytest.mark.parametrize("model", ["conv", "resnet18-2"])
def test_without_vmap_all_numbers_are_those_with_it(doubles, monkeypatch, data, name, model):
    settings = {"augment": "crop-flip", "normalise": "channels"}
    alone = replicas(data, strategy(name), model, **settings)
    assert alone.unmapped
    assert alone.net.networks.channels_last
    found = learned(alone)
    monkeypatch.setattr(Replicas, "unmapped", False)
    mapped = replicas(data, strategy(name), model, **settings)
    assert not mapped.net.networks.channels_last
    torch.testing.assert_close(found, learned(mapped), rtol=1e-9, atol=1e-11)


def test_draws_are_the_very_ones_that_vmap_gives(monkeypatch, data):
    found = learned(replicas(data, Draws(), "conv"))[0].totals
    monkeypatch.setattr(Replicas, "unmapped", False)
    assert learned(replicas(data, Draws(), "conv"))[0].totals.keys() == {"first", "second"}
    for name, total in learned(replicas(data, Draws(), "conv"))[0].totals.items():
        assert torch.equal(found[name], total)


@pytest.mark.parametrize(
    ("model", "seeds", "unmapped"),
    [("conv", (0,), True), ("conv", (0, 1), False), ("mlp-8", (0,), True)],
)
def test_a_single_replicate_alone_leaves_vmap(data, model, seeds, unmapped):
    assert replicas(data, strategy("er"), model, seeds).unmapped == unmapped


@pytest.mark.parametrize(
    ("name", "model"),
    [(name, "mlpbn-8") for name in ("er", "agem", "gem", "mir", "fs_dgpm", "ewc", "lwf", "scr")]
    + [(name, "mlp-8") for name in ("hal", "lamaml", "cmaml", "vr_mcl")],
)
def test_a_replicate_learns_the_same_alone_and_within_vmap(data, name, model, monkeypatch):
    """Gradients of gradients too, as in La-MAML."""
    alone = learned(replicas(data, strategy(name), model, (0,)))
    monkeypatch.setattr(StreamReplicas, "unmapped", False)
    mapped = learned(replicas(data, strategy(name), model, (0,)))
    leaves = zip(*(pytree.tree_leaves(found) for found in (alone, mapped)), strict=True)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in leaves)


@pytest.mark.parametrize(
    ("model", "device", "together"),
    [("conv", "cpu", 1), ("resnet18-2", "cpu", 1), ("mlp-8", "cpu", 5), ("conv", "cuda", 32)],
)
def test_replicates_with_convolutions_train_one_by_one_on_a_cpu(data, model, device, together):
    spec = CellSpec(PartSpec("", {}), PartSpec("", {}), "")
    cell = StreamCell(spec, benchmark(model), strategy("er"))
    assert cell.at_once(data, torch.device(device)) == together


def test_a_model_that_cannot_be_built_has_no_convolutions():
    assert not convolutional("none", SHAPE, 2)
    assert convolutional("torchvision.models:resnet18", SHAPE, 2)


def test_a_branch_on_data_is_refused_without_vmap_too(data):
    split = benchmark("conv")
    with pytest.raises(RuntimeError, match="vmap: .* data-dependent control flow"):
        cell_check.check(split, Branches(), split.stream(data, 0), CPU)


class Views(nn.Module):
    """A model that takes no other memory format than the usual one."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4 * 36, 2)

    def forward(self, x):
        features = self.conv(x)
        return self.head(features.view(len(x), -1))


def test_a_model_that_views_its_features_gets_images_in_the_usual_format():
    x = torch.rand(3, *SHAPE)
    assert not takes_channels_last(Views(), x)
    assert takes_channels_last(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), x)
    assert torch.equal(channels_last(x), x)
    assert channels_last(x).is_contiguous(memory_format=torch.channels_last)


def test_numbers_are_finite_by_replicate_also_in_a_parameter_of_one_number():
    params = {"scale": torch.tensor([1.0, torch.nan, 2.0]), "weight": torch.ones(3, 2, 2)}
    assert finite(params).tolist() == [True, False, True]
    params["weight"][2, 1, 0] = torch.inf
    assert finite(params).tolist() == [True, False, False]


@dataclass(frozen=True)
class HoldsOut(Strategy):
    """Keeps the sum of the examples that the last experience held out, and their number."""

    def schedule(self):
        return Schedule("incoming and memory", held_out=0.2)

    def memory(self):
        return ExemplarMemory(16, 0)

    def init(self, net, params):
        return {"sum": torch.zeros(net.shape), "count": torch.zeros(())}

    def step(self, net, state, data):
        return state

    def end_experience(self, net, state, end):
        examples = end.held_out
        weight = examples.weight.reshape(-1, *[1] * len(net.shape))
        total = (examples.x * weight).sum(0)
        return state.replace(extra={"sum": total, "count": examples.weight.sum()})


def test_the_end_of_an_experience_gets_the_examples_that_were_held_out(data):
    backend = replicas(data, HoldsOut(), "mlp-4", seeds=(0, 1))
    for number in range(2):
        contents = backend.memories.held
        backend.learn(number, lambda _: None)
        for place, content in enumerate(contents):
            schedule = backend.schedule
            out = held_out_rows(backend.streams[place], number, schedule, content, place)
            found = backend.state.extra
            wanted = data.x_train[out.row].sum(0) / 255
            assert found["count"][place] == len(out) == (4, 7)[number]
            assert np.allclose(found["sum"][place].numpy(), wanted.reshape(SHAPE), atol=1e-4)
