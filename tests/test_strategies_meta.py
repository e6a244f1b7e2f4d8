"""The meta-learning rules against finite differences, closed forms and plain PyTorch loops, in float64."""

import copy
from functools import partial
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.func import functional_call, grad
from torch.nn.functional import cross_entropy, mse_loss
from torch.testing import assert_close
from torch.utils import _pytree as pytree

from retrograde.data.sources import load
from retrograde.errors import UserError
from retrograde.interface.batch import Batch
from retrograde.interface.metastrategy import Episode, MetaStrategy
from retrograde.interface.net import Net
from retrograde.interface.state import State
from retrograde.losses import cross_entropies, squared_errors
from retrograde.networks.build import build
from retrograde.networks.functional import Networks
from retrograde.optim import OPTIMIZERS
from retrograde.parts.registry import Registry
from retrograde.randomness import generator, torch_seed
from retrograde.training.episode_replicas import BLOCK, EpisodeReplicas

PARTS = Registry()
ALL = [
    name
    for name in PARTS.names("strategies")
    if issubclass(PARTS.find("strategies", name), MetaStrategy)
]
BY_GRADIENT = [
    name for name in ALL if name not in ("reptile", "scratch")
]  # whose meta-step follows a gradient
ADAPTING = ["maml", "fomaml", "anil", "metasgd", "mamlpp"]
KINDS = ["regression", "classification"]
THEIRS = {
    "sgd": torch.optim.SGD,
    "momentum": partial(torch.optim.SGD, momentum=0.9),
    "adam": torch.optim.Adam,
}
REPTILES = THEIRS | {"adam": partial(torch.optim.Adam, betas=(0.0, 0.999))}
SECOND_ORDER = [
    ("maml", {}, 0.0),
    ("maml", {"inner_optimizer": "momentum"}, 0.0),
    ("maml", {"inner_optimizer": "adam", "inner_lr": 0.05}, 0.0),
    ("anil", {}, 0.0),
    ("anil", {"inner_optimizer": "momentum"}, 0.0),
    ("metasgd", {}, 0.0),
    ("mamlpp", {"learn_lr": False}, 0.03),
    *[("mamlpp", {}, progress) for progress in (0.0, 0.03, 0.1, 0.9)],
]
FIRST_ORDER = [
    *[("fomaml", {"inner_optimizer": name}, 0.0) for name in THEIRS],
    ("anil", {"first_order": True}, 0.0),
    ("metasgd", {"first_order": True}, 0.0),
    ("mamlpp", {"first_order": True}, 0.03),
]


def part(name, **given) -> Any:
    return PARTS.get("strategies", name, {"inner_lr": 0.3, **given})


def joined(*batches):
    """The rows of several batches as one."""
    columns = zip(*(batch[:4] for batch in batches), strict=True)
    return Batch(*(torch.cat(column) for column in columns))


def at(progress):
    return torch.tensor(progress, dtype=torch.float64)


class Problem(NamedTuple):
    """A net, its parameters, tasks (a leading axis), and PyTorch's own loss."""

    net: Net
    params: dict
    episodes: Episode
    loss: Any

    def task(self, number=0):
        return pytree.tree_map(lambda each: each[number], self.episodes)

    def state(self, part):
        meta_params = part.meta_params(self.net, self.params)
        return State(meta_params, self.net.optimizer.init(meta_params), {})

    def shaken(self, part):
        """The meta-parameters, moved from where they start, so that no two rates are equal."""
        random, start = torch.Generator().manual_seed(3), part.meta_params(self.net, self.params)
        return {
            name: v + 0.1 * torch.rand(v.shape, generator=random, dtype=v.dtype)
            for name, v in start.items()
        }


def problem(kind, optimizer="sgd", tasks=4):
    random = torch.Generator().manual_seed(1)
    module, shape = model(kind)
    for p in module.double().parameters():
        p.data.normal_(generator=random)

    def batch(rows):
        x = torch.randn(tasks, rows, *shape, generator=random, dtype=torch.float64)
        y = torch.randn(
            tasks, rows, 1 if kind == "linear" else 2, generator=random, dtype=torch.float64
        )
        none = torch.zeros(tasks, rows, dtype=torch.long)
        return Batch(
            x, y if regression else y.argmax(-1), none, torch.ones_like(x.flatten(2)[..., 0])
        )

    regression = kind in ("regression", "linear")
    losses, loss = (squared_errors, mse_loss) if regression else (cross_entropies, cross_entropy)
    params = {name: p.detach().clone() for name, p in module.named_parameters()}
    return Problem(
        Net(Networks(module), OPTIMIZERS[optimizer](), losses=losses),
        params,
        Episode(batch(6), batch(4), batch(0)),
        loss,
    )


def model(kind):
    if kind == "conv":
        return build("conv4-2", (1, 6, 6), 2, seed=0), (1, 6, 6)
    if kind == "linear":
        return nn.Linear(3, 1, bias=False), (3,)
    module = nn.Sequential()
    for name, layer in (("body", nn.Linear(2, 2)), ("tanh", nn.Tanh()), ("head", nn.Linear(2, 2))):
        module.add_module(name, layer)
    return module, (2,)


def trained(part, problem, meta_params, support):
    """The module before the first inner step and after each, by `torch.optim`; learned rates multiply the gradients."""
    module = copy.deepcopy(problem.net.module)
    module.load_state_dict({name: meta_params[name] for name in problem.params})
    own = {
        name: p
        for name, p in module.named_parameters()
        if name.startswith(getattr(part, "head", ""))
    }
    optimizer = THEIRS[part.inner_optimizer](
        own.values(), lr=1.0 if len(meta_params) > len(problem.params) else part.inner_lr
    )
    for step in count():
        yield module
        gradient = slope(problem, module, support)
        for name, p in own.items():
            p.grad = gradient[name] * rate(meta_params, name, step)
        optimizer.step()


def rate(meta_params, name, step):
    by_step = meta_params.get(f"rates of {name}", [1.0])
    return meta_params.get(f"rate of {name}", 1.0) * by_step[min(step, len(by_step) - 1)]


def slope(problem, module, batch):
    """The gradient of PyTorch's loss with respect to the module's parameters."""
    own = dict(module.named_parameters())
    return dict(
        zip(
            own,
            torch.autograd.grad(problem.loss(module(batch.x), batch.y), own.values()),
            strict=True,
        )
    )


def shares(part, progress):
    """The weight of the query's loss after 0, 1, ... inner steps."""
    if not hasattr(part, "anneal"):
        return [0.0] * part.inner_steps + [1.0]
    other = np.interp(progress, [0, part.anneal], [1 / part.inner_steps, 0])
    return [0.0] + [other] * (part.inner_steps - 1) + [1 - other * (part.inner_steps - 1)]


def query_loss(part, problem, meta_params, progress):
    support, query, _ = problem.task()
    modules = islice(trained(part, problem, meta_params, support), part.inner_steps + 1)
    losses = [problem.loss(module(query.x), query.y).item() for module in modules]
    return float(np.dot(shares(part, progress), losses))


def meta_gradient(part, problem, meta_params, progress=0.0, number=0):
    return grad(part.task_loss, argnums=1)(
        problem.net, meta_params, problem.task(number), at(progress)
    )


def difference(f, meta_params, name, way, step=1e-5):
    """The central difference of f where the meta-parameter of that name moves along `way`."""
    up, down = (f(meta_params | {name: meta_params[name] + sign * step * way}) for sign in (1, -1))
    return (up - down) / (2 * step)


def every_difference(f, meta_params):
    """The gradient of f by central differences, number by number."""
    ways = {
        name: torch.eye(v.numel(), dtype=v.dtype).reshape(-1, *v.shape)
        for name, v in meta_params.items()
    }
    slopes = {
        name: [difference(f, meta_params, name, way) for way in ways[name]] for name in meta_params
    }
    return {
        name: torch.tensor(slopes[name], dtype=v.dtype).reshape(v.shape)
        for name, v in meta_params.items()
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize(("name", "given", "progress"), SECOND_ORDER)
def test_the_meta_gradient_is_the_finite_difference_of_plain_pytorchs_query_loss(
    name, given, progress, steps, kind
):
    rule, p = part(name, inner_steps=steps, **given), problem(kind)
    meta_params = p.shaken(rule)
    loss = rule.task_loss(p.net, meta_params, p.task(), at(progress)).item()
    assert loss == pytest.approx(query_loss(rule, p, meta_params, progress), rel=1e-12)
    expected = every_difference(lambda moved: query_loss(rule, p, moved, progress), meta_params)
    assert_close(meta_gradient(rule, p, meta_params, progress), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["maml", "anil", "metasgd", "mamlpp"])
def test_the_meta_gradient_is_exact_through_convolutions_and_batch_norm(name):
    rule, p = part(name, inner_steps=2), problem("conv")
    meta_params, random = p.shaken(rule), torch.Generator().manual_seed(5)
    for own, slopes in meta_gradient(rule, p, meta_params, 0.03).items():
        way = torch.randn(slopes.shape, generator=random, dtype=slopes.dtype)
        expected = difference(lambda moved: query_loss(rule, p, moved, 0.03), meta_params, own, way)
        assert (slopes * way).sum().item() == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_adams_inner_steps_have_a_derivative_where_a_gradient_vanishes():
    rule, p = (
        part("maml", inner_optimizer="adam", inner_steps=2, inner_lr=0.05),
        problem("regression"),
    )
    p.episodes.support.x[..., 1] = 0
    expected = every_difference(lambda moved: query_loss(rule, p, moved, 0.0), p.params)
    assert_close(meta_gradient(rule, p, p.params), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("steps", range(4))
@pytest.mark.parametrize(
    ("name", "given", "curved"), [("maml", {}, 1), ("metasgd", {}, 1), ("fomaml", {}, 0)]
)
def test_on_a_linear_model_the_meta_gradient_is_the_closed_form(name, given, curved, steps):
    rule, p = part(name, inner_steps=steps, **given), problem("linear")
    (x, y), (x_query, y_query) = ((batch.x, batch.y[:, 0]) for batch in p.task()[:2])
    theta, hessian = p.params["weight"][0], 2 / len(x) * x.T @ x
    for _ in range(steps):
        theta = theta - 0.3 * 2 / len(x) * x.T @ (x @ theta - y)
    jacobian = torch.linalg.matrix_power(
        torch.eye(3, dtype=torch.float64) - 0.3 * curved * hessian, steps
    )
    expected = jacobian.T @ (2 / len(x_query) * x_query.T @ (x_query @ theta - y_query))
    meta_params = rule.meta_params(p.net, p.params)
    assert_close(meta_gradient(rule, p, meta_params)["weight"][0], expected, rtol=1e-12, atol=1e-12)


def on_the_way(rule, p, meta_params):
    """The support's and the query's gradients before the first inner step and after each."""
    modules = islice(trained(rule, p, meta_params, p.task().support), rule.inner_steps + 1)
    return zip(
        *[[slope(p, module, batch) for batch in p.task()[:2]] for module in modules], strict=True
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(("name", "given", "progress"), FIRST_ORDER)
def test_at_first_order_the_meta_gradient_is_the_querys_at_the_adapted_parameters(
    name, given, progress, steps, kind
):
    rule, p = part(name, inner_steps=steps, **given), problem(kind)
    meta_params, weights = p.shaken(rule), shares(rule, progress)
    _, query = on_the_way(rule, p, meta_params)
    expected = {
        own: sum(w * g[own] for w, g in zip(weights, query, strict=True)) for own in p.params
    }
    assert_close(
        p.net.model_params(meta_gradient(rule, p, meta_params, progress)),
        expected,
        rtol=1e-10,
        atol=1e-12,
    )


def test_at_first_order_a_rate_of_metasgd_is_judged_by_all_gradients_it_scaled():
    rule, p = part("metasgd", inner_steps=3, first_order=True), problem("classification")
    meta_params = p.shaken(rule)
    support, query = on_the_way(rule, p, meta_params)
    expected = {
        f"rate of {own}": -sum(g[own] for g in support[:-1]) * query[-1][own] for own in p.params
    }
    found = meta_gradient(rule, p, meta_params)
    assert_close({own: found[own] for own in expected}, expected, rtol=1e-10, atol=1e-12)


def test_at_first_order_a_rate_of_mamlpp_is_judged_by_the_queries_after_it():
    rule, p = part("mamlpp", inner_steps=3, first_order=True), problem("classification")
    meta_params, weights, found = p.shaken(rule), shares(rule, 0.03), {}
    support, query = on_the_way(rule, p, meta_params)
    for own in p.params:
        after = [sum(weights[i] * query[i][own] for i in range(step + 1, 4)) for step in range(3)]
        found[f"rates of {own}"] = torch.stack(
            [-(g[own] * q).sum() for g, q in zip(support, after, strict=False)]
        )
    actual = meta_gradient(rule, p, meta_params, 0.03)
    assert_close({own: actual[own] for own in found}, found, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "given"),
    [("fomaml", {}), *[(n, {"first_order": True}) for n in ("anil", "metasgd", "mamlpp")]],
)
def test_at_first_order_the_meta_gradient_differs_from_the_exact_one(name, given):
    p, exact = problem("regression"), part("maml" if name == "fomaml" else name, inner_steps=2)
    rule = part(name, inner_steps=2, **given)
    gradients = [
        p.net.model_params(meta_gradient(each, p, p.shaken(rule))) for each in (rule, exact)
    ]
    assert all((gradients[0][own] - gradients[1][own]).abs().max() > 1e-3 for own in p.params)


@pytest.mark.parametrize("steps", [1, 3, 8])
@pytest.mark.parametrize("optimizer", THEIRS)
@pytest.mark.parametrize("name", [name for name in ALL if name not in ("reptile", "oracle")])
def test_adapting_to_a_task_is_training_with_torch_optim(name, optimizer, steps):
    rule, p = (
        part(name, **({} if name in ("metasgd", "mamlpp") else {"inner_optimizer": optimizer})),
        problem("classification"),
    )
    meta_params, support = p.shaken(rule), p.task().support
    *_, module = islice(trained(rule, p, meta_params, support), steps + 1)
    expected = {own: value.detach() for own, value in module.named_parameters()}
    assert_close(rule.adapt(p.net, meta_params, support, steps), expected, rtol=1e-10, atol=1e-12)


def test_the_oracle_learns_nothing_from_a_tasks_examples():
    p = problem("classification")
    assert_close(
        part("oracle").adapt(p.net, p.params, p.task().support, 3), p.params, rtol=0, atol=0
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_anil_adapts_the_head_alone_and_still_learns_the_body(optimizer):
    rule, p = part("anil", inner_optimizer=optimizer, inner_steps=3), problem("classification")
    adapted = rule.adapt(p.net, p.params, p.task().support, 3)
    moved = {own for own in p.params if not torch.equal(adapted[own], p.params[own])}
    assert moved == {"head.weight", "head.bias"}
    assert all((slopes != 0).any() for slopes in meta_gradient(rule, p, p.params).values())


@pytest.mark.parametrize("head", ["nose", "hea"])
def test_anil_names_the_modules_of_a_model_without_the_head(head):
    p = problem("classification")
    with pytest.raises(UserError, match=rf"no module '{head}'.*\['body', 'head'\]"):
        part("anil", head=head).meta_params(p.net, p.params)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_metasgd_with_frozen_rates_is_maml_and_without_them_is_not(optimizer):
    p = problem("regression", optimizer)
    rules = [
        part("maml", inner_steps=2),
        *[part("metasgd", inner_steps=2, frozen_lr=frozen) for frozen in (True, False)],
    ]
    states = [p.state(rule) for rule in rules]
    for _ in range(5):
        states = [
            rule.meta_step(p.net, state, p.episodes, at(0.0))
            for rule, state in zip(rules, states, strict=True)
        ]
    maml, frozen, free = (state.params for state in states)
    assert_close(p.net.model_params(frozen), maml, rtol=1e-12, atol=1e-12)
    assert all((frozen[f"rate of {own}"] == 0.3).all() for own in maml)
    assert all((free[f"rate of {own}"] != 0.3).all() for own in maml)


@pytest.mark.parametrize("name", ADAPTING)
def test_without_inner_steps_meta_learning_is_joint_training_on_the_query(name):
    rule, p = part(name, inner_steps=0), problem("classification")
    meta_params = rule.meta_params(p.net, p.params)
    expected = {own: torch.zeros_like(v) for own, v in meta_params.items()} | slope(
        p, p.net.module, p.task().query
    )
    assert_close(meta_gradient(rule, p, meta_params), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["pretrain", "oracle"])
def test_pretraining_is_joint_training_on_support_and_query(name):
    p = problem("classification")
    support, query, _ = p.task()
    together = joined(support, query)
    expected = slope(p, p.net.module, together)
    assert_close(meta_gradient(part(name), p, p.params), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("optimizer", THEIRS)
@pytest.mark.parametrize("name", BY_GRADIENT)
def test_a_meta_step_is_the_optimisers_down_the_mean_of_the_tasks_gradients(name, optimizer):
    rule, p = part(name), problem("regression", optimizer)
    state = p.state(rule)
    theirs = {own: value.clone().requires_grad_() for own, value in state.params.items()}
    descent = THEIRS[optimizer](theirs.values(), lr=rule.meta_lr)
    for _ in range(2):
        now = {own: value.detach().clone() for own, value in theirs.items()}
        slopes = [meta_gradient(rule, p, now, 0.03, number) for number in range(4)]
        for own, value in theirs.items():
            value.grad = torch.stack([each[own] for each in slopes]).mean(0)
        descent.step()
        state = rule.meta_step(p.net, state, p.episodes, at(0.03))
    assert_close(
        state.params, {own: v.detach() for own, v in theirs.items()}, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("name", [*BY_GRADIENT, "reptile"])
def test_clipping_bounds_each_number_of_the_meta_gradient(name):
    p = problem("regression")
    rules = [part(name, clip=clip, meta_lr=1.0) for clip in (0.0, 0.15)]
    after = [rule.meta_step(p.net, p.state(rule), p.episodes, at(0.0)).params for rule in rules]
    free, bound = (
        {own: after[i][own] - v for own, v in p.state(rules[0]).params.items()} for i in range(2)
    )
    assert_close(
        bound, {own: v.clip(-0.15, 0.15) for own, v in free.items()}, rtol=1e-12, atol=1e-12
    )
    assert {bool(beyond) for v in free.values() for beyond in (v.abs() > 0.15).flatten()} == {
        True,
        False,
    }


@pytest.mark.parametrize("name", [*BY_GRADIENT, "reptile"])
@settings(max_examples=5)
@given(order=st.permutations(range(4)))
def test_the_order_of_tasks_does_not_matter(name, order):
    rule, p = part(name), problem("classification")
    turned = pytree.tree_map(lambda each: each[order], p.episodes)
    steps = [
        rule.meta_step(p.net, p.state(rule), episodes, at(0.03)).params
        for episodes in (p.episodes, turned)
    ]
    assert_close(*steps, rtol=1e-12, atol=1e-12)


@given(steps=st.integers(1, 9), anneal=st.floats(0.01, 1), progress=st.floats(0, 1))
def test_the_weights_of_mamlpp_sum_to_one_and_the_last_is_the_largest(steps, anneal, progress):
    weights = part("mamlpp", inner_steps=steps, anneal=anneal).weights(at(progress))
    assert weights.shape == (steps,)
    assert weights.sum().item() == pytest.approx(1)
    assert (weights >= 0).all()
    assert weights[-1] >= weights.max() - 1e-12


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (0.0, [0.25] * 4),
        (0.1, [0.125] * 3 + [0.625]),
        (0.19, [0.0125] * 3 + [0.9625]),
        (0.195, [0.0075] * 3 + [0.9775]),
        (0.1999, [0.0075] * 3 + [0.9775]),
        (0.2, [0.0, 0, 0, 1]),
        (0.99, [0.0, 0, 0, 1]),
    ],
)
def test_the_weights_of_mamlpp_move_to_the_last_step(progress, expected):
    weights = part("mamlpp", inner_steps=4, anneal=0.2).weights(at(progress))
    assert weights.tolist() == pytest.approx(expected, abs=1e-15)


@given(steps=st.integers(1, 7), epochs=st.integers(1, 200), data=st.data())
def test_the_weights_of_mamlpp_are_those_of_the_authors_code_at_the_start_of_every_epoch(
    steps, epochs, data
):
    """Subtract 1/(steps * epochs) for every epoch down to 0.03/steps, add what is taken to the last; then the last alone."""
    epoch = data.draw(st.integers(0, 2 * epochs))
    others = max(1 / steps - epoch / steps / epochs, 0.03 / steps)
    last = min(1 / steps + epoch * (steps - 1) / steps / epochs, 1 - (steps - 1) * 0.03 / steps)
    expected = [others] * (steps - 1) + [last] if epoch < epochs else [0.0] * (steps - 1) + [1.0]
    weights = part("mamlpp", inner_steps=steps, anneal=0.5).weights(at(epoch / epochs / 2))
    assert weights.tolist() == pytest.approx(expected, abs=1e-12)


def trained_by_reptile(rule, module, loss, x, y):
    """The module after the inner steps on one task's examples, mini-batch after mini-batch in turn."""
    module, rows = copy.deepcopy(module), cycle(range(len(x)))
    optimizer = REPTILES[rule.inner_optimizer](module.parameters(), lr=rule.inner_lr)
    for _ in range(rule.inner_steps):
        now = list(islice(rows, min(rule.inner_batch or len(x), len(x))))
        optimizer.zero_grad()
        loss(module(x[now]), y[now]).backward()
        optimizer.step()
    return {own: value.detach() for own, value in module.named_parameters()}


@pytest.mark.parametrize("batch", [0, 4, 25])
@pytest.mark.parametrize("optimizer", REPTILES)
def test_reptile_moves_part_of_the_way_to_where_a_plain_loop_leads(optimizer, batch):
    rule, p = (
        part(
            "reptile",
            inner_optimizer=optimizer,
            inner_batch=batch,
            inner_steps=7,
            inner_lr=0.05,
            meta_lr=0.8,
        ),
        problem("classification"),
    )
    tasks = [p.task(number).combined() for number in range(4)]
    ends = [trained_by_reptile(rule, p.net.module, p.loss, task.x, task.y) for task in tasks]
    means = {own: torch.stack([end[own] for end in ends]).mean(0) for own in p.params}
    expected = {own: value + 0.8 * 0.75 * (means[own] - value) for own, value in p.params.items()}
    after = rule.meta_step(p.net, p.state(rule), p.episodes, at(0.25)).params
    assert_close(after, expected, rtol=1e-10, atol=1e-12)


def test_reptile_with_one_step_of_sgd_is_joint_training():
    rule, p = (
        part("reptile", inner_optimizer="sgd", inner_steps=1, inner_batch=0, meta_lr=0.5),
        problem("classification"),
    )
    tasks = [p.task(number).combined() for number in range(4)]
    together = slope(p, p.net.module, joined(*tasks))
    expected = {own: value - 0.5 * 0.6 * 0.3 * together[own] for own, value in p.params.items()}
    after = rule.meta_step(p.net, p.state(rule), p.episodes, at(0.4)).params
    assert_close(after, expected, rtol=1e-12, atol=1e-12)


class MetaBatches(NamedTuple):
    """The meta-batches of a replicate, drawn from its distribution alone, and its model before meta-training."""

    module: nn.Module
    loss: Any
    batches: list
    support: int

    @classmethod
    def by(cls, bench, seed):
        source = bench.distribution(load("digits", Path()), seed)
        drawn = source.draw(
            "train",
            BLOCK * bench.meta_batch_size,
            bench.shots,
            bench.queries,
            generator(seed, "tasks", 0),
        )
        tasks = zip(
            torch.from_numpy(drawn.x).float() * source.scale, torch.from_numpy(drawn.y), strict=True
        )
        batches = [list(islice(tasks, bench.meta_batch_size)) for _ in range(bench.iterations)]
        module = build(bench.model, source.shape, source.outputs, torch_seed(seed, "weights"))
        return cls(
            module,
            mse_loss if drawn.y.dtype.kind == "f" else cross_entropy,
            batches,
            source.support(bench.shots),
        )


def textbook_maml(rule, data, exact):
    """MAML (Finn et al. 2017, algorithm 2): a loop over tasks, the graph of the inner steps kept if `exact`."""
    own, cut = dict(data.module.named_parameters()), data.support
    adam = torch.optim.Adam(own.values(), lr=rule.meta_lr)
    for tasks in data.batches:
        adam.zero_grad()
        for x, y in tasks:
            adapted = own
            for _ in range(rule.inner_steps):
                inner = data.loss(functional_call(data.module, adapted, (x[:cut],)), y[:cut])
                gradient = torch.autograd.grad(inner, list(adapted.values()), create_graph=exact)
                adapted = {
                    n: v - rule.inner_lr * g
                    for (n, v), g in zip(adapted.items(), gradient, strict=True)
                }
            (
                data.loss(functional_call(data.module, adapted, (x[cut:],)), y[cut:]) / len(tasks)
            ).backward()
        adam.step()


def textbook_reptile(rule, data):
    """Reptile (Nichol et al. 2018, algorithm 2), its outer step falling linearly to 0."""
    for done, tasks in enumerate(data.batches):
        ends = [trained_by_reptile(rule, data.module, data.loss, x, y) for x, y in tasks]
        share = rule.meta_lr * (1 - done / len(data.batches)) / len(tasks)
        start = {own: value.detach().clone() for own, value in data.module.named_parameters()}
        data.module.load_state_dict(
            {own: v + sum(share * (end[own] - v) for end in ends) for own, v in start.items()}
        )


def meta_train(bench, rule, seeds=(3, 8)):
    """The parameters that the engine leaves in the last of two replicates."""
    sources = [bench.distribution(load("digits", Path()), seed) for seed in seeds]
    episodes = EpisodeReplicas(bench, rule, sources, list(seeds), torch.device("cpu"))
    episodes.learn(bench.iterations, lambda _: None)
    return {own: value[-1] for own, value in episodes.state.params.items()}


@pytest.mark.parametrize(("bench", "lr"), [("sinusoid", 0.01), ("fewshot", 0.4)])
@pytest.mark.parametrize("name", ["maml", "fomaml", "reptile"])
def test_twenty_meta_steps_of_the_engine_are_the_textbooks(name, bench, lr):
    bench = PARTS.get(
        "benchmarks", bench, {"iterations": 20, "meta_batch_size": 4, "model": "mlp-20-20"}
    )
    rule, data = (
        part(
            name, inner_steps=2, **({"inner_lr": 0.001} if name == "reptile" else {"inner_lr": lr})
        ),
        MetaBatches.by(bench, 8),
    )
    textbook_reptile(rule, data) if name == "reptile" else textbook_maml(
        rule, data, exact=name == "maml"
    )
    expected = {own: value.detach() for own, value in data.module.named_parameters()}
    assert_close(meta_train(bench, rule), expected, rtol=1e-5, atol=2e-6)
