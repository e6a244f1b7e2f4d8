"""Strategies that pretrain: their losses against the plain algorithm, and their gradients against finite differences."""

import copy

import pytest
import torch
from torch.func import grad
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from retrograde.interface.batch import Batch
from retrograde.interface.net import Net
from retrograde.interface.state import State
from retrograde.interface.strategy import PretrainingEpisode
from retrograde.networks.build import build
from retrograde.networks.head import headless
from retrograde.optim import plain
from retrograde.parts.registry import Registry
from retrograde.strategies._head import reset_head

PARTS = Registry()
EXACT = {"oml": {}, "anml": {}, "maml_init": {"inner_steps": 2}, "pretrained": {}}
STEP = 1e-6


def problem(name):
    """A net in double precision whose hidden units are smooth, its parameters, and an episode of two classes."""
    random = torch.Generator().manual_seed(2)
    module = build(
        PARTS.find("strategies", name).contract_model.replace("16", "4"), (3,), 4, seed=0
    ).double()
    for each in module.modules():
        for key, child in each.named_children():
            if isinstance(child, torch.nn.ReLU):
                setattr(each, key, torch.nn.Tanh())

    def batch(*y):
        x = torch.randn(len(y), 3, generator=random, dtype=torch.float64)
        return Batch(
            x,
            torch.tensor(y),
            torch.zeros(len(y), dtype=torch.long),
            torch.ones(len(y), dtype=torch.float64),
        )

    params = {key: value.detach().clone() for key, value in module.named_parameters()}
    return (
        Net(module, plain(), body=headless(module)),
        params,
        PretrainingEpisode(batch(1, 1, 3, 3), batch(1, 3), batch(0, 1, 2)),
    )


@pytest.mark.parametrize("name", EXACT)
def test_the_gradient_of_an_episode_is_that_of_finite_differences(name):
    net, params, episode = problem(name)
    part = PARTS.get(
        "strategies", name, EXACT[name] | ({"inner_lr": 0.5} if name != "pretrained" else {})
    )
    slope = grad(lambda p: part.pretraining_loss(net, p, episode))(params)
    random = torch.Generator().manual_seed(3)
    way = {
        key: torch.randn(value.shape, generator=random, dtype=torch.float64)
        for key, value in params.items()
    }
    up, down = (
        {key: value + sign * STEP * way[key] for key, value in params.items()} for sign in (1, -1)
    )
    difference = (
        part.pretraining_loss(net, up, episode) - part.pretraining_loss(net, down, episode)
    ) / (2 * STEP)
    assert_close(
        sum((slope[key] * way[key]).sum() for key in way), difference, rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize("name", ["oml", "anml", "maml_init"])
def test_in_first_order_the_loss_is_the_same_and_the_gradient_another(name):
    net, params, episode = problem(name)
    exact, first = (
        PARTS.get("strategies", name, {"inner_lr": 0.5, "first_order": order})
        for order in (False, True)
    )
    assert_close(
        exact.pretraining_loss(net, params, episode), first.pretraining_loss(net, params, episode)
    )
    slopes = [
        grad(lambda p, part=part: part.pretraining_loss(net, p, episode))(params)
        for part in (exact, first)
    ]
    assert any(not torch.allclose(slopes[0][key], slopes[1][key]) for key in params)


def descended(net, params, trajectory, moving, rate):
    """A module after plain steps of PyTorch on one example after the other."""
    module = copy.deepcopy(net.module)
    module.load_state_dict(params)
    optimizer = torch.optim.SGD([p for key, p in module.named_parameters() if moving(key)], lr=rate)
    for x, y in zip(trajectory.x, trajectory.y, strict=True):
        module.zero_grad()
        cross_entropy(module(x[None]), y[None]).backward()
        optimizer.step()
    return module


@pytest.mark.parametrize(
    ("name", "moving", "parts"),
    [
        ("oml", lambda key: key.startswith("head"), ("query", "remember_set")),
        ("anml", lambda key: not key.startswith("gated.gate"), ("trajectory", "remember_set")),
    ],
)
def test_the_loss_of_an_episode_is_that_of_a_plain_loop_over_its_trajectory(name, moving, parts):
    net, params, episode = problem(name)
    module = descended(net, params, episode.trajectory, moving, 0.5)
    x, y = (
        torch.cat([getattr(getattr(episode, part), axis) for part in parts]) for axis in ("x", "y")
    )
    found = PARTS.get("strategies", name, {"inner_lr": 0.5}).pretraining_loss(net, params, episode)
    assert_close(found, cross_entropy(module(x), y).detach())


@pytest.mark.parametrize("trainable", ["head", "all"])
def test_mamls_inner_steps_take_the_whole_trajectory_and_move_what_the_stream_trains(trainable):
    net, params, episode = problem("maml_init")
    module = copy.deepcopy(net.module)
    module.load_state_dict(params)
    optimizer = torch.optim.SGD(
        [p for key, p in module.named_parameters() if trainable == "all" or key.startswith("head")],
        lr=0.5,
    )
    for _ in range(3):
        module.zero_grad()
        cross_entropy(module(episode.trajectory.x), episode.trajectory.y).backward()
        optimizer.step()
    found = PARTS.get(
        "strategies", "maml_init", {"inner_lr": 0.5, "inner_steps": 3, "trainable": trainable}
    ).pretraining_loss(net, params, episode)
    meta_query = episode.meta_query()
    assert_close(found, cross_entropy(module(meta_query.x), meta_query.y).detach())


def test_plain_pretraining_sees_the_remember_set_alone():
    net, params, episode = problem("pretrained")
    found = PARTS.get("strategies", "pretrained").pretraining_loss(net, params, episode)
    assert_close(
        found, cross_entropy(net.module(episode.remember_set.x), episode.remember_set.y).detach()
    )


@pytest.mark.parametrize("name", EXACT)
def test_a_pretraining_step_lowers_the_loss_of_its_episode(name):
    net, params, episode = problem(name)
    part = PARTS.get("strategies", name, {"meta_lr": 0.01})
    start = reset_head(params, episode.trajectory.y) if part.resets_rows else params
    after = part.pretrain_step(net, State(params, {}, {}), episode).params
    assert part.pretraining_loss(net, after, episode) < part.pretraining_loss(net, start, episode)


def test_an_episode_resets_the_rows_of_its_classes_and_the_reset_is_kept():
    net, params, episode = problem("oml")
    after = (
        PARTS.get("strategies", "oml", {"meta_lr": 1e-9})
        .pretrain_step(net, State(params, {}, {}), episode)
        .params
    )
    assert after["head.weight"][[1, 3]].abs().max() < 1e-6
    assert_close(after["head.weight"][[0, 2]], params["head.weight"][[0, 2]], rtol=0, atol=1e-6)
