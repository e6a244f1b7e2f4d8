"""La-MAML's meta-update.

Ours against the authors' way, a Python loop of `torch.autograd.grad` over lists of parameters: MLP 784-100-100-10, ten
incoming examples, ten replayed, ten inner steps on single examples and the meta-loss after each, on ten made-up characters that both
sides learn. An eager figure is of a tenth of the updates.
"""

import pytest
import torch
from labels import ours
from torch import nn
from torch.nn.functional import cross_entropy, relu

from retrograde.data.dataset import Dataset
from retrograde.parts.registry import Registry
from retrograde.running.cell import CPU
from retrograde.training.stream_replicas import StreamReplicas

UPDATES = 300
SETTINGS = {"inner_lr": "0.15", "hyper_lr": "0.3", "nonnegative_lr": "true"}


def characters():
    """About as sparse as MNIST: a quarter of the pixels of each character is bright, and four fifths of these show."""
    random = torch.Generator().manual_seed(0)
    bright = torch.rand(10, 784, generator=random) < 0.25
    y = torch.randint(10, (10 * UPDATES,), generator=random)
    x = (
        torch.rand(len(y), 784, generator=random)
        * bright[y]
        * (torch.rand(len(y), 784, generator=random) < 0.8)
    )
    return x, y


@pytest.mark.timeout(900)
@pytest.mark.parametrize("order", ["first", "second"])
@pytest.mark.parametrize("replicates", [1, 5])
@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "eager"])
def test_ours(measure, floors, compiled, replicates, order):
    parts, seeds = Registry(), list(range(replicates))
    x, y = (part.numpy() for part in characters())
    data = Dataset("characters", x, y, x[:100], y[:100])
    stream = parts.get(
        "benchmarks", "permuted", {"tasks": "1", "train_examples": str(10 * UPDATES)}
    )
    lamaml = parts.get("strategies", "lamaml", SETTINGS | {"first_order": str(order == "first")})
    backend = StreamReplicas(
        stream, lamaml, [stream.stream(data, seed) for seed in seeds], seeds, CPU
    )
    assert backend.warm_up("on" if compiled else "off") is None
    rows = torch.from_numpy(backend.memories.rows(0).array)
    assert len(rows) == UPDATES
    taken = rows if compiled else rows[: UPDATES // 10]

    def updates():
        for step in taken:
            backend.carried = backend._step(backend.carried, step, backend.own, backend.shared)

    against = (
        {textbook(order): 1 / 4} | floors(textbook(order)) if compiled else {textbook(order): None}
    )
    measure(
        ours(f"{order} order", compiled, replicates),
        updates,
        against,
        things=replicates * len(taken),
        rounds=3,
    )
    if compiled:
        assert (
            backend.evaluate(backend.test_rows).correct.mean() > 0.95
        )  # all is finite, and little is left to learn


def textbook(order):
    return f"authors' way, {order} order"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("order", ["first", "second"])
def test_the_authors_way(measure, floor, order):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10)
    )
    rates = [torch.full_like(weight, 0.15).requires_grad_() for weight in model.parameters()]
    x, y = characters()
    random = torch.Generator().manual_seed(1)
    drawn = torch.randint(len(x), (UPDATES, 20), generator=random)
    batches = [(x[rows], y[rows]) for rows in drawn]
    weights = dict(model.named_parameters())

    def updates(batches=batches):
        for x, y in batches:
            meta_update(model, weights, rates, (x, y), second_order=order == "second")

    least = floor(textbook(order), lambda: updates(batches[:10]), 10)
    measure(textbook(order), updates, least, things=UPDATES, rounds=3)
    assert (model(x).argmax(1) == y).float().mean() > 0.95


def meta_update(model, weights, rates, batch, second_order):
    """The first ten examples are incoming, the others are replayed."""
    (x, y), losses, fast = batch, [], list(weights.values())
    for i in range(10):
        loss = cross_entropy(called(model, weights, fast, x[i : i + 1]), y[i : i + 1])
        gradients = torch.autograd.grad(
            loss, fast, create_graph=second_order, retain_graph=second_order
        )
        fast = [
            weight - relu(rate) * gradient
            for weight, rate, gradient in zip(fast, rates, gradients, strict=True)
        ]
        losses.append(cross_entropy(called(model, weights, fast, x), y))
    (sum(losses) / len(losses)).backward()
    torch.nn.utils.clip_grad_norm_(weights.values(), 2.0)
    torch.nn.utils.clip_grad_norm_(rates, 2.0)
    with torch.no_grad():
        for rate, weight in zip(rates, weights.values(), strict=True):
            rate.sub_(0.3 * rate.grad)
            weight.sub_(relu(rate) * weight.grad)
            rate.grad = weight.grad = None


def called(model, weights, fast, x):
    return torch.func.functional_call(model, dict(zip(weights, fast, strict=True)), (x,))
