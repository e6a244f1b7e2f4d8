"""A-GEM, ER-ACE and SI against loops written from the papers, closed forms, and the limits in which they are fine-tuning."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from retrograde.contract.strategies import trace
from retrograde.contract.toys import Blobs, blobs
from retrograde.interface.strategy import ExperienceEnd
from retrograde.parts.registry import Registry
from retrograde.testing import flat, followed, start, toy_batch, toy_net, toy_step

PARTS = Registry()


def make_net(seed=0, outputs=4):
    return toy_net(outputs=outputs, seed=seed)


def make_step(random, task=1, replayed_tasks=(0, 0, 1), stored=3):
    """Four incoming examples of classes 2 and 3, the last one padding; `stored` of the replayed ones are real."""
    incoming = toy_batch(4, y=[2, 3, 2, 3], task=task, padding=1, seed=random)
    rows = len(replayed_tasks)
    padding = max(0, rows - stored)
    replayed = toy_batch(rows, task=replayed_tasks, padding=padding, seed=random)
    return toy_step(incoming, replayed)


def gradients(net, params, loss):
    """Autograd's, of a loss of the model as a function of its input."""
    weights = {name: value.clone().requires_grad_() for name, value in params.items()}
    found = torch.autograd.grad(
        loss(lambda x: torch.func.functional_call(net.module, weights, (x,))),
        list(weights.values()),
    )
    return dict(zip(weights, found, strict=True))


def moved(part, net, params, data):
    """The gradient that a step of plain SGD followed."""
    return followed(part, net, params, data, part.lr)


def of_rows(batch, keep):
    return lambda model: cross_entropy(model(batch.x[keep]), batch.y[keep])


def test_agem_removes_what_goes_against_the_earlier_tasks():
    random, (net, params) = torch.Generator().manual_seed(0), make_net()
    part, conflicts = PARTS.get("strategies", "agem", {"lr": "0.5"}), 0
    for _ in range(20):
        data = make_step(random)
        g = flat(gradients(net, params, of_rows(data.incoming, slice(3))))
        r = flat(
            gradients(net, params, of_rows(data.replayed, slice(2)))
        )  # the third is of the present task
        expected = g - (g @ r) / (r @ r) * r if g @ r < 0 else g
        found = flat(moved(part, net, params, data))
        assert_close(found, expected)
        conflicts += int(g @ r < 0)
        assert found @ r > -1e-12
    assert 0 < conflicts < 20


def test_agem_without_earlier_tasks_is_fine_tuning():
    net, params = make_net()
    data = make_step(torch.Generator().manual_seed(0), task=0, replayed_tasks=(0, 0, 0))
    part, plain_sgd = (
        PARTS.get("strategies", name, {"lr": "0.5"}) for name in ("agem", "finetune")
    )
    after = [each.step(net, start(each, net, params), data).params for each in (part, plain_sgd)]
    assert_close(*after)


def among(units, logits, y):
    """The cross-entropy of each row by its definition, the sum in the denominator being over these units; their mean."""
    own = logits.gather(1, y[:, None])[:, 0]
    return (logits[:, units].exp().sum(1).log() - own).mean()


def of_classes(random, classes, stored=True):
    """Three incoming examples of these classes, a fourth that is padding, and three replayed ones of classes 0 and 1."""
    data = make_step(random, stored=3 if stored else 0)
    incoming = data.incoming._replace(y=torch.tensor([*classes, classes[0]]))
    replayed = data.replayed._replace(y=torch.tensor([0, 1, 1]))
    combined = incoming.concat(replayed)
    return data._replace(incoming=incoming, replayed=replayed, combined=combined)


def er_ace_loss(incoming, replayed, present, units):
    """The loss on incoming examples among `present` classes, plus that on replayed ones among `units`."""

    def loss(model):
        past = 0.0
        if replayed.weight.sum() > 0:
            past = among(units, model(replayed.x), replayed.y)
        return among(present, model(incoming.x[:3]), incoming.y[:3]) + past

    return loss


def test_er_ace_compares_incoming_examples_with_their_batch_and_replayed_ones_with_the_seen_classes():
    random, (net, params) = torch.Generator().manual_seed(0), make_net(outputs=6)
    part = PARTS.get("strategies", "er_ace", {"lr": "0.5"})
    state, seen = start(part, net, params), set()
    for classes in ([0, 1, 1], [1, 0, 1], [2, 2, 3], [3, 3, 3], [5, 3, 5], [2, 2, 2]):
        data = of_classes(random, classes, stored=bool(seen))
        incoming, replayed, before = data.incoming, data.replayed, state.params
        seen |= set(classes)

        present, units = sorted(set(classes)), sorted(seen)
        loss = er_ace_loss(incoming, replayed, present, units)
        state = part.step(net, state, data)
        found = {name: (before[name] - state.params[name]) / 0.5 for name in before}
        assert_close(found, gradients(net, before, loss))


def test_er_ace_leaves_units_of_later_classes_alone():
    random, (net, params) = torch.Generator().manual_seed(0), make_net(outputs=6)
    part = PARTS.get("strategies", "er_ace")
    state = start(part, net, params)
    for classes in ([0, 1, 1], [2, 2, 3], [3, 0, 1]):
        state = part.step(net, state, of_classes(random, classes))
    unmoved = [
        torch.equal(state.params["head.weight"][unit], params["head.weight"][unit])
        for unit in range(6)
    ]
    assert unmoved == [False] * 4 + [True] * 2


def test_er_ace_without_memory_leaves_absent_classes_alone():
    net, params = make_net()
    found = moved(
        PARTS.get("strategies", "er_ace"),
        net,
        params,
        make_step(torch.Generator().manual_seed(0), stored=0),
    )
    assert (found["head.bias"][:2] == 0).all()
    assert (found["head.bias"][2:] != 0).all()


class Zenke:
    """Equations 3 to 5 on one vector, for plain descent at 0.2, strength 1.5 and damping 0.02."""

    def __init__(self, weights, nonnegative, penalised):
        self.weights, self.anchor, self.nonnegative, self.penalised, self.negative = (
            weights,
            weights,
            nonnegative,
            penalised,
            False,
        )
        self.importance, self.path = torch.zeros_like(weights), torch.full_like(weights, -0.001)

    def step(self, own):
        total = own + 1.5 * 2 * self.importance * (self.weights - self.anchor)
        self.path = self.path + 0.2 * total * (total if self.penalised else own)
        self.weights = self.weights - 0.2 * total

    def end_experience(self):
        self.importance = self.importance + self.path / ((self.weights - self.anchor) ** 2 + 0.02)
        self.negative |= bool((self.importance < 0).any())
        self.importance = self.importance.clamp(min=0) if self.nonnegative else self.importance
        self.anchor, self.path = self.weights, torch.zeros_like(self.weights)


@pytest.mark.parametrize("penalised", [True, False])
@pytest.mark.parametrize("nonnegative", [True, False])
def test_si_follows_the_papers_equations(nonnegative, penalised):
    random, (net, params) = torch.Generator().manual_seed(0), make_net()
    part = PARTS.find("strategies", "si")(
        lr=0.2, strength=1.5, damping=0.02, nonnegative=nonnegative, penalised=penalised
    )
    state, reference = start(part, net, params), Zenke(flat(params), nonnegative, penalised)
    # As if steps had led up, so that some importance is negative.
    up = {name: value - 0.001 for name, value in state.extra["path"].items()}
    state = state.replace(extra=state.extra | {"path": up})
    for _ in range(3):
        for _ in range(5):
            data = make_step(random)
            reference.step(flat(gradients(net, state.params, of_rows(data.incoming, slice(3)))))
            state = part.step(net, state, data)
            assert_close(flat(state.params), reference.weights)
        reference.end_experience()
        state = part.end_experience(net, state, ExperienceEnd(data.incoming, None))
    assert reference.negative


def test_sis_path_integral_is_the_fall_of_the_loss():
    """For small steps down one loss, the sum over parameters of minus gradient times step is how far the loss fell."""
    (net, params), data = make_net(), make_step(torch.Generator().manual_seed(0))
    part = PARTS.get("strategies", "si", {"lr": "0.0002"})
    state = start(part, net, params)
    for _ in range(500):
        state = part.step(net, state, data)
    fell = net.loss(params, data.incoming) - net.loss(state.params, data.incoming)
    integral = sum(value.sum() for value in state.extra["path"].values())
    assert fell > 0.05
    assert_close(integral, fell, rtol=0.01, atol=0)


def ended(name, **settings):
    """The parameters after a stream in which each of three tasks has two classes of its own."""
    state = trace(
        PARTS.find("strategies", name)(**settings), Blobs(scenario="class"), blobs(), [0, 1]
    ).leaves[-1]
    return torch.cat([leaf.flatten() for leaf in state[:4]])


def test_si_without_strength_is_fine_tuning():
    assert_close(ended("si", strength=0.0), ended("finetune"))
    assert not torch.allclose(ended("si", strength=0.1), ended("finetune"), atol=1e-3)
