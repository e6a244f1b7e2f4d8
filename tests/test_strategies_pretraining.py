"""Strategies that pretrain: their losses against the plain algorithm, and their gradients against finite differences."""

import copy

import pytest
import torch
from torch.func import grad
from torch.nn.functional import cross_entropy
from torch.testing import assert_close
from torch.utils import _pytree as pytree

from retrograde.interface.batch import Batch
from retrograde.interface.metastrategy import Episode
from retrograde.interface.state import State
from retrograde.methods.head import reset_head
from retrograde.networks.build import build
from retrograde.parts.registry import Registry
from retrograde.testing import start as first_state, toy_net

PARTS = Registry()
EXACT = {
    "oml": {"inner_lr": 0.5},
    "anml": {"inner_lr": 0.5},
    "maml_init": {"inner_lr": 0.5, "inner_steps": 2},
    "pretrained": {},
}
STEP = 1e-6
START = torch.tensor(0.0)


def problem(name):
    """A net in double precision whose hidden units are smooth, its parameters, and an episode of two classes."""
    random = torch.Generator().manual_seed(2)
    model = PARTS.find("strategies", name).contract_model.replace("16", "4")
    module = build(model, (3,), 4, seed=0)
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

    return *toy_net(module, (3,)), Episode(batch(1, 1, 3, 3), batch(1, 3), batch(0, 1, 2))


def pretraining(name, **settings):
    """The meta-strategy that a strategy is pretrained by."""
    return PARTS.get("strategies", name, settings).pretraining()


def loss(rule, net, params, episode):
    return rule.task_loss(net, params, episode, START)


def stepped(rule, net, params, episode):
    """The parameters after a meta-step on one episode."""
    episodes = pytree.tree_map(lambda value: value[None], episode)
    return rule.meta_step(net, State(params, {}, {}), episodes, START).params


@pytest.mark.parametrize("name", EXACT)
def test_the_gradient_of_an_episode_is_that_of_finite_differences(name):
    net, params, episode = problem(name)
    rule = pretraining(name, **EXACT[name])
    slope = grad(lambda p: loss(rule, net, p, episode))(params)
    random = torch.Generator().manual_seed(3)
    way = {
        key: torch.randn(value.shape, generator=random, dtype=torch.float64)
        for key, value in params.items()
    }
    up, down = (
        {key: value + sign * STEP * way[key] for key, value in params.items()} for sign in (1, -1)
    )
    difference = (loss(rule, net, up, episode) - loss(rule, net, down, episode)) / (2 * STEP)
    assert_close(
        sum((slope[key] * way[key]).sum() for key in way), difference, rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize("name", ["oml", "anml", "maml_init"])
def test_in_first_order_the_loss_is_the_same_and_the_gradient_another(name):
    net, params, episode = problem(name)
    rules = [pretraining(name, inner_lr=0.5, first_order=order) for order in (False, True)]
    exact, first = (loss(rule, net, params, episode) for rule in rules)
    assert_close(exact, first)
    slopes = [grad(lambda p, rule=rule: loss(rule, net, p, episode))(params) for rule in rules]
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
        ("oml", lambda key: key.startswith("head"), ("query", "remembered")),
        ("anml", lambda key: not key.startswith("gated.gate"), ("support", "remembered")),
    ],
)
def test_the_loss_of_an_episode_is_that_of_a_plain_loop_over_its_trajectory(name, moving, parts):
    net, params, episode = problem(name)
    module = descended(net, params, episode.support, moving, 0.5)
    x, y = (
        torch.cat([getattr(getattr(episode, part), axis) for part in parts]) for axis in ("x", "y")
    )
    found = loss(pretraining(name, inner_lr=0.5), net, params, episode)
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
        cross_entropy(module(episode.support.x), episode.support.y).backward()
        optimizer.step()
    rule = pretraining("maml_init", inner_lr=0.5, inner_steps=3, trainable=trainable)
    x, y = (torch.cat(pair) for pair in zip(episode.query[:2], episode.remembered[:2], strict=True))
    assert_close(loss(rule, net, params, episode), cross_entropy(module(x), y).detach())


def test_plain_pretraining_sees_the_remembered_examples_alone():
    net, params, episode = problem("pretrained")
    x, y = episode.remembered[:2]
    found = loss(pretraining("pretrained"), net, params, episode)
    assert_close(found, cross_entropy(net.module(x), y).detach())


@pytest.mark.parametrize("name", EXACT)
def test_a_pretraining_step_lowers_the_loss_of_its_episode(name):
    net, params, episode = problem(name)
    rule = pretraining(name, meta_lr=0.01)
    start = reset_head(params, episode.support.y) if rule.resets_rows else params
    after = stepped(rule, net, params, episode)
    assert loss(rule, net, after, episode) < loss(rule, net, start, episode)


def test_an_episode_resets_the_rows_of_its_classes_and_the_reset_is_kept():
    net, params, episode = problem("oml")
    after = stepped(pretraining("oml", meta_lr=1e-9), net, params, episode)
    assert after["head.weight"][[1, 3]].abs().max() < 1e-6
    assert_close(after["head.weight"][[0, 2]], params["head.weight"][[0, 2]], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", EXACT)
def test_the_stream_starts_from_what_was_learned_with_a_head_of_zeros(name):
    net, params, _ = problem(name)
    state = first_state(PARTS.get("strategies", name), net, params)
    body = {key: value for key, value in params.items() if not key.startswith("head")}
    assert body
    assert_close({key: state.params[key] for key in body}, body, rtol=0, atol=0)
    assert not any(state.params[key].any() for key in params if key not in body)
    # The slots of Adam, whatever the optimiser of the benchmark.
    assert set(state.slots) == {"first", "second", "step"}
