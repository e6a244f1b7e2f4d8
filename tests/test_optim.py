"""The optimisers, step by step against PyTorch's."""

import pytest
import torch

from retrograde.optim import OPTIMIZERS, clipped

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
