"""A script: Avalanche's `Replay` on its own split MNIST, a replicate for each order of classes that is given as JSON.

Prints the seconds in `train` and, of each replicate, its steps and its accuracy in the end.
"""

import json
import sys
import time
import warnings

import torch

from retrograde.data import data_folder, import_torchvision


def replay(order):
    """The seconds in `train`, the steps and the accuracy in the end of one replicate."""
    from avalanche.benchmarks.classic import SplitMNIST
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.models import SimpleMLP
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.supervised import Replay

    benchmark = SplitMNIST(5, fixed_class_order=order, dataset_root=data_folder())
    model = SimpleMLP(num_classes=10, hidden_size=100, hidden_layers=2, drop_rate=0)
    strategy = Replay(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
        criterion=torch.nn.CrossEntropyLoss(),
        mem_size=200,
        train_mb_size=10,
        eval_mb_size=1000,
        evaluator=EvaluationPlugin(accuracy_metrics(experience=True, stream=True), loggers=[]),
    )
    seconds, found = 0.0, strategy.eval(benchmark.test_stream, num_workers=0)
    for experience in benchmark.train_stream:
        start = time.perf_counter()
        strategy.train(experience, num_workers=0)
        seconds += time.perf_counter() - start
        found = strategy.eval(benchmark.test_stream, num_workers=0)
    accuracy = next(value for name, value in found.items() if name.startswith("Top1_Acc_Stream"))
    return seconds, strategy.clock.train_iterations, accuracy


if __name__ == "__main__":
    import_torchvision()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    seconds, steps, accuracy = zip(*map(replay, json.loads(sys.argv[1])), strict=True)
    print(json.dumps({"train": sum(seconds), "steps": steps, "accuracy": accuracy}))
