"""FS-DGPM against a loop written from its algorithm, with a list of directions for each layer."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from retrograde.interface.strategy import ExperienceEnd
from retrograde.parts.registry import Registry
from retrograde.testing import flat, start, toy_batch, toy_net, toy_step

PARTS = Registry()
SETTINGS = {"lr": 0.1, "ascent_lr": 0.3, "importance_lr": 0.2, "temperature": 3.0, "clip": 0.4}


def fs_dgpm(**settings):
    return PARTS.find("strategies", "fs_dgpm")(**(SETTINGS | settings))


def clip(values, bound):
    length = torch.sqrt(sum((value**2).sum() for value in values))
    return [value * min(1, bound / (length.item() + 1e-6)) for value in values]


class Loop:
    """The algorithm for three linear layers without biases and padding; a basis has columns."""

    def __init__(self, weights, part):
        self.weights = [value.clone().requires_grad_() for value in weights]
        self.part = part
        self.bases = []

    def forward(self, weights, x):
        hidden = (x @ weights[0].T).relu()
        last = (hidden @ weights[1].T).relu()
        return [x, hidden, last], last @ weights[2].T

    def loss(self, weights, batch):
        return cross_entropy(self.forward(weights, batch.x)[1], batch.y)

    def projected(self, gradients, importance):
        if not self.bases:
            return gradients
        triples = zip(gradients, self.bases, importance, strict=True)
        return [g @ basis @ torch.diag(shares) @ basis.T for g, basis, shares in triples]

    def step(self, incoming, combined, parts):
        part, fast, losses = self.part, self.weights, []
        for batch in parts:
            found = torch.autograd.grad(
                self.loss(fast, batch), fast, create_graph=not part.first_order, retain_graph=True
            )
            found = self.projected(found, self.importance if self.bases else None)
            found = [g.clamp(-part.clip, part.clip) for g in found]
            fast = [w + part.ascent_lr * g for w, g in zip(fast, found, strict=True)]
            losses.append(self.loss(fast, combined))
        mean = sum(losses) / len(losses)
        learned = [*self.weights, *(self.importance if self.bases else [])]
        found = torch.autograd.grad(mean, learned)
        gradients = clip(found[:3], part.clip)
        if self.bases:
            pairs = zip(self.importance, clip(found[3:], part.clip), strict=True)
            stepped = [shares - part.importance_lr * g for shares, g in pairs]
            self.importance = [
                (part.temperature * shares).sigmoid().detach().requires_grad_()
                for shares in stepped
            ]
            inside = self.projected(gradients, self.importance)
            gradients = [g - within for g, within in zip(gradients, inside, strict=True)]
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.data -= part.lr * gradient.detach()

    def end(self, x, task):
        found, _ = self.forward(self.weights, x)
        self.bases = []
        for rows in found:
            _, lengths, directions = np.linalg.svd(rows.detach().numpy(), full_matrices=False)
            held = np.cumsum(lengths**2) / (lengths**2).sum()
            count = np.searchsorted(held, self.part.threshold + self.part.growth * task) + 1
            self.bases.append(torch.from_numpy(directions[:count].T.copy()))
        self.importance = [torch.ones(b.shape[1]).double().requires_grad_() for b in self.bases]


@pytest.mark.parametrize("first_order", [True, False])
def test_three_tasks_follow_a_loop_written_from_the_algorithm(first_order):
    net, params = toy_net("mlpnobias-7-5", shape=(9,))
    part = fs_dgpm(threshold=0.7, growth=0.05, first_order=first_order)
    loop = Loop(list(params.values()), part)
    state, random = start(part, net, params), torch.Generator().manual_seed(2)
    moved = 0.0
    for task in range(3):
        at_task = replace(net, experience=torch.tensor(task))
        for _ in range(4):
            incoming = toy_batch(5, (9,), seed=random)
            data = toy_step(incoming, toy_batch(3, (9,), seed=random))
            loop.step(incoming, data.combined, [incoming.at(slice(3)), incoming.at(slice(3, 5))])
            state = part.step(at_task, state, data)
            assert_close(flat(state.params), torch.cat([w.data.flatten() for w in loop.weights]))
        memory = toy_batch(6, (9,), padding=1, seed=random)
        if task:
            moved = max((shares - 1).abs().max().item() for shares in loop.importance)
        loop.end(memory.x[:5], task)
        ended = ExperienceEnd(toy_batch(4, (9,)), memory)
        state = part.end_experience(at_task, state, ended)
        for space, basis in zip(state.extra["space"].values(), loop.bases, strict=True):
            assert_close(space @ space.T, basis @ basis.T)
    # Spaces are neither empty nor full, and importances have been learned.
    assert all(0 < basis.shape[1] < len(basis) for basis in loop.bases[:2])
    assert moved > 0.01


def test_padding_in_the_incoming_examples_changes_nothing():
    net, params = toy_net("mlp-8")
    part = fs_dgpm()
    batch, memory = toy_batch(4), toy_batch(3, seed=1)
    padded = toy_batch(8, padding=4)
    padded = padded._replace(
        x=torch.cat([batch.x, padded.x[4:]]), y=torch.cat([batch.y, padded.y[4:]])
    )
    alone = part.step(net, start(part, net, params), toy_step(batch.at(slice(4)), memory))
    whole = fs_dgpm(ascent_steps=4).step(net, start(part, net, params), toy_step(padded, memory))
    assert_close(flat(whole.params), flat(alone.params))


def test_if_the_task_is_given_the_head_is_free():
    net, params = toy_net("mlp-8", tasks=2, units=[[1, 1, 0, 0], [0, 0, 1, 1]])
    assert list(start(fs_dgpm(), net, params).extra["space"]) == ["1"]
