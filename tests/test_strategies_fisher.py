"""Fisher information against closed forms and loops over single examples, for any module and for chains of linear layers."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from retrograde.errors import UserError
from retrograde.methods import per_example
from retrograde.methods.fisher import fisher_information
from retrograde.parts.registry import Registry
from retrograde.testing import toy_batch, toy_net

KINDS = ["exact", "predicted", "empirical", "weighted"]
UNITS = [[1, 1, 0, 0], [0, 0, 1, 1]]


def make_net(model="mlp-8", shape=(6,), task_given=False):
    net, params = toy_net(model, shape, units=UNITS if task_given else None, key=5)
    random = torch.Generator().manual_seed(0)
    drawn = {
        name: torch.randn(value.shape, generator=random).double() / 4
        for name, value in params.items()
    }
    return net, drawn


def linear_softmax():
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 4))


def with_statistics():
    """A convolution whose running statistics are not those of any batch; rows see each other unless it evaluates."""
    norm = nn.BatchNorm2d(2)
    norm.running_mean, norm.running_var = torch.tensor([0.1, -0.2]), torch.tensor([0.5, 2.0])
    return nn.Sequential(nn.Conv2d(1, 2, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(8, 4))


def make_batch(rows=7, shape=(6,), padding=0, seed=0):
    batch = toy_batch(rows, shape, outputs=2, task=1, padding=padding, seed=seed)
    return batch._replace(y=batch.y + 2)


def many_times(batch):
    return batch.map(lambda column: torch.cat([column] * 20_000))


def by_hand(net, params, batch, kind):
    """Autograd's squared gradient of each class's log-likelihood, example by example."""
    weights = {name: value.clone().requires_grad_() for name, value in params.items()}
    total = dict.fromkeys(params, 0.0)
    for n in range(len(batch.x)):
        logs = torch.log_softmax(
            net.in_eval_mode().logits(weights, batch.x[n : n + 1], batch.task[n : n + 1])[0], -1
        )
        units = {"exact": range(4), "predicted": [int(logs.argmax())]}
        for unit in units.get(kind, [int(batch.y[n])]):
            if logs[unit].isfinite():
                found = torch.autograd.grad(logs[unit], list(weights.values()), retain_graph=True)
                share = 1 if kind in ("empirical", "predicted") else logs[unit].exp().detach()
                total = {
                    name: total[name] + share * g**2 / len(batch.x)
                    for name, g in zip(weights, found, strict=True)
                }
    return total


@pytest.mark.parametrize("task_given", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", ["mlp-8", "mlp-8-5", with_statistics()])
def test_it_is_the_mean_of_squared_gradients_of_single_examples(model, kind, task_given):
    shape = (6,) if isinstance(model, str) else (1, 4, 4)
    (net, params), batch = make_net(model, shape, task_given), make_batch(shape=shape)
    expected = by_hand(net, params, batch, kind)
    assert_close(fisher_information(net, params, batch, kind, 0), expected)
    assert all((value > 0).any() for value in expected.values())


@pytest.mark.parametrize(
    "model",
    [
        "mlp-8",
        "mlp-8-5",
        linear_softmax(),
        nn.Sequential(nn.Flatten(), nn.Linear(6, 4, bias=False)),
    ],
)
def test_matrix_products_give_what_single_examples_give(model):
    (net, params), batch = make_net(model), make_batch(padding=2)
    chain = per_example._chain(net, params, batch)
    directions = torch.randn(3, 7, 4, dtype=torch.float64)
    for power in (1, 2):
        found = [
            find(net, params, batch, slice(None), lambda *_: directions, power)
            for find in (
                partial(per_example._powers_of_chain, chain),
                per_example._powers_of_any,
            )
        ]
        assert_close(*found)


def repeated():
    layer = nn.Linear(6, 6)
    return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer, nn.Linear(6, 4))


class Tenth(nn.Sequential):
    def forward(self, x):
        return super().forward(x) / 10


class Squaring(nn.Linear):
    def forward(self, x):
        return super().forward(x) ** 2


@pytest.mark.parametrize(
    "model",
    [
        repeated(),
        nn.Sequential(nn.Flatten(), Squaring(6, 4)),
        Tenth(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)),
        nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)),
        nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 4)),
    ],
)
def test_layers_used_twice_or_otherwise_are_not_taken_for_a_plain_chain(model):
    (net, params), batch = make_net(model), make_batch()
    assert not per_example._chain(net, params, batch)
    assert_close(
        fisher_information(net, params, batch, "exact", 0), by_hand(net, params, batch, "exact")
    )


@pytest.mark.parametrize("task_given", [False, True])
def test_that_of_a_linear_softmax_model_is_its_closed_form(task_given):
    """The mean of x² times p (1 - p), where p is the prediction among the units that count."""
    (net, params), batch = make_net(linear_softmax(), task_given=task_given), make_batch()
    found = fisher_information(net, params, batch, "exact", 0)
    p = net.logits(params, batch.x, batch.task).softmax(-1)
    variance = p * (1 - p)
    assert_close(found, {"1.weight": variance.T @ batch.x**2 / 7, "1.bias": variance.mean(0)})
    assert (found["1.bias"][:2] == 0).all() == task_given


@pytest.mark.parametrize("task_given", [False, True])
def test_drawn_classes_give_the_exact_information_on_average(task_given):
    (net, params), batch = make_net(linear_softmax(), task_given=task_given), make_batch(rows=3)
    many = many_times(batch)
    exact, sampled = (
        fisher_information(net, params, many, kind, 0) for kind in ("exact", "sampled")
    )
    assert_close(sampled, exact, rtol=0.05, atol=1e-12)
    assert not torch.equal(sampled["1.weight"], exact["1.weight"])


def test_that_of_labels_drawn_from_the_prediction_is_the_exact_one_on_average():
    (net, params), batch = make_net(linear_softmax()), make_batch(rows=3)
    many = many_times(batch)
    drawn = torch.multinomial(
        net.logits(params, many.x).softmax(-1), 1, generator=torch.Generator().manual_seed(0)
    )[:, 0]
    found = fisher_information(net, params, many._replace(y=drawn), "empirical", 0)
    assert_close(found, fisher_information(net, params, many, "exact", 0), rtol=0.05, atol=0)


@pytest.mark.parametrize("model", ["mlp-8", with_statistics()])
def test_the_chunks_in_which_examples_are_taken_change_nothing(model, monkeypatch):
    shape = (6,) if isinstance(model, str) else (1, 4, 4)
    (net, params), batch = (
        make_net(model, shape),
        make_batch(rows=2300 if shape == (6,) else 9, shape=shape),
    )
    whole = fisher_information(net, params, batch, "sampled", 0)
    monkeypatch.setattr(per_example, "MAX_NUMBERS", 100)
    monkeypatch.setattr(per_example, "CHUNK_ROWS", 7)
    assert_close(fisher_information(net, params, batch, "sampled", 0), whole)


@pytest.mark.parametrize("kind", [*KINDS, "sampled"])
@pytest.mark.parametrize("count", [5, 6])
def test_padding_changes_nothing_and_is_never_drawn(kind, count):
    (net, params), batch = make_net(), make_batch(padding=2)
    other = batch._replace(x=torch.where(batch.weight[:, None] > 0, batch.x, 9.0))
    of_all = fisher_information(net, params, batch, kind, 0)
    assert_close(fisher_information(net, params, other, kind, 0), of_all)
    assert_close(fisher_information(net, params, other, kind, count), of_all)


def test_so_many_examples_are_drawn_anew_and_never_twice():
    (net, params), batch = make_net(linear_softmax()), make_batch(rows=4)
    single = [
        fisher_information(net, params, batch.at(slice(i, i + 1)), "exact", 0)["1.bias"]
        for i in range(4)
    ]
    pairs = torch.stack([(single[i] + single[j]) / 2 for i in range(4) for j in range(i)])
    found = set()
    for key in range(60):
        drawn = fisher_information(replace(net, key=torch.tensor(key)), params, batch, "exact", 2)[
            "1.bias"
        ]
        apart = (pairs - drawn).abs().amax(1)
        assert apart.min() < 1e-12
        found.add(int(apart.argmin()))
    assert found == set(range(6))


@pytest.mark.parametrize("name", ["ewc", "online_ewc", "mas"])
def test_a_model_that_normalises_over_the_batch_is_refused_with_the_rule(name):
    net, params = make_net("mlpbn-8")
    with pytest.raises(UserError, match="one example at a time.*Choose a model"):
        Registry().get("strategies", name).init(net, params)


@pytest.mark.parametrize("kind", ["exact", "empirical"])
def test_in_regression_it_is_that_of_normal_distributions(kind):
    net, params = make_net(linear_softmax())
    batch = make_batch(padding=2)
    random = torch.Generator().manual_seed(3)
    batch = batch._replace(y=torch.randn(7, 4, generator=random).double())
    found = fisher_information(net, params, batch, kind, 0)
    # The outputs of a linear model are W x + b. The gradient of minus the mean squared error is
    # 2 / 4 (y - output), which under the model is normal with variance 2 / 4.
    (weight, bias) = params
    x = batch.x[:5]
    errors = batch.y[:5] - (x @ params[weight].T + params[bias])
    squares = torch.full_like(errors, 0.5) if kind == "exact" else (errors / 2) ** 2
    assert_close(found[bias], squares.mean(0))
    assert_close(found[weight], squares.T @ x**2 / 5)


def test_in_regression_a_sample_of_examples_is_of_real_ones():
    net, params = make_net(linear_softmax())
    batch = make_batch(padding=5)
    batch = batch._replace(y=torch.zeros(7, 4).double())
    some = fisher_information(net, params, batch, "exact", 2)
    whole = fisher_information(net, params, batch, "exact", 0)
    assert all(torch.allclose(some[name], whole[name]) for name in whole)
