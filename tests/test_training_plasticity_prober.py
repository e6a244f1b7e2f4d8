"""Measures of plasticity, against NumPy."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, max_pool2d
from torch.testing import assert_close

from retrograde.contract.toys import Blobs, blobs
from retrograde.errors import UserError
from retrograde.parts.registry import Registry
from retrograde.training.cell_check import check
from retrograde.training.plasticity_prober import effective_rank
from retrograde.training.stream_loop import train
from retrograde.training.stream_replicas import StreamReplicas

PARTS = Registry()
DATA = blobs()
CPU = torch.device("cpu")
SEEDS = [0, 1]


def strategy(name="finetune", **settings):
    return PARTS.find("strategies", name)(**settings)


def numpy_rank(features):
    """Singular values until they sum to 99 % of all, from the eigenvalues of the Gram matrix."""
    squares = np.linalg.eigvalsh(features.T @ features)[::-1]
    values = np.sqrt(squares.clip(min=0))
    held, count = 0.0, 0
    while held < 0.99 * values.sum():
        held += values[count]
        count += 1
    return count


def by_hand(benchmark, seed):
    """Rank, share of dead units and mean weight after each experience, layer by layer."""
    stream = benchmark.stream(DATA, seed)
    backend = StreamReplicas(benchmark, strategy(), [stream], [seed], CPU)
    found = []
    for number in range(len(stream)):
        backend.begin(number)
        backend.learn(number, lambda _: None)
        params = {name: value[0].numpy() for name, value in backend.parameters().items()}
        x = DATA.x_test[stream.tasks[number].test.row]
        layers, values = [], x.reshape(len(x), -1)
        for layer in ("1", "3"):
            values = values @ params[f"{layer}.weight"].T + params[f"{layer}.bias"]
            values = values.clip(min=0)
            layers.append(values)
        silent = [(layer == 0).all(0) for layer in layers]
        weights = [np.abs(value).ravel() for value in params.values() if value.ndim == 2]
        dead, weight = np.concatenate(silent).mean(), np.concatenate(weights).mean()
        found.append((numpy_rank(layers[-1].astype(float)), dead, weight))
    return found


def test_every_experience_is_measured_as_by_numpy():
    benchmark = Blobs(model="mlp-30-9", plasticity_examples=10_000)
    streams = [benchmark.stream(DATA, seed) for seed in SEEDS]
    outcomes = train(benchmark, strategy(lr=0.1), streams, SEEDS, CPU)
    for seed, outcome in zip(SEEDS, outcomes, strict=True):
        measured = outcome.plasticity
        rank, dead, weight = zip(*by_hand(benchmark, seed), strict=True)
        assert measured.effective_rank == list(rank)
        assert measured.dead_units == pytest.approx(dead)
        assert measured.mean_weight == pytest.approx(weight, rel=1e-5)
    # Some units are dead and others are not.
    assert 0 < outcomes[0].plasticity.dead_units[-1] < 1


@pytest.mark.parametrize(
    ("values", "rank"),
    [([5.0, 0, 0], 1), ([1.0, 1, 1], 3), ([97.0, 2.5, 0.5], 2), ([98.0, 0.5, 1.5], 2), ([0.0], 0)],
)
def test_the_effective_rank_counts_singular_values_up_to_99_percent(values, rank):
    rotation, _ = torch.linalg.qr(torch.rand(len(values), len(values), dtype=torch.float64))
    assert effective_rank(rotation @ torch.diag(torch.tensor(values).double())) == rank


@pytest.mark.parametrize("replicates", [1, 2])
def test_a_channel_of_a_convolution_is_a_unit(replicates):
    benchmark, seeds = Blobs(model="conv", batch_size=5), [*range(replicates)]
    streams = [benchmark.stream(blobs(shape=(1, 8, 8)), seed) for seed in seeds]
    backend = StreamReplicas(benchmark, strategy(), streams, seeds, CPU)
    # Few examples, so that some units are silent; of seven rows, two are padding.
    rows = backend.test_rows[:1, :, :7].masked(np.arange(7) < 5)
    features, active = backend.hidden(rows)
    for place in seeds:
        params = {name: value[place] for name, value in backend.state.params.items()}
        x = backend.examples(rows.transposed()).x[place, 0, :5]
        units = []
        for layer in ("0", "3"):
            outputs = conv2d(x, params[f"{layer}.weight"], params[f"{layer}.bias"], padding=1)
            units.append(outputs.relu().amax((0, 2, 3)) > 0)
            x = max_pool2d(outputs.relu(), 2)
        assert_close(features[place, :5], x.flatten(1))
        assert not features[place, 5:].any()
        assert torch.equal(active[place], torch.cat(units))


def test_measuring_changes_nothing_that_is_learned():
    plain, measured = (
        train(benchmark, strategy("er"), [benchmark.stream(DATA, 0)], [0], CPU)[0]
        for benchmark in (Blobs(), Blobs(plasticity_examples=5))
    )
    assert plain.plasticity is None
    assert measured.correct == plain.correct
    assert len(measured.plasticity.effective_rank) == 3


def test_a_diverged_replicate_has_no_measures():
    benchmark = Blobs(plasticity_examples=5)
    streams = [benchmark.stream(DATA, seed) for seed in SEEDS]
    outcomes = train(benchmark, strategy(lr=1e30), streams, SEEDS, CPU)
    assert all(outcome.divergence and outcome.plasticity is None for outcome in outcomes)


def tanh(shape, outputs):
    layers = OrderedDict(flat=nn.Flatten(), hidden=nn.Linear(12, 4), tanh=nn.Tanh())
    return nn.Sequential(layers | {"head": nn.Linear(4, outputs)})


@pytest.mark.parametrize(
    ("name", "model", "sentence"),
    [
        ("finetune", f"{__file__}:tanh", "nn.ReLU layers"),
        ("ncm", "mlp-8", "NCM answers by other means"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_training(name, model, sentence):
    benchmark = Blobs(model=model, plasticity_examples=5)
    stream = benchmark.stream(DATA, 0)
    with pytest.raises(UserError, match=sentence):
        check(benchmark, strategy(name), stream, CPU)
