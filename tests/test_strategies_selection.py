"""MIR, GSS and HAL against loops written from the papers, in float64."""

import pytest
import torch
from torch.func import functional_call
from torch.nn.functional import cosine_similarity, cross_entropy
from torch.testing import assert_close

from retrograde.interface.state import State
from retrograde.interface.strategy import TaskEnd
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


def loss_on_both(net, new, old, share):
    """The mean over all examples, or with a share, that of arrivals and that of the past with the rest of the weight."""
    if share is None or not len(old[0]):
        return loss_on(net, *(torch.cat(pair) for pair in zip(new, old, strict=True)))
    return lambda weights: (
        share * loss_on(net, *new)(weights) + (1 - share) * loss_on(net, *old)(weights)
    )


@pytest.mark.parametrize("share", [None, 0.2])
@pytest.mark.parametrize("held", [2, 7])
def test_mir_replays_what_the_coming_step_would_harm_most(held, share):
    random, (net, params) = torch.Generator().manual_seed(1), make_net()
    part = PARTS.find("strategies", "mir")(lr=0.3, draw=3, candidates=7)
    for _ in range(5):
        new, old = make_batch(random, 4, real=3), make_batch(random, 7, real=held)
        of_new = loss_on(net, new.x[:3], new.y[:3])
        foreseen = stepped(params, gradient(net, params, of_new), 0.3)
        harm = [
            float(loss_on(net, x[None], y[None])(foreseen) - loss_on(net, x[None], y[None])(params))
            for x, y in zip(*old[:2], strict=True)
        ]
        chosen = sorted(range(held), key=lambda row: -harm[row])[:3]
        both = loss_on_both(net, (new.x[:3], new.y[:3]), (old.x[chosen], old.y[chosen]), share)
        expected = stepped(params, gradient(net, params, both), 0.3)
        params = part.step(net, State(params, {}, {}), toy_step(new, old, share=share)).params
        assert_close(params, expected)


class Greedy:
    """Algorithm 2 of Aljundi et al. (2019), one arrival after the other; random numbers are handed in."""

    def __init__(self, part, net, share):
        self.part, self.net, self.share, self.held, self.scores = part, net, share, [], []

    def single(self, params, x, y):
        return torch.cat(
            [
                each.flatten()
                for each in gradient(self.net, params, loss_on(self.net, x[None], y[None])).values()
            ]
        )

    def step(self, params, x, y, numbers):
        """Replay, then offer every arrival to the memory; returns the parameters."""
        size = self.part.memory
        replayed, compared = (
            self.drawn(row[:size], count)
            for row, count in zip(numbers, (self.part.draw, self.part.compare), strict=True)
        )
        old = [
            torch.stack([one[i] for one in replayed]) if replayed else each[:0]
            for i, each in enumerate((x, y))
        ]
        both = loss_on_both(self.net, (x, y), old, self.share)
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
        order = torch.argsort(numbers[: len(self.held)]).tolist()
        return [self.held[slot] for slot in order[:count]]

    def offer(self, example, score, pick, luck):
        if len(self.held) < self.part.memory:
            self.held.append(example)
            self.scores.append(score)
        elif score < 1:
            below = torch.tensor(self.scores, dtype=torch.float64).cumsum(0)
            slot = min(int((below <= pick * below[-1]).sum()), len(self.held) - 1)
            if luck < self.scores[slot] / (self.scores[slot] + score):
                self.held[slot], self.scores[slot] = example, score


@pytest.mark.parametrize("share", [None, 0.2])
def test_gss_follows_the_greedy_algorithm(share):
    random, (net, params) = torch.Generator().manual_seed(0), make_net()
    part = PARTS.find("strategies", "gss")(lr=0.3, memory=9, draw=3, compare=4)
    greedy, state, start, replaced = (
        Greedy(part, net, share),
        State(params, {}, part.init(net, params)),
        params,
        0,
    )
    for key in range(12 if share is None else 30):
        net, new = make_net(key)[0], make_batch(random, 4, real=3 + key % 2)
        real, before = int(new.weight.sum()), list(greedy.held)
        start = greedy.step(start, new.x[:real], new.y[:real], net.uniform(2, 9 + 4).double())
        state = part.step(net, state, toy_step(new, share=share))
        replaced += sum(old is not now for old, now in zip(before, greedy.held, strict=False))
        assert_close(state.params, start)
        assert int(state.extra["weight"].sum()) == len(greedy.held)
        assert_close(state.extra["x"][: len(greedy.held)], torch.stack([x for x, _ in greedy.held]))
        assert_close(
            state.extra["score"][: len(greedy.held)],
            torch.tensor(greedy.scores, dtype=torch.float64),
            rtol=1e-5,
            atol=1e-6,
        )
    assert replaced > 3


def anchored(part, net, state, batch, memory):
    """The anchors of a task's classes, by autograd, one after the other (equation 6)."""
    tuned, noise, anchors = state.params, net.uniform(4, 6).double(), {}
    for rows in torch.arange(int(memory.weight.sum())).split(part.draw):
        tuned = stepped(
            tuned, gradient(net, tuned, loss_on(net, memory.x[rows], memory.y[rows])), part.lr
        )
    for unit in sorted(set(batch.y.tolist())):
        anchor, label = noise[unit : unit + 1].clone().requires_grad_(), torch.tensor([unit])
        for _ in range(part.descents):
            forgot = loss_on(net, anchor, label)(tuned) - loss_on(net, anchor, label)(state.params)
            apart = (net.features(state.params, anchor) - state.extra["centre"]).pow(2).sum()
            (found,) = torch.autograd.grad(part.closeness * apart - forgot, anchor)
            anchor = (anchor - part.lr * found).detach().requires_grad_()
        anchors[unit] = anchor.detach()[0]
    return anchors


def test_hals_anchors_would_be_forgotten_first():
    random, (net, params) = torch.Generator().manual_seed(0), make_net(5)
    part = PARTS.find("strategies", "hal")(lr=0.1, closeness=0.2, descents=7, memory=9, draw=4)
    state = State(params, {}, part.init(net, params))
    state = state.replace(
        extra=state.extra | {"centre": torch.randn(8, generator=random, dtype=torch.float64)}
    )
    batch, memory = make_batch(random, 6), make_batch(random, 9, real=6)
    batch = batch._replace(y=batch.y.clamp(min=2))
    after = part.end_task(net, state, TaskEnd(batch, torch.zeros(6).long(), memory)).extra
    expected = anchored(part, net, state, batch, memory)
    assert after["real"].tolist() == [
        [0] * 4,
        [float(unit in expected) for unit in range(4)],
        [0] * 4,
    ]
    for unit in range(4):
        assert_close(after["anchors"][1, unit], expected.get(unit, torch.zeros(6).double()))
    assert not after["centre"].any()
    assert set(expected) == {2, 3}


def test_hal_holds_the_outputs_on_anchors_where_a_first_step_would_bring_them():
    random, (net, params) = torch.Generator().manual_seed(0), make_net()
    part = PARTS.find("strategies", "hal")(lr=0.1, strength=0.8, decay=0.3, draw=3)
    extra = part.init(net, params)
    anchors, real = (
        torch.randn(3, 4, 6, generator=random, dtype=torch.float64),
        torch.tensor([[0.0, 1, 0, 1], [1, 0, 0, 0], [0] * 4]),
    )
    state, centre = (
        State(params, {}, extra | {"anchors": anchors, "real": real.double()}),
        torch.zeros(8).double(),
    )
    for _ in range(4):
        new, old = make_batch(random, 4, real=3), make_batch(random, 3, real=2)
        ce = loss_on(net, torch.cat([new.x[:3], old.x[:2]]), torch.cat([new.y[:3], old.y[:2]]))
        foreseen = functional_call(
            net.module,
            stepped(state.params, gradient(net, state.params, ce), 0.1),
            (anchors[real > 0],),
        )

        def moved(weights, foreseen=foreseen):
            return (
                0.8
                * (functional_call(net.module, weights, (anchors[real > 0],)) - foreseen)
                .pow(2)
                .mean()
            )

        expected = stepped(state.params, gradient(net, state.params, ce, moved), 0.1)
        state = part.step(net, state, toy_step(new, old))
        assert_close(state.params, expected)
        centre = 0.3 * centre + 0.7 * net.features(expected, new.x[:3]).mean(0)
        assert_close(state.extra["centre"], centre)
