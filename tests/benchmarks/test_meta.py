"""Few-shot meta-steps.

Second-order MAML against the textbook's loop over tasks with `torch.autograd.grad(create_graph=True)`, and every meta-strategy
on sinusoids. All sides step on tensors that lie ready: drawing tasks is left out. That ours and the textbook's compute the same
numbers is tested in tests/test_strategies_meta.py.
"""

import numpy as np
import pytest
import torch
from labels import ours
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, mse_loss

from retrograde.data.dataset import Dataset
from retrograde.interface.metastrategy import MetaStrategy
from retrograde.models._mlp import mlp
from retrograde.parts.registry import Registry
from retrograde.running.cell import CPU
from retrograde.training.episode_replicas import EpisodeReplicas, Tasks

PARTS = Registry()
FOUND = {name: PARTS.find("strategies", name) for name in PARTS.names("strategies")}
META = [name for name, part in FOUND.items() if issubclass(part, MetaStrategy) and part.meta_trains]
STEPS = {"omniglot": 5, "sinusoid": 50}  # of a round


def ready(name, replicates, strategy="maml"):
    """Replicates of a cell and a meta-batch; images are noise of Omniglot's size, for their content takes no time."""
    y = np.repeat(np.arange(30), 2)
    data = Dataset("noise", *[np.random.default_rng(0).random((60, 1, 28, 28), np.float32), y] * 2)
    bench = PARTS.get("benchmarks", name, {"split": "10,10,10"} if name == "omniglot" else {})
    sources = [bench.distribution(data, seed) for seed in range(replicates)]
    episodes = EpisodeReplicas(
        bench, PARTS.get("strategies", strategy), sources, list(range(replicates)), CPU
    )
    return episodes, episodes.draw("train", bench.meta_batch_size, "probe")


def stepping(episodes, tasks, steps):
    progress = torch.tensor(0.0)

    def step():
        for _ in range(steps):
            inputs = tasks, progress, episodes.own, episodes.shared
            episodes.carried = episodes._step(episodes.carried, *inputs)

    return step


@pytest.mark.timeout(900)
@pytest.mark.parametrize("compiled", ["on", "off"])
@pytest.mark.parametrize(
    ("name", "replicates"), [("omniglot", 1), ("sinusoid", 1), ("sinusoid", 5)]
)
def test_ours(measure, floors, name, replicates, compiled):
    episodes, tasks = ready(name, replicates)
    episodes.warm_up(compiled)
    what = ours(f"maml on {name}", compiled == "on", replicates)
    reference = textbook(name)
    against = dict.fromkeys([reference, next(iter(floors(reference)))])
    measure(what, stepping(episodes, tasks, STEPS[name]), against, things=STEPS[name] * replicates)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [name for name in META if name != "maml"])
def test_every_meta_strategy(measure, name):
    episodes, tasks = ready("sinusoid", 1, name)
    episodes.warm_up("on")
    against = dict.fromkeys(["bare loop on sinusoid", ours("maml on sinusoid", True, 1)])
    measure(
        ours(f"{name} on sinusoid", True, 1),
        stepping(episodes, tasks, STEPS["sinusoid"]),
        against,
        things=STEPS["sinusoid"],
    )


def test_the_bare_loop(measure):
    """Plain training on the examples of all tasks together."""
    _, drawn = ready("sinusoid", 1)
    x, y, net = drawn.x.reshape(-1, 1), drawn.y.reshape(-1, 1), mlp((1,), 1, 40, 40)
    adam = torch.optim.Adam(net.parameters(), lr=0.001)

    def loop():
        for _ in range(STEPS["sinusoid"]):
            adam.zero_grad()
            mse_loss(net(x), y).backward()
            adam.step()

    measure("bare loop on sinusoid", loop, things=STEPS["sinusoid"])


def textbook(name):
    return f"textbook's maml on {name}"


def four_blocks(width=64):
    blocks = []
    for inputs in (1, width, width, width):
        norm = nn.BatchNorm2d(width, track_running_stats=False)
        blocks += [nn.Conv2d(inputs, width, 3, stride=2, padding=1, bias=False), norm, nn.ReLU()]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5))


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "model", "loss"),
    [
        ("omniglot", four_blocks, cross_entropy),
        ("sinusoid", lambda: mlp((1,), 1, 40, 40), mse_loss),
    ],
)
def test_the_textbooks_loop(measure, floor, name, model, loss):
    episodes, drawn = ready(name, 1)
    tasks, cut, net = (
        Tasks(*(part[0] for part in drawn)),
        episodes.sources[0].support(episodes.shots[False]),
        model(),
    )
    adam, params = torch.optim.Adam(net.parameters(), lr=0.001), dict(net.named_parameters())

    def query_loss(x, y):
        inner = loss(net(x[:cut]), y[:cut])
        gradient = torch.autograd.grad(inner, list(params.values()), create_graph=True)
        adapted = {
            key: value - 0.01 * g for (key, value), g in zip(params.items(), gradient, strict=True)
        }
        return loss(functional_call(net, adapted, (x[cut:],)), y[cut:])

    def steps(count=STEPS[name]):
        for _ in range(count):
            adam.zero_grad()
            torch.stack(
                [query_loss(x, y) for x, y in zip(tasks.x, tasks.y, strict=True)]
            ).mean().backward()
            adam.step()

    measure(textbook(name), steps, floor(textbook(name), lambda: steps(1)), things=STEPS[name])
