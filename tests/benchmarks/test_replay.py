"""A step of replay, and loops in plain PyTorch.

Split MNIST, MLP 784-100-100-10, SGD at a rate of 0.01, ten incoming and ten examples from a
reservoir of 200 in every step: 100 steps of the third task. All sides take turns, and every round
begins with what two tasks left. A time includes the order of the examples, the upkeep of the
memory, drawing and gathering examples, the gradient and the step of SGD; reading files and
evaluation are left out. That the plain loops and ours end with the same parameters after the same
batches is tested in tests/test_plain_replay.py. Under torch.compile the loop's whole step is one
graph. Avalanche has its ReplayPlugin with a reservoir, which it fills when a task ends.
"""

import copy

import pytest
import torch
from labels import FILES, TENSORS, Side, avalanches, ours
from plain_replay import SIZE, UPDATES, Reservoir, learn, mnist
from replay_in_avalanche import benchmark as in_avalanche, strategy as avalanches_replay

from retrograde.data.sources import data_folder, load
from retrograde.data.torchvision import import_torchvision
from retrograde.models._mlp import mlp
from retrograde.parts.registry import Registry
from retrograde.running.cell import CPU
from retrograde.training.stream_replicas import StreamReplicas

STEPS, LR = 100, 0.01
SPLIT = Registry().get(
    "benchmarks", "split", {"dataset": "mnist", "train_examples": str(10 * STEPS)}
)
ER = Registry().get("strategies", "er", {"lr": str(LR), "buffer_size": str(SIZE)})
MODES = [(compiled, replicates) for compiled in (True, False) for replicates in (1, 5)]


@pytest.fixture(scope="module")
def data():
    return load("mnist", data_folder())


def of_ours(data, compiled, replicates, against):
    """Replicates of ours, compiled or eager."""
    seeds = list(range(replicates))
    backend = StreamReplicas(SPLIT, ER, [SPLIT.stream(data, seed) for seed in seeds], seeds, CPU)
    backend.warm_up("on" if compiled else "off")
    for number in range(2):
        backend.learn(number, lambda _: None)
    carried, held = backend.carried, list(backend.memories.held)

    def start():
        backend.carried, backend.memories.held, backend.begun = carried, list(held), 1

    def work(_):
        backend.learn(2, lambda _: None)

    return Side(start, work, STEPS * replicates, against)


def of_a_loop(stream, arrays, update):
    """A loop in plain PyTorch."""
    x, y, *_ = arrays
    model = mlp((784,), 10, 100, 100)
    first, second, third = (each.row.tolist() for each in stream.experiences[:3])
    memory, step = Reservoir(), update(model, x, y, LR)
    for rows in (first, second):
        learn(rows, memory, step)
    weights = {name: value.clone() for name, value in model.state_dict().items()}

    def start():
        model.load_state_dict(weights)
        return copy.deepcopy(memory)

    return Side(start, lambda memory: learn(third, memory, step), STEPS)


def of_avalanche(stream, source):
    """Avalanche's replay, from tensors or as its SplitMNIST comes."""
    first, second, third = in_avalanche(source, stream).train_stream[:3]

    def start():
        learner = avalanches_replay(LR)
        for experience in (first, second):
            learner.train(experience, eval_streams=[], num_workers=0)
        return learner

    return Side(start, lambda learner: learner.train(third, eval_streams=[], num_workers=0), STEPS)


@pytest.mark.timeout(1800)
def test_a_step_of_replay(take_turns, data):
    import_torchvision()
    pytest.importorskip("avalanche")
    from retrograde.strategies.avalanche import quiet

    torch.manual_seed(0)
    stream, arrays = SPLIT.stream(data, 0), mnist()
    theirs = {avalanches("replay", source): source for source in (TENSORS, FILES)}
    against = (*UPDATES, *theirs)
    sides = {ours("er", *way): of_ours(data, *way, against) for way in MODES}
    sides |= {name: of_a_loop(stream, arrays, update) for name, update in UPDATES.items()}
    with quiet():
        sides |= {name: of_avalanche(stream, source) for name, source in theirs.items()}
        take_turns(sides, rounds=10)
