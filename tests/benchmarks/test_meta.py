"""Second-order MAML, one meta-step: ours against the textbook's loop over tasks with `torch.autograd.grad(create_graph=True)`.

Run with `tox run -e bench`. Both sides take an Adam step on tensors that lie ready: drawing tasks is left out, and so is
compiling. That both compute the same numbers is tested in tests/test_metastrategies.py. The figure to read is the ratio,
printed at the end.
"""

import time

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, mse_loss

from retrograde.adapting import Episodes, Tasks
from retrograde.data import Dataset
from retrograde.models import mlp
from retrograde.registry import Registry

ROUNDS = {"omniglot": 15, "sinusoid": 200}
SECONDS: dict[str, dict[str, float]] = {"omniglot": {}, "sinusoid": {}}  # of a meta-step and replicate, the median over rounds


@pytest.fixture(scope="module", autouse=True)
def ratios():
    yield
    for name, sides in SECONDS.items():
        for side, seconds in sides.items():
            ratio = f", {sides['textbook'] / seconds:.1f} times the textbook's speed" if "textbook" in sides else ""
            print(f"\n{name}, {side}: {1e3 * seconds:.2f} ms per meta-step and replicate{ratio}")


def measure(benchmark, name, side, step, replicates=1):
    seconds = []

    def timed():
        start = time.perf_counter()
        step()
        seconds.append((time.perf_counter() - start) / replicates)

    benchmark.pedantic(timed, rounds=ROUNDS[name], warmup_rounds=2)
    SECONDS[name][side] = float(np.median(seconds))


def ready(name, replicates):
    """Replicates of a cell and a meta-batch; images are noise of Omniglot's size, for their content takes no time."""
    y = np.repeat(np.arange(30), 2)
    data = Dataset("noise", *[np.random.default_rng(0).random((60, 1, 28, 28), np.float32), y] * 2)
    settings = {"split": "10,10,10"} if name == "omniglot" else {}
    bench = Registry().get("benchmarks", name, settings)
    maml = Registry().get("strategies", "maml", {"lr": "0.4" if name == "omniglot" else "0.001"})
    sources = [bench.stream(data, seed) for seed in range(replicates)]
    episodes = Episodes(bench, maml, sources, list(range(replicates)), torch.device("cpu"))
    return episodes, episodes.draw("train", bench.tasks, "probe")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("compiled", ["on", "off"])
@pytest.mark.parametrize(("name", "replicates"), [("omniglot", 1), ("sinusoid", 1), ("sinusoid", 5)])
def test_ours(benchmark, name, replicates, compiled):
    episodes, tasks = ready(name, replicates)
    episodes.warm_up(compiled)
    progress = torch.tensor(0.0)

    def step():
        episodes.state = episodes._step(episodes.state, episodes.buffers, tasks, progress)

    measure(benchmark, name, f"ours, {replicates} replicates, compile {compiled}", step, replicates)


def four_blocks(width=64):
    blocks = []
    for inputs in (1, width, width, width):
        norm = nn.BatchNorm2d(width, track_running_stats=False)
        blocks += [nn.Conv2d(inputs, width, 3, stride=2, padding=1, bias=False), norm, nn.ReLU()]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5))


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "model", "loss", "lr"),
    [("omniglot", four_blocks, cross_entropy, 0.4), ("sinusoid", lambda: mlp((1,), 1, 40, 40), mse_loss, 0.001)],
)
def test_the_textbooks_loop(benchmark, name, model, loss, lr):
    episodes, drawn = ready(name, 1)
    tasks, cut, net = Tasks(*(part[0] for part in drawn)), episodes.sources[0].support(episodes.shots[False]), model()
    adam, params = torch.optim.Adam(net.parameters(), lr=0.001), dict(net.named_parameters())

    def query_loss(x, y):
        inner = loss(net(x[:cut]), y[:cut])
        gradient = torch.autograd.grad(inner, list(params.values()), create_graph=True)
        adapted = {key: value - lr * g for (key, value), g in zip(params.items(), gradient, strict=True)}
        return loss(functional_call(net, adapted, (x[cut:],)), y[cut:])

    def step():
        adam.zero_grad()
        torch.stack([query_loss(x, y) for x, y in zip(tasks.x, tasks.y, strict=True)]).mean().backward()
        adam.step()

    measure(benchmark, name, "textbook", step)
