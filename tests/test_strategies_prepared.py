"""Strategies that prepare: their losses against the plain algorithm, and their gradients against finite differences."""

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
EXACT = {"oml": {}, "anml": {}, "maml_init": {"steps": 2}, "pretrained": {}}
STEP = 1e-6


def problem(name):
    """A net in double precision whose hidden units are smooth, its parameters, and a lesson of two classes."""
    random = torch.Generator().manual_seed(2)
    module = build(
        PARTS.find("strategies", name).tried_on.replace("16", "4"), (3,), 4, seed=0
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
def test_the_gradient_of_a_lesson_is_that_of_finite_differences(name):
    net, params, lesson = problem(name)
    part = PARTS.get(
        "strategies", name, EXACT[name] | ({"inner_lr": 0.5} if name != "pretrained" else {})
    )
    slope = grad(lambda p: part.lesson_loss(net, p, lesson))(params)
    random = torch.Generator().manual_seed(3)
    way = {
        key: torch.randn(value.shape, generator=random, dtype=torch.float64)
        for key, value in params.items()
    }
    up, down = (
        {key: value + sign * STEP * way[key] for key, value in params.items()} for sign in (1, -1)
    )
    difference = (part.lesson_loss(net, up, lesson) - part.lesson_loss(net, down, lesson)) / (
        2 * STEP
    )
    assert_close(
        sum((slope[key] * way[key]).sum() for key in way), difference, rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize("name", ["oml", "anml", "maml_init"])
def test_in_first_order_the_loss_is_the_same_and_the_gradient_another(name):
    net, params, lesson = problem(name)
    exact, first = (
        PARTS.get("strategies", name, {"inner_lr": 0.5, "first_order": order})
        for order in (False, True)
    )
    assert_close(exact.lesson_loss(net, params, lesson), first.lesson_loss(net, params, lesson))
    slopes = [
        grad(lambda p, part=part: part.lesson_loss(net, p, lesson))(params)
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
        ("oml", lambda key: key.startswith("head"), ("query", "rehearsed")),
        ("anml", lambda key: not key.startswith("gated.gate"), ("trajectory", "rehearsed")),
    ],
)
def test_the_loss_of_a_lesson_is_that_of_a_plain_loop_over_its_trajectory(name, moving, parts):
    net, params, lesson = problem(name)
    module = descended(net, params, lesson.trajectory, moving, 0.5)
    x, y = (
        torch.cat([getattr(getattr(lesson, part), axis) for part in parts]) for axis in ("x", "y")
    )
    found = PARTS.get("strategies", name, {"inner_lr": 0.5}).lesson_loss(net, params, lesson)
    assert_close(found, cross_entropy(module(x), y).detach())


@pytest.mark.parametrize("moves", ["head", "all"])
def test_mamls_inner_steps_take_the_whole_trajectory_and_move_what_the_stream_moves(moves):
    net, params, lesson = problem("maml_init")
    module = copy.deepcopy(net.module)
    module.load_state_dict(params)
    optimizer = torch.optim.SGD(
        [p for key, p in module.named_parameters() if moves == "all" or key.startswith("head")],
        lr=0.5,
    )
    for _ in range(3):
        module.zero_grad()
        cross_entropy(module(lesson.trajectory.x), lesson.trajectory.y).backward()
        optimizer.step()
    found = PARTS.get(
        "strategies", "maml_init", {"inner_lr": 0.5, "steps": 3, "moves": moves}
    ).lesson_loss(net, params, lesson)
    judged = lesson.meta_query()
    assert_close(found, cross_entropy(module(judged.x), judged.y).detach())


def test_pretraining_sees_what_is_rehearsed_alone():
    net, params, lesson = problem("pretrained")
    found = PARTS.get("strategies", "pretrained").lesson_loss(net, params, lesson)
    assert_close(
        found, cross_entropy(net.module(lesson.remember_set.x), lesson.remember_set.y).detach()
    )


@pytest.mark.parametrize("name", EXACT)
def test_a_step_of_the_preparation_lowers_the_loss_of_its_lesson(name):
    net, params, lesson = problem(name)
    part = PARTS.get("strategies", name, {"meta_lr": 0.01})
    start = reset_head(params, lesson.trajectory.y) if part.resets else params
    after = part.prepare(net, State(params, {}, {}), lesson).params
    assert part.lesson_loss(net, after, lesson) < part.lesson_loss(net, start, lesson)


def test_a_class_starts_from_a_blank_row_in_a_lesson_and_keeps_what_the_outer_step_makes_of_it():
    net, params, lesson = problem("oml")
    after = (
        PARTS.get("strategies", "oml", {"meta_lr": 1e-9})
        .prepare(net, State(params, {}, {}), lesson)
        .params
    )
    assert after["head.weight"][[1, 3]].abs().max() < 1e-6
    assert_close(after["head.weight"][[0, 2]], params["head.weight"][[0, 2]], rtol=0, atol=1e-6)
