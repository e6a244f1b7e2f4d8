"""The loops that replay is timed against take the same steps as each other and as ours."""

import copy
from collections import Counter
from pathlib import Path

import numpy as np
import plain_replay
import pytest
import torch

from retrograde.data.sources import load
from retrograde.networks.build import build
from retrograde.parts.registry import Registry
from retrograde.randomness import torch_seed
from retrograde.training.stream_replicas import StreamReplicas

DIGITS = load("digits", Path())
LR = 0.1
LOOPS = ["plain loop", "plain loop with the gradient by hand"]


def ours_and_its_rows():
    """Replay after a task, and the real rows of each of its steps."""
    benchmark = Registry().get("benchmarks", "split", {"tasks": "5", "model": "mlp-100-100"})
    er = Registry().get("strategies", "er", {"lr": str(LR)})
    backend = StreamReplicas(benchmark, er, [benchmark.stream(DIGITS, 0)], [0], torch.device("cpu"))
    steps = copy.deepcopy(backend.memories).rows(0)[:, 0]
    backend.learn(0, lambda _: None)
    return backend, [torch.from_numpy(step[step.real].row) for step in steps]


def stepped(side, batches):
    model = build("mlp-100-100", DIGITS.x_train.shape[1:], 10, torch_seed(0, "weights"))
    x = torch.from_numpy(DIGITS.x_train).flatten(1).float() * DIGITS.scale
    update = plain_replay.UPDATES[side](model, x, torch.from_numpy(DIGITS.y_train), LR)
    for rows in batches:
        update(rows)
    return dict(model.named_parameters())


@pytest.mark.parametrize("side", LOOPS)
def test_a_loop_ends_with_the_parameters_of_ours_after_the_same_batches(side):
    backend, batches = ours_and_its_rows()
    assert {len(rows) for rows in batches} >= {10, 20}
    loop = stepped(side, batches)
    for name, value in backend.state.params.items():
        assert torch.allclose(loop[name], value[0], atol=1e-5), name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler about itself
def test_the_compiled_loop_ends_with_the_parameters_of_the_plain_one():
    rows = [torch.arange(20) + start for start in range(0, 600, 20)]
    loop, reference = (
        stepped(side, rows) for side in ("plain loop under torch.compile", "plain loop")
    )
    assert all(torch.allclose(loop[name], value, atol=1e-5) for name, value in reference.items())


def test_every_loop_is_compared():
    assert {*plain_replay.UPDATES} == {*LOOPS, "plain loop under torch.compile"}


def test_the_reservoir_keeps_every_row_with_the_same_probability():
    kept = Counter()
    for seed in range(2000):
        memory = plain_replay.Reservoir(5, seed)
        for start in range(0, 20, 4):
            memory.keep(list(range(start, start + 4)))
        kept.update(memory.kept)
    found = np.array([kept[row] for row in range(20)]) / 2000
    assert found.sum() == pytest.approx(5)
    assert abs(found - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / 2000)


def test_a_loop_trains_on_every_row_once_beside_different_rows_from_memory():
    batches = []
    memory = plain_replay.Reservoir(30)
    assert plain_replay.learn(list(range(105)), memory, batches.append) == 11
    assert [len(rows) for rows in batches] == [10, *[20] * 9, 15]
    incoming = torch.cat([rows[:10] for rows in batches[:-1]] + [batches[-1][:5]])
    assert sorted(incoming.tolist()) == list(range(105))
    for number, rows in enumerate(batches):
        replayed = rows[min(10, len(incoming) - 10 * number) :].tolist()
        assert len(set(replayed)) == len(replayed)
        assert {*replayed} <= {*incoming[: 10 * number].tolist()}
