"""Experience replay on split MNIST, batches of 10 new + 10 replayed, MLP 784-100-100-10: ours against Avalanche's `Replay`.

Run with `tox run -e bench` (needs MNIST in RETROGRADE_DATA or the cache folder). Timed is the training loop alone, without
start-up, compilation and evaluation; the examples that pass through the model are counted, not assumed. The figure to read is
the ratio, printed at the end.
"""

import time
import warnings

import pytest
import torch

from retrograde.data import data_folder, import_torchvision, load
from retrograde.registry import Registry
from retrograde.vectorise import Vectorised

ROUNDS = 3
SPEED: dict[str, float] = {}  # examples per second, the median over rounds


@pytest.fixture(scope="module", autouse=True)
def ratios():
    yield
    theirs = SPEED.pop("avalanche", None)
    for name, speed in SPEED.items():
        print(
            f"\n{name}: {speed:,.0f} examples/s" + (f", {speed / theirs:.1f} times Avalanche's {theirs:,.0f}" if theirs else "")
        )


def measure(benchmark, name, setup, learn):
    """Time `learn(thing)` on fresh things; `learn` returns how many examples passed through the model."""
    rates = []

    def timed(thing):
        start = time.perf_counter()
        examples = learn(thing)
        rates.append(examples / (time.perf_counter() - start))

    benchmark.pedantic(timed, setup=lambda: ((setup(),), {}), rounds=ROUNDS)
    SPEED[name] = benchmark.extra_info["examples_per_second"] = sorted(rates)[ROUNDS // 2]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("replicates", [1, 5])
@pytest.mark.parametrize("compiled", ["on", "off"])
def test_ours(benchmark, replicates, compiled):
    parts = Registry()
    split = parts.get("benchmarks", "split", {"dataset": "mnist"})
    er = parts.get("strategies", "er", {"lr": "0.01", "memory": "200", "draw": "10"})
    seeds = list(range(replicates))
    streams = [split.stream(load("mnist", data_folder()), seed) for seed in seeds]

    def setup():
        backend = Vectorised(split, er, streams, seeds, torch.device("cpu"))
        backend.warm_up(compiled, 6000)
        return backend

    def learn(backend):
        used = [backend.learn(task, lambda _: None) for task in range(5)]
        return int(sum((each.new + each.replayed).sum() for each in used))

    measure(benchmark, f"retrograde, {replicates} replicates, compile {compiled}", setup, learn)


@pytest.mark.timeout(900)
def test_avalanches(benchmark):
    import_torchvision()
    warnings.simplefilter("ignore")
    pytest.importorskip("avalanche")
    from avalanche.benchmarks.classic import SplitMNIST
    from avalanche.models import SimpleMLP
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.supervised import Replay

    stream = SplitMNIST(5, seed=0, dataset_root=data_folder()).train_stream
    passed = []

    def setup():
        model = SimpleMLP(num_classes=10, hidden_size=100, hidden_layers=2, drop_rate=0)
        model.register_forward_pre_hook(lambda _, inputs: passed.append(len(inputs[0])))
        optimizer, loss = torch.optim.SGD(model.parameters(), lr=0.01), torch.nn.CrossEntropyLoss()
        settings = {"mem_size": 200, "train_mb_size": 10, "train_epochs": 1, "evaluator": EvaluationPlugin()}
        return Replay(model=model, optimizer=optimizer, criterion=loss, **settings)

    def learn(strategy):
        passed.clear()
        for experience in stream:
            strategy.train(experience, num_workers=0)
        return sum(passed)

    measure(benchmark, "avalanche", setup, learn)
