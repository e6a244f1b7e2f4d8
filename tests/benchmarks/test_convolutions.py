"""A step of replay with convolutional networks.

Five tasks of two classes of noise of 3 x 32 x 32, SGD at a rate of 0.1, ten incoming and ten
examples from a reservoir of 200 in every step: ten steps of the second task. All sides take turns,
and every round begins with what one task left. The plain loop is as in PyTorch's tutorials, and once
more with the channels of images last in memory, as ours has them for a single replicate. Several
replicates of such models are trained one after the other by default; here they are together, too.
"""

import copy

import numpy as np
import pytest
import torch
from labels import TENSORS, Side, avalanches, ours
from plain_replay import SIZE, Reservoir, learn, plain
from replay_in_avalanche import benchmark as in_avalanche

from retrograde.data.dataset import Dataset
from retrograde.data.torchvision import import_torchvision
from retrograde.interface.learner import StreamInfo
from retrograde.networks.build import build
from retrograde.parts.registry import Registry
from retrograde.running.cell import CPU
from retrograde.training.stream_replicas import StreamReplicas

PARTS, STEPS, LR = Registry(), 10, 0.1
SHAPE, OUTPUTS = (3, 32, 32), 10
MODES = [(compiled, replicates) for compiled in (True, False) for replicates in (1, 3)]
LOOPS = ("plain loop", "plain loop, channels last")


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    x = random.integers(0, 255, (500, *SHAPE), np.uint8)
    y = np.repeat(np.arange(OUTPUTS), 50)
    return Dataset("noise", x, y, x, y, scale=1 / 255)


class ChannelsLast(torch.nn.Module):
    """The memory format in which convolutions on a CPU are fast."""

    def forward(self, x):
        return x.contiguous(memory_format=torch.channels_last)


def split(model):
    return PARTS.get("benchmarks", "split", {"model": model, "train_examples": str(10 * STEPS)})


def module(model):
    return build(model, SHAPE, OUTPUTS, 0, running=True)


def of_ours(data, model, compiled, replicates, against):
    """Replicates of ours, compiled or eager."""
    benchmark, seeds = split(model), list(range(replicates))
    er = PARTS.get("strategies", "er", {"lr": str(LR), "buffer_size": str(SIZE)})
    streams = [benchmark.stream(data, seed) for seed in seeds]
    backend = StreamReplicas(benchmark, er, streams, seeds, CPU)
    backend.warm_up("on" if compiled else "off")
    backend.learn(0, lambda _: None)
    carried, held = backend.carried, list(backend.memories.held)

    def start():
        backend.carried, backend.memories.held = carried, list(held)

    def work(_):
        backend.learn(1, lambda _: None)

    return Side(start, work, STEPS * replicates, against)


def of_a_loop(stream, network):
    """A loop in plain PyTorch."""
    x = torch.from_numpy(stream.data.x_train).float() / 255
    y = torch.from_numpy(stream.data.y_train)
    first, second = (each.row.tolist() for each in stream.experiences[:2])
    memory, step = Reservoir(), plain(network.train(), x, y, LR)
    learn(first, memory, step)
    weights = {name: value.clone() for name, value in network.state_dict().items()}

    def start():
        network.load_state_dict(weights)
        return copy.deepcopy(memory)

    return Side(start, lambda memory: learn(second, memory, step), STEPS)


def of_avalanche(stream, model):
    """Avalanche's replay, from tensors."""
    from retrograde.strategies._avalanche import build as made

    first, second = in_avalanche(TENSORS, stream).train_stream[:2]
    terms = StreamInfo("class", stream.units, 1, 10, "sgd")

    def start():
        learner = made("Replay", {"mem_size": SIZE}, LR, terms, module(model))
        learner.train(first, eval_streams=[], num_workers=0)
        return learner

    return Side(start, lambda learner: learner.train(second, eval_streams=[], num_workers=0), STEPS)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("model", ["conv", "resnet18-20"])
def test_a_step_of_replay_with_convolutions(take_turns, data, model):
    import_torchvision()
    pytest.importorskip("avalanche")
    from retrograde.strategies.avalanche import quiet

    torch.manual_seed(0)
    stream = split(model).stream(data, 0)
    loops = [f"{name}, {model}" for name in LOOPS]
    theirs = avalanches(f"replay with {model}", TENSORS)
    sides = {
        ours(f"er with {model}", *way): of_ours(data, model, *way, (*loops, theirs))
        for way in MODES
    }
    networks = module(model), torch.nn.Sequential(ChannelsLast(), module(model))
    sides |= {
        name: of_a_loop(stream, network) for name, network in zip(loops, networks, strict=True)
    }
    with quiet():
        sides[theirs] = of_avalanche(stream, model)
        take_turns(sides, rounds=10)
