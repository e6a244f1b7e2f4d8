"""Evaluation, probing, and what goes before training.

Split MNIST, MLP 784-100-100-10, ER. Of five replicates each one's share.
"""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from retrograde.clocks import Clocks
from retrograde.data import data_folder, import_torchvision, load
from retrograde.models import mlp
from retrograde.probing import Prober
from retrograde.registry import Registry
from retrograde.schedule import CHUNK, probe_rows, train_rows
from retrograde.trial import CPU
from retrograde.vectorise import Vectorised

SPLIT = Registry().get("benchmarks", "split", {"dataset": "mnist"})
ER = Registry().get("strategies", "er")
SIDES = pytest.mark.parametrize("replicates", [1, 5])


@pytest.fixture(scope="module")
def mnist():
    return load("mnist", data_folder())


@pytest.fixture(scope="module")
def model():
    return mlp((784,), 10, 100, 100).eval()


def ready(mnist, replicates):
    seeds = list(range(replicates))
    return Vectorised(SPLIT, ER, [SPLIT.stream(mnist, seed) for seed in seeds], seeds, CPU)


def shared(what, replicates):
    return what if replicates == 1 else f"{what}, {replicates} replicates, each"


def pixels(x):
    return torch.from_numpy(x.reshape(len(x), -1) / np.float32(255))


@SIDES
def test_evaluation(measure, mnist, replicates):
    backend = ready(mnist, replicates)

    def evaluate():
        backend.evaluate(backend.test_rows)

    against = dict.fromkeys(["bare loop over the test examples", "Avalanche's evaluation"])
    measure(shared("evaluation on 10,000 examples", replicates), evaluate, against, things=replicates)


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
    prober = Prober(backend, backend.streams, backend.seeds, Clocks(CPU))

    def look():
        prober._look(prober.tasks, ended=True)

    against = dict.fromkeys(["bare loop over the tasks' gradients"])
    measure(shared("probe of five tasks, 100 examples each", replicates), look, against, things=replicates)


def test_the_bare_probe(measure, mnist, model):
    stream = SPLIT.stream(mnist, 0)
    rows = [probe_rows(stream, task, SPLIT.probe, 0) for task in range(len(stream.tasks))]
    batches = [(pixels(mnist.x_test[own[:, 0]]), torch.from_numpy(own[:, 2])) for own in rows]
    params = list(model.parameters())

    def look():
        found = (torch.autograd.grad(cross_entropy(model(x), y), params) for x, y in batches)
        gradients = normalize(torch.stack([torch.cat([each.flatten() for each in own]) for own in found]))
        (gradients @ gradients.T).tolist()

    measure("bare loop over the tasks' gradients", look)


def test_the_schedule(measure, mnist):
    stream, memory = SPLIT.stream(mnist, 0), ER.remember()

    def rows():
        train_rows(stream, 0, SPLIT, ER.schedule(), memory, memory.empty(), 0)

    measure("schedule of the first task", rows, {"training of the first task": None})


def test_the_training_that_it_feeds(measure, mnist):
    backend = ready(mnist, 1)
    backend.warm_up("on")
    state, buffers, held = backend.state, backend.buffers, list(backend.held)

    def start():
        backend.state, backend.buffers, backend.held = state, buffers, list(held)

    def learn():
        backend.learn(0, lambda _: None)

    measure("training of the first task", learn, setup=start, rounds=3)


def test_the_stream(measure, mnist):
    measure("stream from arrays", lambda: SPLIT.stream(mnist, 0), {"training of the first task": None})


def test_the_stream_from_files(measure):
    measure("stream from files", lambda: SPLIT.stream(load("mnist", data_folder()), 0), {"Avalanche's SplitMNIST": None})


def test_avalanches(measure):
    import_torchvision()
    pytest.importorskip("avalanche")
    from avalanche.benchmarks.classic import SplitMNIST

    from retrograde.strategies.avalanche import quiet

    with quiet():
        measure("Avalanche's SplitMNIST", lambda: SplitMNIST(5, seed=0, dataset_root=data_folder()), rounds=3)


def test_avalanches_evaluation(measure):
    import_torchvision()
    pytest.importorskip("avalanche")
    from avalanche.benchmarks.classic import SplitMNIST
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.supervised import Naive

    from retrograde.strategies.avalanche import quiet

    net = mlp((1, 28, 28), 10, 100, 100)
    with quiet():
        tests = SplitMNIST(5, seed=0, dataset_root=data_folder()).test_stream
        evaluator = EvaluationPlugin(accuracy_metrics(experience=True, stream=True), loggers=[])
        sgd = torch.optim.SGD(net.parameters(), lr=0.1)
        naive = Naive(model=net, optimizer=sgd, eval_mb_size=CHUNK, evaluator=evaluator)
        measure("Avalanche's evaluation", lambda: naive.eval(tests, num_workers=0), rounds=3)
