"""The optimisers, step by step against PyTorch's."""

from typing import get_args

import pytest
import torch

from retrograde.optim import OPTIMIZERS, OptimizerName, build_optimizer, clipped

THEIRS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fifty_steps_equal_pytorchs(name):
    random = torch.Generator().manual_seed(0)
    theirs = torch.randn(4, 3, generator=random, dtype=torch.float64, requires_grad=True)
    ours, optimizer, reference = (
        {"w": theirs.detach().clone()},
        OPTIMIZERS[name](),
        THEIRS[name]([theirs]),
    )
    slots = optimizer.init(ours)
    for _ in range(50):
        gradient = torch.randn(4, 3, generator=random, dtype=torch.float64)
        theirs.grad = gradient
        reference.step()
        ours, slots = optimizer.update(ours, {"w": gradient}, slots, 0.1)
    assert torch.allclose(ours["w"], theirs, atol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_update_leaves_its_inputs_alone(name):
    params = {"w": torch.ones(3)}
    optimizer = OPTIMIZERS[name]()
    slots = optimizer.init(params)
    kept = {group: {k: v.clone() for k, v in values.items()} for group, values in slots.items()}
    optimizer.update(params, {"w": torch.ones(3)}, slots, 0.5)
    assert torch.equal(params["w"], torch.ones(3))
    assert all(
        torch.equal(v, kept[group][k]) for group, values in slots.items() for k, v in values.items()
    )


@pytest.mark.parametrize("bound", [0.5, 100.0])
def test_clipping_shortens_as_pytorch_does(bound):
    ours = {"a": torch.randn(4, 3), "b": torch.randn(2)}
    theirs = [torch.zeros_like(value).requires_grad_() for value in ours.values()]
    for parameter, gradient in zip(theirs, ours.values(), strict=True):
        parameter.grad = gradient.clone()
    torch.nn.utils.clip_grad_norm_(theirs, bound)
    assert all(
        torch.allclose(a, b.grad)
        for a, b in zip(clipped(ours, bound).values(), theirs, strict=True)
    )


def test_a_bound_of_zero_clips_nothing():
    assert torch.equal(clipped({"a": torch.full((3,), 1e9)}, 0.0)["a"], torch.full((3,), 1e9))


def sgd(**settings):
    return lambda params: torch.optim.SGD(params, lr=0.1, **settings)


def adam(kind, **settings):
    return lambda params: kind(params, lr=0.1, **settings)


PROTOCOLS = {
    "sgd": ({}, sgd()),
    "momentum": ({}, sgd(momentum=0.9)),
    "momentum 0.5": ({"decay": 0.5}, sgd(momentum=0.5)),
    "nesterov": ({}, sgd(momentum=0.9, nesterov=True)),
    "nesterov 0.5": ({"decay": 0.5}, sgd(momentum=0.5, nesterov=True)),
    "adam": ({}, adam(torch.optim.Adam)),
    "adamw": ({}, adam(torch.optim.AdamW, weight_decay=0)),
    "sgd decayed": ({"weight_decay": 0.3}, sgd(weight_decay=0.3)),
    "momentum decayed": ({"weight_decay": 0.3}, sgd(momentum=0.9, weight_decay=0.3)),
    "nesterov decayed": (
        {"weight_decay": 0.3},
        sgd(momentum=0.9, nesterov=True, weight_decay=0.3),
    ),
    "adam decayed": ({"weight_decay": 0.3}, adam(torch.optim.Adam, weight_decay=0.3)),
    "adagrad": ({}, adam(torch.optim.Adagrad)),
    "adagrad decayed": ({"weight_decay": 0.3}, adam(torch.optim.Adagrad, weight_decay=0.3)),
    "adamw decayed": ({"weight_decay": 0.3}, adam(torch.optim.AdamW, weight_decay=0.3)),
}


def trained(name, settings, lrs, clip=0.0):
    """The weights of a small problem after a step of ours at each rate, in float64."""
    optimizer = build_optimizer(name, clip=clip, **settings)
    params, gradients = problem(len(lrs))
    slots = optimizer.init(params)
    for gradient, lr in zip(gradients, lrs, strict=True):
        params, slots = optimizer.update(params, gradient, slots, lr)
    return params


def trained_by_pytorch(make, lrs, clip=0.0):
    """The same by PyTorch's optimiser."""
    params, gradients = problem(len(lrs))
    leaves = {name: value.requires_grad_() for name, value in params.items()}
    optimizer = make(leaves.values())
    for gradient, lr in zip(gradients, lrs, strict=True):
        optimizer.param_groups[0]["lr"] = float(lr)
        for name, leaf in leaves.items():
            leaf.grad = gradient[name].clone()
        if clip:
            torch.nn.utils.clip_grad_norm_(leaves.values(), clip)
        optimizer.step()
    return {name: leaf.detach() for name, leaf in leaves.items()}


def problem(steps):
    random = torch.Generator().manual_seed(3)

    def drawn():
        shapes = {"w": (4, 3), "b": (3,)}
        return {
            name: torch.randn(*shape, generator=random, dtype=torch.float64)
            for name, shape in shapes.items()
        }

    return drawn(), [drawn() for _ in range(steps)]


@pytest.mark.parametrize("clip", [0.0, 1.5, 1e3])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_twenty_steps_of_a_protocol_equal_pytorchs(protocol, clip):
    settings, make = PROTOCOLS[protocol]
    ours = trained(protocol.split()[0], settings, [0.1] * 20, clip)
    theirs = trained_by_pytorch(make, [0.1] * 20, clip)
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_rate_that_changes_may_be_a_tensor(protocol):
    settings, make = PROTOCOLS[protocol]
    rates = torch.linspace(0.1, 0.01, 20, dtype=torch.float64)
    ours = trained(protocol.split()[0], settings, list(rates))
    theirs = trained_by_pytorch(make, list(rates))
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-12, atol=1e-12)


def test_every_optimiser_is_compared_with_pytorchs_with_and_without_weight_decay():
    names = get_args(OptimizerName)
    assert {*names, *(f"{name} decayed" for name in names)} <= PROTOCOLS.keys()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_without_decay_and_clipping_the_numbers_are_the_bare_optimisers(name):
    params, gradients = problem(20)
    single = {own: value.float() for own, value in params.items()}
    protocol, bare = build_optimizer(name), OPTIMIZERS[name]()
    ours = theirs = single, bare.init(single)
    for gradient in gradients:
        step = {own: value.float() for own, value in gradient.items()}
        ours = protocol.update(ours[0], step, ours[1], 0.03)
        theirs = bare.update(theirs[0], step, theirs[1], 0.03)
    assert all(torch.equal(ours[0][own], theirs[0][own]) for own in params)


def test_clipping_comes_before_weight_decay_and_leaves_slots_of_the_clipped_gradient():
    optimizer = build_optimizer("momentum", weight_decay=0.5, clip=1.0)
    params = {"w": torch.tensor([2.0, 0.0])}
    _, slots = optimizer.update(
        params, {"w": torch.tensor([0.0, 9.0])}, optimizer.init(params), 1.0
    )
    torch.testing.assert_close(slots["velocity"]["w"], torch.tensor([1.0, 1.0]))
