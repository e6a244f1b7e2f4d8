"""Replay in Avalanche on split MNIST, from tensors in memory or from its own `SplitMNIST`.

As a script it trains and evaluates one replicate for each order of classes: `replay_in_avalanche.py
SOURCE ORDERS`, where SOURCE is `on tensors` or `on its SplitMNIST` and ORDERS is JSON. It prints
JSON: of each replicate the seconds of training and of evaluation, the number of steps and the
accuracy in the end.
"""

import json
import sys
import time
import warnings
from typing import Any
from unittest import mock

import numpy as np
import torch
from labels import FILES, TENSORS

from retrograde.data.sources import data_folder, load
from retrograde.data.torchvision import import_torchvision
from retrograde.streams.cuts import split_classes
from retrograde.streams.stream import Stream

SIZE = 200
MOST = 1000  # test examples that are predicted at once


def benchmark(source: str, stream: Stream) -> Any:
    """The stream as a benchmark of Avalanche.

    From tensors an example is ready. `SplitMNIST` gives the same examples of the same classes as it
    comes: each is converted and normalised when it is used. It is handed the examples of the stream,
    since a stream may have a part of MNIST.
    """
    if source == TENSORS:
        from retrograde.bridges.avalanche import as_avalanche

        return as_avalanche(stream, "class")
    import_torchvision()
    from avalanche.benchmarks.classic import SplitMNIST, cmnist

    with mock.patch.object(cmnist, "get_mnist_dataset", lambda folder: _parts(folder, stream)):
        return SplitMNIST(
            len(stream.tasks), fixed_class_order=order(stream), dataset_root=data_folder()
        )


def _parts(folder: Any, stream: Stream) -> list[Any]:
    from avalanche.benchmarks.datasets.external_datasets.mnist import get_mnist_dataset

    parts = get_mnist_dataset(folder)
    tests = [task.test for task in stream.tasks]
    for part, examples in zip(parts, (stream.experiences, tests), strict=True):
        rows = torch.from_numpy(np.concatenate([each.row for each in examples]))
        part.data, part.targets = part.data[rows], part.targets[rows]
    return parts


def order(stream: Stream) -> list[int]:
    """The classes in the order of the tasks."""
    return [int(unit) for own in stream.units for unit in np.flatnonzero(own)]


def strategy(lr: float) -> Any:
    """Replay from a reservoir, ten incoming and ten replayed examples a step."""
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.models import SimpleMLP
    from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin
    from avalanche.training.storage_policy import ReservoirSamplingBuffer
    from avalanche.training.supervised import Naive

    model = SimpleMLP(num_classes=10, hidden_size=100, hidden_layers=2, drop_rate=0)
    return Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=lr),
        criterion=torch.nn.CrossEntropyLoss(),
        train_mb_size=10,
        eval_mb_size=MOST,
        plugins=[ReplayPlugin(SIZE, storage_policy=ReservoirSamplingBuffer(SIZE))],
        evaluator=EvaluationPlugin(accuracy_metrics(experience=True, stream=True), loggers=[]),
    )


def replicate(made: Any) -> dict[str, float]:
    """Learn all tasks; evaluate before and after each."""
    learner = strategy(0.01)
    clock = {"train": 0.0, "evaluate": 0.0}
    found: dict[str, float] = {}
    for experience in [None, *made.train_stream]:
        start = time.perf_counter()
        if experience is not None:
            learner.train(experience, num_workers=0)
        learned = time.perf_counter()
        found = learner.eval(made.test_stream, num_workers=0)
        clock["train"] += learned - start
        clock["evaluate"] += time.perf_counter() - learned
    accuracy = next(value for name, value in found.items() if name.startswith("Top1_Acc_Stream"))
    return clock | {"steps": learner.clock.train_iterations, "accuracy": accuracy}


def _whole(source: str, classes: list[int]) -> Any:
    """All of MNIST, two classes a task."""
    if source == FILES:
        import_torchvision()
        from avalanche.benchmarks.classic import SplitMNIST

        return SplitMNIST(5, fixed_class_order=classes, dataset_root=data_folder())
    return benchmark(
        source, split_classes(load("mnist", data_folder()), np.split(np.array(classes), 5), "class")
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    replicates = [replicate(_whole(sys.argv[1], classes)) for classes in json.loads(sys.argv[2])]
    print(json.dumps({name: [each[name] for each in replicates] for name in replicates[0]}))
