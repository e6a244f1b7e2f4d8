"""Deep generative replay against plain PyTorch networks with two optimisers, in the order of van de Ven's code.

The reference is written from what models/vae.py, models/classifier.py and train/train_task_based.py of
GMvandeVen/continual-learning (read at e6d795a) do for `compare.py --experiment=splitMNIST`: labels are "hard", one image is
generated for every incoming one, the solver steps before the generator does, both losses have weights 1 / t and 1 - 1 / t at
task t, and generated images and labels come from copies of both as the last task left them.
"""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy, cross_entropy
from torch.testing import assert_close

from retrograde.contract.toys import Blobs, blobs
from retrograde.interface.strategy import ExperienceEnd
from retrograde.optim import adam
from retrograde.parts.registry import Registry
from retrograde.testing import flat, start, toy_batch, toy_net, toy_step
from retrograde.training.stream_replicas import StreamReplicas

PARTS = Registry()
UNITS = [[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]]
LATENT = 3


def make_part(**settings):
    return PARTS.find("strategies", "generative_replay")(hidden=(7, 5), latent=LATENT, **settings)


def make_net(part, scenario="class", **settings):
    outputs = 2 if scenario == "domain" else 6
    modules = part.modules((6,), outputs, 8)
    units = UNITS if scenario == "task" else None
    return toy_net(outputs=outputs, tasks=3, units=units, modules=modules, **settings)


def make_batch(scenario, task, random, padding=0):
    """Images of one task, with pixels in [0, 1]."""
    first = 0 if scenario == "domain" else 2 * task
    y = [first + row % 2 for row in range(5)]
    batch = toy_batch(5, y=y, task=task, padding=padding, seed=random)
    return batch._replace(x=batch.x.sigmoid())


def layers(params, prefix, sizes):
    """A perceptron of the strategy's parameters, and its names for them."""
    linears = []
    names = [name.removesuffix(".weight") for name in params if name.endswith(".weight")]
    for name in [name for name in names if name.startswith(prefix)]:
        rows, columns = params[f"{name}.weight"].shape
        linear = nn.Linear(columns, rows).double()
        linear.weight.data.copy_(params[f"{name}.weight"])
        linear.bias.data.copy_(params[f"{name}.bias"])
        linears += [linear, nn.ReLU()]
    found = [linear.out_features for linear in linears[::2]]
    assert found == sizes
    return nn.Sequential(*linears[:-1])


class Autoencoder(nn.Module):
    def __init__(self, params):
        super().__init__()
        self.encoder = layers(params, "encoder.", [7, 5, 2 * LATENT])
        self.decoder = layers(params, "decoder.", [5, 7, 6])

    def generate(self, latent):
        return torch.sigmoid(self.decoder(latent))

    def loss(self, x, noise):
        code = self.encoder(x)
        posterior = Normal(code[:, :LATENT], code[:, LATENT:].exp().sqrt())
        decoded = self.generate(posterior.mean + posterior.stddev * noise)
        error = binary_cross_entropy(decoded, x, reduction="none").mean(1)
        divergence = kl_divergence(posterior, Normal(0.0, 1.0)).sum(1)
        return (error + divergence / x.shape[1]).mean()


class Reference:
    """A solver and a generator with optimisers of their own, and copies of both from the last task's end."""

    def __init__(self, params, scenario, make_optimizer):
        model = {name: value for name, value in params.items() if "coder" not in name}
        self.solver = layers(model, "", [8, 2 if scenario == "domain" else 6])
        self.generator = Autoencoder(params)
        self.scenario = scenario
        self.optimizers = [make_optimizer(each.parameters()) for each in self.networks]
        self.past = None

    @property
    def networks(self):
        return self.solver, self.generator

    def solver_loss(self, x, labels, task):
        logits = self.solver(x)
        if self.scenario == "task":
            logits, labels = logits[:, 2 * task : 2 * task + 2], labels - 2 * task
        return cross_entropy(logits, labels)

    def replayed_loss(self, x, number):
        """The loss on generated images; with the task given, the mean over labels as each of the past tasks."""
        with torch.no_grad():
            scores = self.past[0](x)
        if self.scenario != "task":
            return self.solver_loss(x, scores.argmax(1), None)
        losses = []
        for task in range(number):
            labels = scores[:, 2 * task : 2 * task + 2].argmax(1) + 2 * task
            losses.append(self.solver_loss(x, labels, task))
        return sum(losses) / number

    def step(self, batch, latent, noise, weights, number):
        real = batch.weight > 0
        x, y = batch.x[real], batch.y[real]
        generated = None
        if self.past:
            with torch.no_grad():
                generated = self.past[1].generate(latent)
        for network, optimizer in zip(self.networks, self.optimizers, strict=True):
            if network is self.solver:
                loss = weights[0] * self.solver_loss(x, y, number)
            else:
                loss = weights[0] * network.loss(x, noise[0][real])
            if generated is not None and network is self.solver:
                loss = loss + weights[1] * self.replayed_loss(generated, number)
            elif generated is not None:
                loss = loss + weights[1] * network.loss(generated, noise[1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def end(self):
        self.past = copy.deepcopy(self.networks)

    def params(self):
        tensors = [value for each in self.networks for value in each.parameters()]
        return torch.cat([value.detach().flatten() for value in tensors])


OPTIMIZERS = {
    "sgd": ({}, lambda params: torch.optim.SGD(params, lr=0.05)),
    "adam": ({"optimizer": adam}, lambda params: torch.optim.Adam(params, lr=0.05)),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("weighting", ["examples", "tasks"])
@pytest.mark.parametrize("scenario", ["class", "domain", "task"])
def test_three_experiences_are_those_of_plain_networks(scenario, weighting, optimizer):
    ours, theirs = OPTIMIZERS[optimizer]
    part, random = make_part(lr=0.05), torch.Generator().manual_seed(0)
    net, params = make_net(part, scenario, **ours)
    state, reference = start(part, net, params), Reference(params, scenario, theirs)
    for number in range(3):
        share = 1 / (1 + number) if weighting == "tasks" else None
        weights = (1, 1) if share is None else (share, 1 - share)
        for step in range(4):
            net = replace(net, experience=torch.tensor(number), key=torch.tensor(9 * number + step))
            batch = make_batch(scenario, number, random, padding=step % 2)
            state = part.step(net, state, toy_step(batch, share=share))
            latent = net.normal(5, LATENT, name="latent").double()
            noise = net.normal(2, 5, LATENT, name="noise").double()
            reference.step(batch, latent, noise, weights, number)
            assert_close(flat(state.params), reference.params(), rtol=1e-6, atol=1e-7)
        state = part.end_experience(net, state, ExperienceEnd(batch, None))
        reference.end()


@pytest.mark.parametrize("scenario", ["class", "domain", "task"])
def test_the_past_is_that_of_the_last_experiences_end(scenario):
    part, random = make_part(lr=0.3), torch.Generator().manual_seed(0)
    net, params = make_net(part, scenario)
    state = start(part, net, params)
    for number in range(2):
        net = replace(net, experience=torch.tensor(number))
        before = state.extra["past"]
        for _ in range(3):
            batch = make_batch(scenario, number, random)
            state = part.step(net, state, toy_step(batch))
            assert all(state.extra["past"][name].equal(before[name]) for name in params)
        end = state.params
        state = part.end_experience(net, state, ExperienceEnd(batch, None))
        assert all(state.extra["past"][name].equal(end[name]) for name in params)
        assert not end["1.weight"].equal(before["1.weight"])


@pytest.mark.parametrize("classes", [[0, 1], [4, 5]])
def test_the_first_experience_replays_nothing_whatever_its_classes_are(classes):
    part, random = make_part(lr=0.1), torch.Generator().manual_seed(0)
    net, params = make_net(part)
    batch = make_batch("class", classes[0] // 2, random)
    ends = []
    for past in (params, {name: value + 1 for name, value in params.items()}):
        state = start(part, net, params).replace(extra={"past": past})
        ends.append(flat(part.step(net, state, toy_step(batch)).params))
    assert ends[0].isfinite().all()
    assert ends[0].equal(ends[1])
    assert not ends[0].equal(flat(params))


def test_pixels_outside_of_0_and_1_are_cut_off_for_the_autoencoder_alone():
    part = make_part(lr=0.1)
    net, params = make_net(part)
    random = torch.Generator().manual_seed(0)
    batch = make_batch("class", 0, random)
    wide = batch._replace(x=3 * batch.x - 1)
    after = part.step(net, start(part, net, params), toy_step(wide)).params
    reference = Autoencoder(params)
    noise = net.normal(2, 5, LATENT, name="noise").double()[0]
    code = reference.encoder(wide.x)
    latent = code[:, :LATENT] + (code[:, LATENT:] / 2).exp() * noise
    decoded = reference.generate(latent)
    binary_cross_entropy(decoded, wide.x.clamp(0, 1)).backward()
    gradient = reference.decoder[-1].bias.grad
    assert_close(after["decoder.4.bias"], params["decoder.4.bias"] - 0.1 * gradient)


def test_on_a_stream_every_experience_generates_from_networks_of_the_one_before():
    benchmark, part = Blobs(scenario="class", optimizer="adam"), make_part(lr=0.01)
    streams = [benchmark.stream(blobs(), seed) for seed in (0, 1)]
    backend = StreamReplicas(benchmark, part, streams, [0, 1], torch.device("cpu"))
    for number in range(3):
        backend.learn(number, lambda _: None)
        past = backend.state.extra["past"]
        assert all(past[name].equal(value) for name, value in backend.state.params.items())
        assert flat(backend.state.params).isfinite().all()
    assert not torch.equal(*past["decoder.0.weight"])


def test_twice_as_many_rows_pass_through_the_model_as_come_in_and_once_more_for_the_labels():
    part = make_part()
    net, params = make_net(part)
    batch = make_batch("class", 0, torch.Generator().manual_seed(0))
    part.step(net, start(part, net, params), toy_step(batch))
    assert (net.notes.forward, net.notes.backward) == (15, 10)
