"""PackNet against a loop written from its paper, and what it promises of past tasks."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from retrograde import randomness
from retrograde.errors import UserError
from retrograde.interface.strategy import ExperienceEnd
from retrograde.networks.build import build
from retrograde.optim import build_optimizer, plain
from retrograde.parts.registry import Registry
from retrograde.testing import flat, start, toy_batch, toy_net, toy_step

PARTS = Registry()
UNITS = [[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]]
BODY = ("1.weight", "3.weight")


def packnet(**settings):
    return PARTS.find("strategies", "packnet")(**settings)


def make_net(optimizer=plain):
    return toy_net("mlp-7-5", outputs=6, units=UNITS, tasks=3, optimizer=optimizer, key=3)


def make_batch(task, random, rows=5, padding=0):
    batch = toy_batch(rows, outputs=2, task=task, padding=padding, seed=random)
    return batch._replace(y=2 * task + batch.y)


class Loop:
    """Train, prune and retrain with masks of booleans, in plain PyTorch."""

    def __init__(self, params, share):
        self.params = {name: value.clone().requires_grad_() for name, value in params.items()}
        self.share = share
        # For each task, the weights that it has kept.
        self.kept = []

    def taken(self, name):
        nothing = torch.zeros_like(self.params[name]).bool()
        return torch.stack([nothing, *(kept[name] for kept in self.kept)]).any(0)

    def logits(self, x, task, params=None):
        first, bias1, second, bias2, head, bias3 = (params or self.params).values()
        hidden = ((x @ first.T + bias1).relu() @ second.T + bias2).relu()
        return (hidden @ head.T + bias3)[:, 2 * task : 2 * task + 2]

    def step(self, batch, task, lr, trained):
        loss = cross_entropy(self.logits(batch.x, task), batch.y - 2 * task)
        gradients = torch.autograd.grad(loss, list(self.params.values()))
        for (name, value), gradient in zip(self.params.items(), gradients, strict=True):
            if name in BODY:
                value.data[trained[name]] -= lr * gradient[trained[name]]
            elif name.startswith("head") or task == 0:
                value.data -= lr * gradient

    def train(self, batch, task, lr):
        self.step(batch, task, lr, {name: ~self.taken(name) for name in BODY})

    def prune(self):
        kept = {}
        for name in BODY:
            value, free = self.params[name], ~self.taken(name)
            removed = round(self.share * int(free.sum()))
            cutoff = value.data[free].abs().kthvalue(removed).values
            kept[name] = free & (value.data.abs() > cutoff)
            value.data[free & ~kept[name]] = 0
        self.kept.append(kept)

    def retrain(self, examples, task, lr, size, key):
        random = randomness.uniform(randomness.named(key, "epoch 0"), len(examples.x))
        order = random[: int(examples.weight.sum())].argsort()
        for rows in order.split(size):
            self.step(examples.at(rows), task, lr, self.kept[-1])

    def network(self, task):
        """The parameters with which a finished task is predicted."""
        used = {name: torch.stack([k[name] for k in self.kept[: task + 1]]).any(0) for name in BODY}
        return {
            name: value * used[name] if name in BODY else value
            for name, value in self.params.items()
        }


def test_three_tasks_follow_a_loop_written_from_the_paper():
    net, params = make_net()
    part = packnet(lr=0.3, pruned_share=0.6, retrain_lr=0.2, retrain_batch=4)
    loop, state = Loop(params, 0.6), start(part, net, params)
    random = torch.Generator().manual_seed(0)
    for task in range(3):
        at_task = replace(net, experience=torch.tensor(task))
        for _ in range(3):
            batch = make_batch(task, random)
            loop.train(batch, task, 0.3)
            state = part.step(at_task, state, toy_step(batch))
            assert_close(flat(state.params), flat(loop.params).detach())
        examples = make_batch(task, random, rows=11, padding=2)
        loop.prune()
        loop.retrain(examples, task, 0.2, 4, net.key)
        state = part.end_experience(at_task, state, ExperienceEnd(examples, None))
        assert_close(flat(state.params), flat(loop.params).detach())
    batch = toy_batch(6, task=[0, 1, 2, 2, 1, 0], seed=9)
    scores = part.predict(at_task, state, batch.x, batch.task)
    for row, task in enumerate(batch.task.tolist()):
        expected = loop.logits(batch.x[row : row + 1], task, loop.network(task))[0]
        assert_close(scores[row, 2 * task : 2 * task + 2], expected.detach())


@pytest.mark.parametrize("optimizer", [plain, lambda: build_optimizer("nesterov", 0.9, 0.1)])
def test_no_prediction_of_a_finished_task_changes(optimizer):
    (net, params), part = make_net(optimizer), packnet(lr=0.3)
    state, random = start(part, net, params), torch.Generator().manual_seed(0)
    x, first = toy_batch(5, seed=9).x, torch.zeros(5, dtype=torch.int64)
    before = None
    for task in range(3):
        at_task = replace(net, experience=torch.tensor(task))
        for _ in range(3):
            state = part.step(at_task, state, toy_step(make_batch(task, random)))
            if before is not None:
                assert_close(part.predict(at_task, state, x, first), before)
        end = ExperienceEnd(make_batch(task, random, rows=12), None)
        state = part.end_experience(at_task, state, end)
        found = part.predict(at_task, state, x, first)
        before = found if before is None else before
        assert_close(found, before)


def test_each_task_keeps_its_share_of_what_is_free():
    (net, params), part = make_net(), packnet(pruned_share=0.75, retrain_epochs=0)
    state, sizes = start(part, net, params), []
    for task in range(3):
        at_task = replace(net, experience=torch.tensor(task))
        end = ExperienceEnd(make_batch(task, torch.Generator().manual_seed(task)), None)
        state = part.end_experience(at_task, state, end)
        sizes.append(int((state.extra["1.weight"] == task).sum()))
        assert (state.params["1.weight"] == 0).sum() == 42 - sum(sizes)
        # Another task moves them away from 0 again.
        state = state.replace(params={name: value + 1 for name, value in state.params.items()})
    assert sizes == [42 - 32, 32 - 24, 24 - 18]


@pytest.mark.parametrize(
    ("model", "found"), [("mlp", "0 such weights"), ("mlpbn-5", "1 such weights and 3 running")]
)
def test_a_model_that_cannot_be_pruned_is_refused(model, found):
    module = build(model, (6,), 6, 0, True)
    net, params = toy_net(module, outputs=6, units=UNITS, tasks=3)
    with pytest.raises(UserError, match=found):
        packnet().init(net, params)
