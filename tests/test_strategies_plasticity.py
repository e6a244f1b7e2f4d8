"""Remedies for the loss of plasticity: against autograd on their definitions, and their noise."""

import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

import retrograde as rg
from retrograde.parts.registry import Registry
from retrograde.testing import flat, start, toy_batch, toy_net, toy_step

PARTS = Registry()


def descended(net, params, batch, lr, penalty):
    """The parameters after a step on the loss and a penalty, by autograd."""
    weights = {name: value.clone().requires_grad_() for name, value in params.items()}
    loss = cross_entropy(functional_call(net.module, weights, (batch.x,)), batch.y)
    loss = loss + penalty(flat(weights))
    gradients = torch.autograd.grad(loss, list(weights.values()))
    return flat(params) - lr * torch.cat([gradient.flatten() for gradient in gradients])


def test_the_penalty_is_the_squared_distance_from_the_initial_parameters():
    net, params = toy_net("mlp-5")
    part = PARTS.find("strategies", "l2_init")(lr=0.1, strength=0.3)
    state, random = start(part, net, params), torch.Generator().manual_seed(0)
    origin = flat(params)
    for _ in range(5):
        batch = toy_batch(5, seed=random)
        expected = descended(
            net, state.params, batch, 0.1, lambda now: 0.3 * ((now - origin) ** 2).sum()
        )
        state = part.step(net, state, toy_step(batch))
        assert_close(flat(state.params), expected)
    assert (flat(state.params) - origin).abs().max() > 0.01


def after_a_step(**given):
    net, params = toy_net("mlp-50")
    part = PARTS.find("strategies", "shrink_perturb")(lr=0.1, **given)
    batch = toy_batch(5)
    after = part.step(net, start(part, net, params), toy_step(batch))
    plain = descended(net, params, batch, 0.1, lambda now: 0 * now.sum())
    return flat(after.params), plain


def test_parameters_shrink_after_the_gradient_step():
    found, plain = after_a_step(shrink=0.7, noise=0.0)
    assert_close(found, 0.7 * plain)


def test_noise_has_its_standard_deviation_and_differs_between_parameters():
    found, plain = after_a_step(shrink=1.0, noise=0.5)
    noise = found - plain
    assert abs(float(noise.std()) - 0.5) < 0.05
    assert abs(float(noise.mean())) < 0.05
    assert len(noise.unique()) > 0.99 * len(noise)


def test_noise_is_that_of_the_seed_and_of_the_step():
    runs = [rg.run("split:train_examples=50", ["shrink_perturb:noise=0.01"], seeds=2) for _ in "ab"]
    assert [each.correct for each in runs[0]] == [each.correct for each in runs[1]]
    still = rg.run("split:train_examples=50", ["shrink_perturb:noise=0,shrink=1"], seeds=1)
    plain = rg.run("split:train_examples=50", ["finetune"], seeds=1)
    assert still[0].correct == plain[0].correct
