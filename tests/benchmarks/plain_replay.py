"""Experience replay in plain PyTorch: a loop, the same loop with its step compiled, and one with the
gradient by hand.

As a script it trains and evaluates one replicate for each order of classes: `plain_replay.py SIDE
ORDERS`, where SIDE is a name of `UPDATES` and ORDERS is JSON. It prints JSON: of each replicate the
seconds of training and of evaluation, the number of steps and the accuracy in the end.
"""

import json
import random
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.nn.functional import cross_entropy, one_hot

BATCH, DRAWN, SIZE = 10, 10, 200
TESTED = 1000  # test examples that are predicted at once

Update = Callable[[Tensor], Any]
"""Takes a step of SGD on the mean cross-entropy of some rows of the data."""


class Reservoir:
    """Rows of the data; each row that was seen is kept with the same probability (Vitter 1985, algorithm R)."""

    def __init__(self, size: int = SIZE, seed: int = 0) -> None:
        self.size = size
        self.seen = 0
        self.kept: list[int] = []
        self.random = random.Random(seed)

    def draw(self, count: int) -> list[int]:
        """Different rows of those kept; all of them, where they are fewer."""
        return self.random.sample(self.kept, min(count, len(self.kept)))

    def keep(self, rows: list[int]) -> None:
        """Offer rows in order."""
        for row in rows:
            self.seen += 1
            if len(self.kept) < self.size:
                self.kept.append(row)
            elif (slot := self.random.randrange(self.seen)) < self.size:
                self.kept[slot] = row


def learn(rows: list[int], memory: Reservoir, update: Update) -> int:
    """Train one epoch on the rows of a task, each batch with rows from memory; returns the number of steps."""
    order = memory.random.sample(rows, len(rows))
    batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    for incoming in batches:
        update(torch.tensor(incoming + memory.draw(DRAWN)))
        memory.keep(incoming)
    return len(batches)


def plain(model: nn.Module, x: Tensor, y: Tensor, lr: float) -> Update:
    """As in PyTorch's tutorials."""
    sgd = torch.optim.SGD(model.parameters(), lr=lr)

    def update(rows: Tensor) -> None:
        sgd.zero_grad()
        cross_entropy(model(x[rows]), y[rows]).backward()
        sgd.step()

    return update


def compiled(model: nn.Module, x: Tensor, y: Tensor, lr: float) -> Update:
    """The whole step is one graph: examples are gathered, the gradient is taken, and parameters change in place.

    A step of another size, as the first of a run and the last of a task may be, is not compiled: it would need its own graph.
    """
    params = {name: value.detach() for name, value in model.named_parameters()}
    graph = torch.compile(_step, fullgraph=True, dynamic=False)
    return lambda rows: (graph if len(rows) == BATCH + DRAWN else _step)(
        model, params, x, y, rows, lr
    )


def _step(
    model: nn.Module, params: dict[str, Tensor], x: Tensor, y: Tensor, rows: Tensor, lr: float
) -> None:
    def loss(params: dict[str, Tensor]) -> Tensor:
        return cross_entropy(functional_call(model, params, (x[rows],)), y[rows])

    gradient = grad(loss)(params)
    for name, value in params.items():
        value.sub_(gradient[name], alpha=lr)


def by_hand(model: nn.Module, x: Tensor, y: Tensor, lr: float) -> Update:
    """The gradient of a network of linear layers and ReLU is written out; a matrix product subtracts it from the weights."""
    linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    layers = [(layer.weight.detach(), layer.bias.detach()) for layer in linear]
    targets = one_hot(y, linear[-1].out_features).float()

    def update(rows: Tensor) -> None:
        inputs = [x[rows]]
        for weight, bias in layers[:-1]:
            inputs.append(torch.addmm(bias, inputs[-1], weight.t()).relu_())
        weight, bias = layers[-1]
        probability = torch.addmm(bias, inputs[-1], weight.t()).softmax(1)
        slope = probability.sub_(targets[rows]).mul_(lr / len(rows))
        for depth in reversed(range(len(layers))):
            weight, bias = layers[depth]
            below = (
                (slope @ weight).mul_(inputs[depth] > 0) if depth else slope
            )  # before the weights change
            weight.addmm_(slope.t(), inputs[depth], alpha=-1)
            bias.sub_(slope.sum(0))
            slope = below

    return update


UPDATES: dict[str, Callable[[nn.Module, Tensor, Tensor, float], Update]] = {
    "plain loop": plain,
    "plain loop under torch.compile": compiled,
    "plain loop with the gradient by hand": by_hand,
}


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """The share of right answers."""
    with torch.no_grad():
        hits = [
            (model(part).argmax(1) == label).sum()
            for part, label in zip(x.split(TESTED), y.split(TESTED), strict=True)
        ]
    return int(torch.stack(hits).sum()) / len(y)


def mnist() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and test examples as rows of floats, with their labels."""
    from retrograde.data.sources import data_folder, load

    data = load("mnist", data_folder())
    train, test = (
        torch.from_numpy(part).flatten(1).float() / 255 for part in (data.x_train, data.x_test)
    )
    return train, torch.from_numpy(data.y_train), test, torch.from_numpy(data.y_test)


def replicate(
    side: str, order: list[int], data: tuple[Tensor, Tensor, Tensor, Tensor]
) -> dict[str, float]:
    """Learn pairs of classes, one after the other; evaluate before and after each."""
    x, y, x_test, y_test = data
    layers = [nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10)]
    model, memory = nn.Sequential(*layers), Reservoir()
    update = UPDATES[side](model, x, y, 0.01)
    if side == "plain loop under torch.compile":
        _compile(model, update)
    clock = {"train": 0.0, "evaluate": 0.0, "steps": 0, "accuracy": 0.0}
    for number in range(-1, 5):
        start = time.perf_counter()
        if number >= 0:
            own = (y[:, None] == torch.tensor(order[2 * number : 2 * number + 2])).any(1)
            clock["steps"] += learn(own.nonzero().flatten().tolist(), memory, update)
        learned = time.perf_counter()
        clock["accuracy"] = accuracy(model, x_test, y_test)
        clock["train"] += learned - start
        clock["evaluate"] += time.perf_counter() - learned
    return clock


def _compile(model: nn.Module, update: Update) -> None:
    """Take a step and forget it."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    update(torch.arange(BATCH + DRAWN))
    model.load_state_dict(before)


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    held = mnist()
    found = [replicate(sys.argv[1], order, held) for order in json.loads(sys.argv[2])]
    print(json.dumps({name: [each[name] for each in found] for name in found[0]}))
