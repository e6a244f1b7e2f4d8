"""Remedies for the loss of plasticity: against autograd on their definitions, and their noise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

import retrograde as rg
from retrograde.errors import UserError
from retrograde.optim import momentum
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


class Network:
    """A network of three linear layers in NumPy, trained by SGD and read by the two references."""

    def __init__(self, params):
        arrays = [value.numpy().copy() for value in params.values()]
        self.weights, self.biases = arrays[0::2], arrays[1::2]
        self.bounds = [np.sqrt(3) * weight.std(ddof=1) for weight in self.weights]

    def activations(self, x):
        hidden = []
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = np.maximum(x @ weight.T + bias, 0)
            hidden.append(x)
        return hidden, x @ self.weights[-1].T + self.biases[-1]

    def descend(self, x, y, lr):
        hidden, logits = self.activations(x)
        scores = np.exp(logits - logits.max(1, keepdims=True))
        error = scores / scores.sum(1, keepdims=True)
        error[np.arange(len(y)), y] -= 1
        error /= len(y)
        inputs = [x, *hidden]
        for layer in reversed(range(3)):
            gradient, of_bias = error.T @ inputs[layer], error.sum(0)
            error = (error @ self.weights[layer]) * (inputs[layer] > 0)
            self.weights[layer] -= lr * gradient
            self.biases[layer] -= lr * of_bias

    def start_anew(self, layer, units, weights):
        self.weights[layer][units] = weights[units] if len(weights) > 1 else weights[0]
        self.biases[layer][units] = 0
        self.weights[layer + 1][:, units] = 0

    def flat(self):
        pairs = zip(self.weights, self.biases, strict=True)
        return torch.from_numpy(np.concatenate([each.ravel() for pair in pairs for each in pair]))


NAMES = ["1", "3"]  # the hidden layers of an mlp


def drawn(net, name, rows, bound):
    """The numbers that a step draws for new weights: uniform, as is tested apart."""
    return bound * (2 * net.uniform(*rows, name=name).double().numpy() - 1)


class GenerateAndTest:
    """Generate and test, unit by unit, as the authors of continual backprop describe it."""

    def __init__(self, network, rate, decay, maturity, adaptable):
        self.network = network
        self.rate, self.decay, self.maturity, self.adaptable = rate, decay, maturity, adaptable
        sizes = [len(weight) for weight in network.weights[:-1]]
        self.age, self.mean, self.utility = ([np.zeros(n) for n in sizes] for _ in range(3))
        self.due = [0.0 for _ in sizes]
        self.replaced = []

    def after_step(self, hidden, draw):
        chosen = [self.test(layer, features) for layer, features in enumerate(hidden)]
        for layer, unit in enumerate(chosen):
            if unit is not None:
                self.network.start_anew(layer, [unit], draw(layer))
                self.replaced.append((layer, unit))

    def test(self, layer, features):
        incoming, outgoing = self.network.weights[layer : layer + 2]
        self.age[layer] += 1
        for unit, age in enumerate(self.age[layer]):
            values, correction = features[:, unit], 1 - self.decay**age
            mean = self.decay * self.mean[layer][unit] + (1 - self.decay) * values.mean()
            self.mean[layer][unit] = mean
            now = np.abs(outgoing[:, unit]).mean() * np.abs(values).mean()
            if self.adaptable:
                size = np.abs(values - mean / correction).mean()
                now = np.abs(outgoing[:, unit]).mean() * size / np.abs(incoming[unit]).mean()
            past = self.utility[layer][unit]
            self.utility[layer][unit] = self.decay * past + (1 - self.decay) * now
        eligible = [unit for unit, age in enumerate(self.age[layer]) if age > self.maturity]
        self.due[layer] += self.rate * len(eligible)
        if int(self.due[layer]) == 0:
            return None
        self.due[layer] -= 1
        ages = self.age[layer]
        worst = min(eligible, key=lambda u: self.utility[layer][u] / (1 - self.decay ** ages[u]))
        for values in (self.age, self.mean, self.utility):
            values[layer][worst] = 0
        return worst


@pytest.mark.parametrize("utility", ["contribution", "adaptable"])
def test_continual_backprop_follows_generate_and_test_written_unit_by_unit(utility):
    net, params = toy_net("mlp-7-5")
    part = PARTS.find("strategies", "continual_backprop")(
        lr=0.1, replacement_rate=0.057, utility=utility, utility_decay=0.8, maturity=12
    )
    state, random = start(part, net, params), torch.Generator().manual_seed(0)
    network = Network(params)
    reference = GenerateAndTest(network, 0.057, 0.8, 12, utility == "adaptable")
    for number in range(30):
        at_step = replace(net, key=torch.tensor(number))
        batch = toy_batch(5, seed=random, padding=1)
        x, y = batch.x[:4].numpy(), batch.y[:4].numpy()
        hidden, _ = network.activations(x)
        network.descend(x, y, 0.1)
        before = len(reference.replaced)
        reference.after_step(
            hidden,
            lambda layer, net=at_step: drawn(
                net, NAMES[layer], (1, network.weights[layer].shape[1]), network.bounds[layer]
            ),
        )
        state = part.step(at_step, state, toy_step(batch))
        assert_close(flat(state.params), network.flat())
        assert float(state.to_log["replaced"]) == len(reference.replaced) - before
    assert len({*reference.replaced}) > 4


def test_redo_follows_its_definition_written_unit_by_unit():
    net, params = toy_net("mlp-7-5")
    part = PARTS.find("strategies", "redo")(lr=0.1, threshold=0.4, period=4)
    state, random = start(part, net, params), torch.Generator().manual_seed(0)
    network = Network(params)
    seen = [[], []]
    recycled = 0
    for number in range(1, 17):
        at_step = replace(net, key=torch.tensor(number))
        batch = toy_batch(5, seed=random, padding=1)
        x, y = batch.x[:4].numpy(), batch.y[:4].numpy()
        for rows, features in zip(seen, network.activations(x)[0], strict=True):
            rows.append(features)
        network.descend(x, y, 0.1)
        if number % 4 == 0:
            for layer, name in enumerate(NAMES):
                mean = np.abs(np.concatenate(seen[layer])).mean(0)
                dormant = np.flatnonzero(mean / mean.mean() <= 0.4)
                shape = network.weights[layer].shape
                network.start_anew(
                    layer, dormant, drawn(at_step, name, shape, network.bounds[layer])
                )
                recycled += len(dormant)
            seen = [[], []]
        state = part.step(at_step, state, toy_step(batch))
        assert_close(flat(state.params), network.flat())
    assert 0 < recycled < 48


@pytest.mark.parametrize(
    "settings", ["continual_backprop:maturity=0,replacement_rate=0.02", "redo:period=1,threshold=9"]
)
def test_a_unit_that_starts_anew_has_no_velocity(settings):
    net, params = toy_net("mlp-50", optimizer=momentum)
    part = rg.strategy(settings)
    state = part.step(net, start(part, net, params), toy_step(toy_batch(5)))
    new = (state.params["head.weight"] == 0).all(0)
    assert new.sum() == (1 if "continual" in settings else 50)
    velocity = state.slots["velocity"]
    assert not velocity["1.weight"][new].any()
    assert not velocity["head.weight"][:, new].any()
    assert velocity["head.bias"].all()
    # Initial weights are uniform: those of new units have their bound and their spread.
    weights = state.params["1.weight"][new]
    assert weights.abs().max() <= 1.1 * params["1.weight"].abs().max()
    assert weights.std() > 0.5 * params["1.weight"].std()


TANH = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Tanh(), nn.Linear(5, 4))


@pytest.mark.parametrize("name", ["continual_backprop", "redo"])
@pytest.mark.parametrize("model", ["mlp", "mlpbn-8", "conv", TANH])
def test_units_start_anew_in_perceptrons_alone(name, model):
    net, params = toy_net(model, (1, 8, 8))
    with pytest.raises(UserError, match="such as mlp-100-100"):
        PARTS.find("strategies", name)().init(net, params)


def test_a_layer_replaces_one_unit_in_a_step_at_most():
    net, params = toy_net("mlp-20")
    with pytest.raises(UserError, match=r"Give at most 0\.05"):
        PARTS.find("strategies", "continual_backprop")(replacement_rate=0.1).init(net, params)
