"""EWC, online EWC, MAS and RWalk against loops written from the papers, closed forms, and the limits of their strength."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from retrograde.contract.strategies import trace
from retrograde.contract.toys import Blobs, blobs
from retrograde.interface.strategy import ExperienceEnd
from retrograde.methods.fisher import fisher_information
from retrograde.parts.registry import Registry
from retrograde.testing import flat, start, toy_batch, toy_net, toy_step

PARTS = Registry()
NAMES = ["ewc", "online_ewc", "mas", "rwalk"]


def make_net(model="mlp-5"):
    return toy_net(model, key=1)


def make_batch(random, task=0, rows=4):
    """Examples of which the last is padding."""
    return toy_batch(rows, task=task, padding=1, seed=random)


def make(name, **settings):
    return PARTS.find("strategies", name)(**settings)


def gradient(net, params, penalty, batch):
    """Autograd's, of the loss of what is no padding and a penalty that is a function of all parameters as one vector."""
    weights = {name: value.clone().requires_grad_() for name, value in params.items()}
    outputs = torch.func.functional_call(net.module, weights, (batch.x[:-1],))
    loss = cross_entropy(outputs, batch.y[:-1]) + penalty(flat(weights))
    return flat(dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True)))


def follow(part, penalties, steps=4):
    """Three tasks of a strategy at rate 0.1, each step of it against descent on the penalty that `penalties(net, ...)` gives.

    It is given the parameters and examples of every finished task.
    """
    random, (net, params) = torch.Generator().manual_seed(0), make_net()
    state, ended = start(part, net, params), []
    for task in range(3):
        net = replace(net, experience=torch.tensor(task))
        for _ in range(steps):
            batch, before = make_batch(random, task), state.params
            state = part.step(net, state, toy_step(batch))
            expected = flat(before) - 0.1 * gradient(net, before, penalties(net, ended), batch)
            assert_close(flat(state.params), expected)
        examples = make_batch(random, task, rows=6)
        ended.append((state.params, examples))
        state = part.end_experience(net, state, ExperienceEnd(examples, None))


@pytest.mark.parametrize("kind", ["exact", "sampled", "predicted", "empirical", "weighted"])
def test_ewc_has_half_the_strength_times_a_parabola_for_each_past_task(kind):
    def penalties(net, ended):
        found = [(flat(fisher_information(net, *task, kind, 3)), flat(task[0])) for task in ended]
        return lambda theta: 30 / 2 * sum((f * (theta - centre) ** 2).sum() for f, centre in found)

    follow(make("ewc", lr=0.1, strength=30.0, fisher=kind, fisher_examples=3), penalties)


def test_online_ewc_has_a_fading_sum_about_the_last_tasks_parameters():
    def penalties(net, ended):
        total = sum(
            0.6**age * flat(fisher_information(net, *task, "exact", 0))
            for age, task in enumerate(ended[::-1])
        )
        return lambda theta: (
            30 / 2 * (total * (theta - flat(ended[-1][0])) ** 2).sum() if ended else 0
        )

    follow(make("online_ewc", lr=0.1, strength=30.0, gamma=0.6), penalties)


def lengths(net, params, x):
    """The absolute gradient of the outputs' squared length for one example."""
    weights = {name: value.clone().requires_grad_() for name, value in params.items()}
    length = (torch.func.functional_call(net.module, weights, (x[None],)) ** 2).sum()
    return flat(
        dict(zip(weights, torch.autograd.grad(length, list(weights.values())), strict=True))
    ).abs()


def test_mas_sums_the_mean_absolute_gradients_of_the_outputs_length():
    def penalties(net, ended):
        total = sum(
            sum(lengths(net, params, x) for x in batch.x[:-1]) / 5 for params, batch in ended
        )
        return lambda theta: 0.2 * (total * (theta - flat(ended[-1][0])) ** 2).sum() if ended else 0

    follow(make("mas", lr=0.1, strength=0.2), penalties)


@pytest.mark.parametrize("task_given", [False, True])
def test_the_importance_of_mas_for_a_linear_model_is_twice_output_times_input(task_given):
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 4))
    net, params = toy_net(module, units=[[1, 1, 0, 0]] if task_given else None)
    examples = make_batch(torch.Generator().manual_seed(0))._replace(weight=torch.ones(4).double())
    part = make("mas")
    after = part.end_experience(net, start(part, net, params), ExperienceEnd(examples, None))
    importance = after.extra["importance"]
    outputs = module(examples.x).detach().abs() * torch.tensor(
        [1, 1, not task_given, not task_given]
    )
    assert_close(importance["1.weight"], 2 * outputs.T @ examples.x.abs() / 4)
    assert_close(importance["1.bias"], 2 * outputs.mean(0))


class Walk:
    """The paper's score and running Fisher on one vector, three steps to a way, half of the newest square, damping 0.01."""

    def __init__(self, theta):
        self.fisher, self.past, self.tasks, self.negative = (
            torch.zeros_like(theta),
            torch.zeros_like(theta),
            0,
            False,
        )
        self.anchor, self.importance = theta, torch.zeros_like(theta)
        self.start_of_task(theta)

    def start_of_task(self, theta):
        self.score, self.path, self.start, self.steps = (
            torch.zeros_like(theta),
            torch.zeros_like(theta),
            theta,
            0,
        )

    def step(self, own, before, after):
        self.fisher = 0.5 * own**2 + 0.5 * self.fisher
        self.path = self.path - own * (after - before)
        self.steps += 1
        if self.steps % 3 == 0:
            self.negative |= bool((self.path < 0).any())
            self.score = self.score + self.path.clamp(min=0) / (
                0.5 * self.fisher * (after - self.start) ** 2 + 0.01
            )
            self.path, self.start = torch.zeros_like(own), after

    def end_experience(self, theta):
        self.past = (self.past + self.score) / 2 if self.tasks else self.score
        self.tasks += 1
        self.anchor, self.importance = (
            theta,
            self.fisher / self.fisher.max() + self.past / self.past.max(),
        )
        self.start_of_task(theta)


def test_rwalk_follows_the_papers_score_and_running_fisher():
    random, (net, params) = torch.Generator().manual_seed(0), make_net()
    part, walk = (
        make("rwalk", lr=0.1, strength=0.4, alpha=0.5, update_every=3, damping=0.01),
        Walk(flat(params)),
    )
    state = start(part, net, params)
    # As if a step had led up.
    up = {name: value - 0.001 for name, value in state.extra["walk"]["path"].items()}
    state = state.replace(extra=state.extra | {"walk": state.extra["walk"] | {"path": up}})
    walk.path = walk.path - 0.001
    for task in range(3):
        net = replace(net, experience=torch.tensor(task))
        for _ in range(7):  # the last of which is no whole way
            batch, before = make_batch(random, task), state.params
            own = gradient(net, before, lambda _: 0, batch)
            penalty = 0.4 * 2 * walk.importance * (flat(before) - walk.anchor)
            state = part.step(net, state, toy_step(batch))
            assert_close(flat(state.params), flat(before) - 0.1 * (own + penalty))
            walk.step(own, flat(before), flat(state.params))
        state = part.end_experience(net, state, ExperienceEnd(batch, None))
        walk.end_experience(flat(state.params))
    assert walk.negative


def ends(name, scenario="class", **settings):
    """The parameters after each of three tasks of two replicates, by Adam."""
    benchmark = Blobs(scenario=scenario, optimizer="adam")
    leaves = trace(make(name, lr=0.01, **settings), benchmark, blobs(), [0, 1]).leaves
    return [torch.cat([leaf.flatten() for leaf in state[:4]]) for state in leaves]


@pytest.mark.parametrize("name", NAMES)
def test_without_strength_it_is_fine_tuning(name):
    assert_close(ends(name, strength=0.0), ends("finetune"))
    assert not torch.allclose(ends(name, strength=1.0)[-1], ends("finetune")[-1], atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_great_strength_keeps_what_matters_near_where_it_was(name):
    """The head's biases, all of which matter to every task; Adam's steps go on about the anchor."""
    free, penalised = (
        torch.stack(
            [
                (after - before).abs()[-12:].mean()
                for before, after in pairwise(ends(name, strength=strength))
            ]
        )
        for strength in (0.0, 1e6)
    )
    assert (penalised < 0.4 * free).all()
