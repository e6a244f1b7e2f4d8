"""Evaluation, probing, and what goes before training.

Split MNIST, MLP 784-100-100-10, ER. Evaluation and probing are eager. Avalanche evaluates as many
examples at once as ours, with one metric, accuracy.
"""

import dataclasses

import numpy as np
import pytest
import torch
from labels import FILES, TENSORS, avalanches, ours
from replay_in_avalanche import benchmark as in_avalanche
from torch.nn.functional import cross_entropy

from retrograde.data.sources import data_folder, load
from retrograde.data.torchvision import import_torchvision
from retrograde.models._mlp import mlp
from retrograde.parts.registry import Registry
from retrograde.running.cell import CPU
from retrograde.streams.schedule import CHUNK, probe_rows, train_rows
from retrograde.training.clocks import Clocks
from retrograde.training.gradient_prober import GradientProber
from retrograde.training.stream_loop import train
from retrograde.training.stream_replicas import StreamReplicas

SPLIT = Registry().get("benchmarks", "split", {"dataset": "mnist"})
ER = Registry().get("strategies", "er")
TRAINING = ours("training of the first task", True, 1)
SIDES = pytest.mark.parametrize("replicates", [1, 5])


@pytest.fixture(scope="module")
def mnist():
    return load("mnist", data_folder())


@pytest.fixture(scope="module")
def model():
    return mlp((784,), 10, 100, 100).eval()


def ready(mnist, replicates):
    seeds = list(range(replicates))
    return StreamReplicas(SPLIT, ER, [SPLIT.stream(mnist, seed) for seed in seeds], seeds, CPU)


def pixels(x):
    return torch.from_numpy(x.reshape(len(x), -1) / np.float32(255))


@SIDES
def test_evaluation(measure, mnist, replicates):
    backend = ready(mnist, replicates)

    def evaluate():
        backend.evaluate(backend.test_rows)

    theirs = [avalanches("evaluation", source) for source in (TENSORS, FILES)]
    against = dict.fromkeys(["bare loop over the test examples", *theirs])
    measure(
        ours("evaluation on 10,000 examples", False, replicates),
        evaluate,
        against,
        things=replicates,
    )


def test_the_bare_evaluation(measure, mnist, model):
    x, y = pixels(mnist.x_test), torch.from_numpy(mnist.y_test)

    def evaluate():
        with torch.no_grad():
            for rows, labels in zip(x.split(CHUNK), y.split(CHUNK), strict=True):
                (model(rows).argmax(1) == labels).sum().item()

    measure("bare loop over the test examples", evaluate)


@SIDES
def test_probing(measure, mnist, replicates):
    backend = ready(mnist, replicates)
    prober = GradientProber(backend, backend.streams, backend.seeds, Clocks(CPU))

    def probe():
        prober._keep(prober._gradients(prober.tasks))

    against = dict.fromkeys(["bare loop over the tasks' gradients"])
    measure(
        ours("probe of five tasks, 100 examples each", False, replicates),
        probe,
        against,
        things=replicates,
    )


def test_the_bare_probe(measure, mnist, model):
    halves = probe_rows(SPLIT.stream(mnist, 0), SPLIT.probe_examples, 0).reshape(
        -1, SPLIT.probe_examples // 2
    )
    batches = [(pixels(mnist.x_test[half.row]), torch.from_numpy(half.y.copy())) for half in halves]
    params = list(model.parameters())

    def probe():
        found = (torch.autograd.grad(cross_entropy(model(x), y), params) for x, y in batches)
        gradients = torch.stack([torch.cat([each.flatten() for each in own]) for own in found])
        (gradients @ gradients.T).tolist()

    measure("bare loop over the tasks' gradients", probe)


@pytest.mark.timeout(600)
@SIDES
def test_the_account(state, mnist, replicates):
    """The account of forgetting along the whole stream; probing is eager, training compiled."""
    seeds = list(range(replicates))
    benchmark = dataclasses.replace(SPLIT, probe_every=10)
    streams = [benchmark.stream(mnist, seed) for seed in seeds]
    clocks = train(benchmark, ER, streams, seeds, CPU, "on")[0].clocks
    training = ours("training along split MNIST, er", True, replicates)
    state(training, clocks["train"] / replicates)
    probing = ours("probing every ten steps of it, the account included", False, replicates)
    state(probing, clocks["probe"] / replicates, {training: 1.0})


def test_the_schedule(measure, mnist):
    stream, memory = SPLIT.stream(mnist, 0), ER.memory()

    def rows():
        train_rows(stream, 0, SPLIT, ER.schedule(), memory, memory.empty(), 0)

    measure("schedule of the first task", rows, {TRAINING: None})


def test_the_training_that_it_feeds(measure, mnist):
    backend = ready(mnist, 1)
    backend.warm_up("on")
    carried, held = backend.carried, list(backend.memories.held)

    def start():
        backend.carried, backend.memories.held, backend.begun = carried, list(held), -1

    def learn():
        backend.learn(0, lambda _: None)

    measure(TRAINING, learn, setup=start, rounds=3)


def test_the_stream(measure, mnist):
    measure("stream from arrays", lambda: SPLIT.stream(mnist, 0), {TRAINING: None})


def test_the_stream_from_files(measure):
    measure(
        "stream from files",
        lambda: SPLIT.stream(load("mnist", data_folder()), 0),
        {"Avalanche's SplitMNIST": None},
    )


def test_avalanches(measure):
    import_torchvision()
    pytest.importorskip("avalanche")
    from avalanche.benchmarks.classic import SplitMNIST

    from retrograde.strategies.avalanche import quiet

    with quiet():
        measure(
            "Avalanche's SplitMNIST",
            lambda: SplitMNIST(5, seed=0, dataset_root=data_folder()),
            rounds=3,
        )


@pytest.mark.parametrize("source", [TENSORS, FILES])
def test_avalanches_evaluation(measure, mnist, source):
    import_torchvision()
    pytest.importorskip("avalanche")
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.supervised import Naive

    from retrograde.strategies.avalanche import quiet

    net = mlp((1, 28, 28), 10, 100, 100)
    with quiet():
        tests = in_avalanche(source, SPLIT.stream(mnist, 0)).test_stream
        evaluator = EvaluationPlugin(accuracy_metrics(experience=True, stream=True), loggers=[])
        sgd = torch.optim.SGD(net.parameters(), lr=0.1)
        naive = Naive(model=net, optimizer=sgd, eval_mb_size=CHUNK, evaluator=evaluator)
        measure(
            avalanches("evaluation", source), lambda: naive.eval(tests, num_workers=0), rounds=3
        )
    assert sum(len(experience.dataset) for experience in tests) == 10_000
