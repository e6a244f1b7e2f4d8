"""MIR, GSS and HAL against loops written from the papers, in float64."""

from dataclasses import replace

import pytest
import torch
from torch.func import functional_call
from torch.nn.functional import cosine_similarity, cross_entropy
from torch.testing import assert_close

from retrograde.interface.state import State
from retrograde.interface.strategy import ExperienceEnd
from retrograde.parts.registry import Registry
from retrograde.testing import toy_batch, toy_net, toy_step

PARTS = Registry()


def make_net(key=0):
    return toy_net(tasks=3, key=key)


def make_batch(random, rows, real=None, task=1):
    return toy_batch(rows, task=task, padding=0 if real is None else rows - real, seed=random)


def gradient(net, params, *losses):
    """Autograd's, of a sum of losses, each a function of the weights."""
    weights = {name: value.clone().requires_grad_() for name, value in params.items()}
    found = torch.autograd.grad(sum(loss(weights) for loss in losses), list(weights.values()))
    return dict(zip(weights, found, strict=True))


def stepped(params, found, lr):
    return {name: value - lr * found[name] for name, value in params.items()}


def loss_on(net, x, y):
    return lambda weights: cross_entropy(functional_call(net.module, weights, (x,)), y)


def loss_on_both(net, incoming, replayed, share):
    """The mean over all examples; with a share, the mean over incoming ones times it, and the rest on replayed ones."""
    if share is None or not len(replayed[0]):
        return loss_on(net, *(torch.cat(pair) for pair in zip(incoming, replayed, strict=True)))
    return lambda weights: (
        share * loss_on(net, *incoming)(weights) + (1 - share) * loss_on(net, *replayed)(weights)
    )


@pytest.mark.parametrize("share", [None, 0.2])
@pytest.mark.parametrize("stored", [2, 7])
def test_mir_replays_the_examples_whose_loss_the_next_step_would_raise_most(stored, share):
    random, (net, params) = torch.Generator().manual_seed(1), make_net()
    part = PARTS.find("strategies", "mir")(lr=0.3, replay_batch=3, candidates=7)
    for _ in range(5):
        incoming, replayed = make_batch(random, 4, real=3), make_batch(random, 7, real=stored)
        incoming_loss = loss_on(net, incoming.x[:3], incoming.y[:3])
        tentative = stepped(params, gradient(net, params, incoming_loss), 0.3)
        interference = [
            float(
                loss_on(net, x[None], y[None])(tentative) - loss_on(net, x[None], y[None])(params)
            )
            for x, y in zip(*replayed[:2], strict=True)
        ]
        chosen = sorted(range(stored), key=lambda row: -interference[row])[:3]
        both = loss_on_both(
            net, (incoming.x[:3], incoming.y[:3]), (replayed.x[chosen], replayed.y[chosen]), share
        )
        expected = stepped(params, gradient(net, params, both), 0.3)
        params = part.step(
            net, State(params, {}, {}), toy_step(incoming, replayed, share=share)
        ).params
        assert_close(params, expected)


class Greedy:
    """Algorithm 2 of Aljundi et al. (2019), one incoming example after the other; random numbers are handed in."""

    def __init__(self, part, net, share):
        self.part, self.net, self.share, self.stored, self.scores = part, net, share, [], []

    def single(self, params, x, y):
        return torch.cat(
            [
                each.flatten()
                for each in gradient(self.net, params, loss_on(self.net, x[None], y[None])).values()
            ]
        )

    def step(self, params, x, y, numbers):
        """Replay, then offer every incoming example to the memory; returns the parameters."""
        size = self.part.buffer_size
        replayed, compared = (
            self.drawn(row[:size], count)
            for row, count in zip(
                numbers, (self.part.replay_batch, self.part.compared), strict=True
            )
        )
        replayed = [
            torch.stack([one[i] for one in replayed]) if replayed else each[:0]
            for i, each in enumerate((x, y))
        ]
        both = loss_on_both(self.net, (x, y), replayed, self.share)
        params = stepped(params, gradient(self.net, params, both), self.part.lr)
        directions = [self.single(params, *each) for each in compared]
        for i, each in enumerate(zip(x, y, strict=True)):
            mine = self.single(params, *each)
            score = (
                1 + max(cosine_similarity(mine, other, 0) for other in directions)
                if directions
                else torch.tensor(0.1)
            )
            self.offer(each, float(score), *numbers[:, size + i].tolist())
        return params

    def drawn(self, numbers, count):
        order = torch.argsort(numbers[: len(self.stored)]).tolist()
        return [self.stored[slot] for slot in order[:count]]

    def offer(self, example, score, pick, luck):
        if len(self.stored) < self.part.buffer_size:
            self.stored.append(example)
            self.scores.append(score)
        elif score < 1:
            below = torch.tensor(self.scores, dtype=torch.float64).cumsum(0)
            slot = min(int((below <= pick * below[-1]).sum()), len(self.stored) - 1)
            if luck < self.scores[slot] / (self.scores[slot] + score):
                self.stored[slot], self.scores[slot] = example, score


@pytest.mark.parametrize("share", [None, 0.2])
def test_gss_follows_the_greedy_algorithm(share):
    random, (net, params) = torch.Generator().manual_seed(0), make_net()
    part = PARTS.find("strategies", "gss")(lr=0.3, buffer_size=9, replay_batch=3, compared=4)
    greedy, state, start, replaced = (
        Greedy(part, net, share),
        State(params, {}, part.init(net, params)),
        params,
        0,
    )
    for key in range(12 if share is None else 30):
        net, incoming = make_net(key)[0], make_batch(random, 4, real=3 + key % 2)
        real, before = int(incoming.weight.sum()), list(greedy.stored)
        start = greedy.step(
            start, incoming.x[:real], incoming.y[:real], net.uniform(2, 9 + 4).double()
        )
        state = part.step(net, state, toy_step(incoming, share=share))
        replaced += sum(one is not other for one, other in zip(before, greedy.stored, strict=False))
        assert_close(state.params, start)
        memory = state.extra["memory"]
        assert int(memory.weight.sum()) == len(greedy.stored)
        assert_close(memory.x[: len(greedy.stored)], torch.stack([x for x, _ in greedy.stored]))
        assert_close(
            state.extra["score"][: len(greedy.stored)],
            torch.tensor(greedy.scores, dtype=torch.float64),
            rtol=1e-5,
            atol=1e-6,
        )
    assert replaced > 3


def anchored(part, net, state, batch, memory):
    """The anchors of a task's classes, by autograd, one after the other (equation 6)."""
    tuned, noise, anchors = state.params, net.uniform(4, 6).double(), {}
    for rows in torch.arange(int(memory.weight.sum())).split(part.replay_batch):
        tuned = stepped(
            tuned, gradient(net, tuned, loss_on(net, memory.x[rows], memory.y[rows])), part.lr
        )
    for unit in sorted(set(batch.y.tolist())):
        anchor, label = noise[unit : unit + 1].clone().requires_grad_(), torch.tensor([unit])
        for _ in range(part.anchor_steps):
            forgot = loss_on(net, anchor, label)(tuned) - loss_on(net, anchor, label)(state.params)
            apart = (net.features(state.params, anchor) - state.extra["mean_feature"]).pow(2).sum()
            (found,) = torch.autograd.grad(part.closeness * apart - forgot, anchor)
            anchor = (anchor - part.lr * found).detach().requires_grad_()
        anchors[unit] = anchor.detach()[0]
    return anchors


def test_hals_anchors_would_be_forgotten_first():
    random, (net, params) = torch.Generator().manual_seed(0), make_net(5)
    net = replace(net, experience=torch.tensor(1))
    part = PARTS.find("strategies", "hal")(
        lr=0.1, closeness=0.2, anchor_steps=7, buffer_size=9, replay_batch=4
    )
    state = State(params, {}, part.init(net, params))
    state = state.replace(
        extra=state.extra | {"mean_feature": torch.randn(8, generator=random, dtype=torch.float64)}
    )
    batch, memory = make_batch(random, 6), make_batch(random, 9, real=6)
    batch = batch._replace(y=batch.y.clamp(min=2))
    after = part.end_experience(net, state, ExperienceEnd(batch, memory)).extra
    expected = anchored(part, net, state, batch, memory)
    assert after["has_anchor"].tolist() == [
        [0] * 4,
        [float(unit in expected) for unit in range(4)],
        [0] * 4,
    ]
    for unit in range(4):
        assert_close(after["anchors"][1, unit], expected.get(unit, torch.zeros(6).double()))
    assert not after["mean_feature"].any()
    assert set(expected) == {2, 3}


def test_hal_keeps_the_outputs_on_anchors_where_a_first_step_would_bring_them():
    random, (net, params) = torch.Generator().manual_seed(0), make_net()
    part = PARTS.find("strategies", "hal")(lr=0.1, strength=0.8, decay=0.3, replay_batch=3)
    extra = part.init(net, params)
    anchors, real = (
        torch.randn(3, 4, 6, generator=random, dtype=torch.float64),
        torch.tensor([[0.0, 1, 0, 1], [1, 0, 0, 0], [0] * 4]),
    )
    state, centre = (
        State(params, {}, extra | {"anchors": anchors, "has_anchor": real.double()}),
        torch.zeros(8).double(),
    )
    for _ in range(4):
        incoming, replayed = make_batch(random, 4, real=3), make_batch(random, 3, real=2)
        ce = loss_on(
            net,
            torch.cat([incoming.x[:3], replayed.x[:2]]),
            torch.cat([incoming.y[:3], replayed.y[:2]]),
        )
        tentative = functional_call(
            net.module,
            stepped(state.params, gradient(net, state.params, ce), 0.1),
            (anchors[real > 0],),
        )

        def moved(weights, tentative=tentative):
            return (
                0.8
                * (functional_call(net.module, weights, (anchors[real > 0],)) - tentative)
                .pow(2)
                .mean()
            )

        expected = stepped(state.params, gradient(net, state.params, ce, moved), 0.1)
        state = part.step(net, state, toy_step(incoming, replayed))
        assert_close(state.params, expected)
        centre = 0.3 * centre + 0.7 * net.features(expected, incoming.x[:3]).mean(0)
        assert_close(state.extra["mean_feature"], centre)
