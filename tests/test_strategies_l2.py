"""L2 against autograd on the penalty of its definition."""

import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from retrograde.interface.strategy import ExperienceEnd
from retrograde.parts.registry import Registry
from retrograde.testing import flat, start, toy_batch, toy_net, toy_step

PARTS = Registry()


def gradient(net, params, anchor, strength, batch):
    """Autograd's, of the loss and the penalty, by the name of the parameter."""
    weights = {name: value.clone().requires_grad_() for name, value in params.items()}
    loss = cross_entropy(functional_call(net.module, weights, (batch.x,)), batch.y)
    if anchor is not None:
        loss = loss + strength * ((flat(weights) - anchor) ** 2).sum()
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(weights.values()))])


def test_the_penalty_is_the_squared_distance_from_the_last_tasks_parameters_alone():
    net, params = toy_net("mlp-5")
    part = PARTS.find("strategies", "l2")(lr=0.1, strength=0.3)
    state, anchor, random = start(part, net, params), None, torch.Generator().manual_seed(0)
    for task in range(3):
        for _ in range(4):
            batch = toy_batch(5, task=task, seed=random)
            expected = flat(state.params) - 0.1 * gradient(net, state.params, anchor, 0.3, batch)
            state = part.step(net, state, toy_step(batch))
            assert_close(flat(state.params), expected)
        state = part.end_experience(net, state, ExperienceEnd(batch, None))
        anchor = flat(state.params)


def test_a_strong_penalty_holds_the_parameters():
    net, params = toy_net("mlp-5")
    # With lr * strength = 1 / 2, a step returns to the anchor, but for one step on the loss.
    part = PARTS.find("strategies", "l2")(lr=1e-4, strength=5e3)
    batch = toy_batch(5)
    ended = part.end_experience(net, start(part, net, params), ExperienceEnd(batch, None))
    moved = {name: value + 1 for name, value in params.items()}
    after = part.step(net, ended.replace(params=moved), toy_step(batch))
    assert (flat(after.params) - flat(params)).abs().max() < 1e-3
