"""Separate networks for tasks, and context-dependent gating of hidden units."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, relu
from torch.testing import assert_close

from retrograde.contract.strategies import trace
from retrograde.contract.toys import Blobs, blobs
from retrograde.errors import UserError
from retrograde.interface.state import State
from retrograde.interface.strategy import ExperienceEnd
from retrograde.optim import adam, plain
from retrograde.parts.registry import Registry
from retrograde.testing import flat, start, toy_batch, toy_net, toy_step
from retrograde.training.stream_replicas import StreamReplicas

PARTS = Registry()


def make_net(optimizer=plain):
    units = [[1, 1, 0, 0], [0, 0, 1, 1]]
    return toy_net("mlp-10-10", units=units, tasks=2, optimizer=optimizer, key=5)


def make_batch(random, task):
    batch = toy_batch(5, outputs=2, task=task, seed=random)
    return batch._replace(y=2 * task + batch.y)


def follow(part, net, state, task, random):
    """Three steps on a task, and its end."""
    net = replace(net, experience=torch.tensor(task))
    state = part.begin_experience(net, state, task)
    for _ in range(3):
        batch = make_batch(random, task)
        state = part.step(net, state, toy_step(batch))
    return part.end_experience(net, state, ExperienceEnd(batch, None))


def test_every_task_has_the_network_that_it_would_have_alone():
    (net, params), part = make_net(adam), PARTS.find("strategies", "separate")(lr=0.01)
    state = start(part, net, params)
    alone = PARTS.find("strategies", "finetune")(lr=0.01)
    own = []
    for task in (0, 1):
        state = follow(part, net, state, task, torch.Generator().manual_seed(task))
        first = start(alone, net, params)
        own.append(follow(alone, net, first, task, torch.Generator().manual_seed(task)).params)
    x, task = (
        torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(9)),
        torch.tensor([0, 1, 1, 0, 1, 0]),
    )
    net = replace(net, experience=torch.tensor(1))
    expected = torch.stack(
        [net.logits(own[t], x[i : i + 1], task[i : i + 1])[0] for i, t in enumerate(task.tolist())]
    )
    assert_close(part.predict(net, state, x, task), expected)


def gated_loss(params, batch, on):
    """Two hidden layers in which the units that are not on give 0, and the two outputs of the task."""
    first, bias1, second, bias2, head, bias3 = params.values()
    hidden = relu(relu(batch.x @ first.T + bias1) * on[0] @ second.T + bias2) * on[1]
    start = 2 * int(batch.task[0])
    return cross_entropy((hidden @ head.T + bias3)[:, start : start + 2], batch.y - start)


def test_xdg_learns_with_some_units_of_each_hidden_layer_switched_off():
    random, (net, params) = torch.Generator().manual_seed(0), make_net()
    part = PARTS.find("strategies", "xdg")(lr=0.5, active_share=0.4)
    gates = part.init(net, params)
    state = State(params, {}, gates)
    for task in (0, 1):
        net = replace(net, experience=torch.tensor(task))
        on = [gate[task] for gate in gates.values()]
        assert [gate.sum() for gate in on] == [4, 4]
        batch = make_batch(random, task)
        slope = torch.func.grad(gated_loss)(state.params, batch, on)
        expected = flat(state.params) - 0.5 * flat(slope)
        state = part.step(net, state, toy_step(batch))
        assert_close(flat(state.params), expected)
        scores = part.predict(net, state, batch.x, batch.task)
        assert_close(cross_entropy(scores, batch.y), gated_loss(state.params, batch, on))
    assert len({tuple(gate.tolist()) for each in gates.values() for gate in each}) == 4


def test_xdg_predicts_each_row_with_the_units_of_its_task():
    (net, params), part = make_net(), PARTS.find("strategies", "xdg")(active_share=0.4)
    state = State(params, {}, part.init(net, params))
    x, task = (
        torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(9)),
        torch.tensor([0, 1, 1, 0, 1, 0]),
    )
    alone = [part.predict(net, state, x[i : i + 1], task[i : i + 1])[0] for i in range(6)]
    assert_close(part.predict(net, state, x, task), torch.stack(alone))


def test_replicates_switch_off_other_units():
    benchmark = Blobs(scenario="task")
    streams = [benchmark.stream(blobs(), seed) for seed in (0, 1)]
    backend = StreamReplicas(
        benchmark, PARTS.get("strategies", "xdg"), streams, [0, 1], torch.device("cpu")
    )
    first, second = backend.state.extra["head.weight"]
    assert (first.sum(1) == 3).all()
    assert not first.equal(second)


def ended(name, **settings):
    """The parameters after a stream in which each of three tasks has two classes of its own."""
    state = trace(
        PARTS.find("strategies", name)(**settings), Blobs(scenario="task"), blobs(), [0, 1]
    ).leaves[-1]
    return torch.cat([leaf.flatten() for leaf in state[:4]])


def test_xdg_with_all_units_on_is_fine_tuning():
    assert_close(ended("xdg", active_share=1.0), ended("finetune"))
    assert not torch.allclose(ended("xdg", active_share=0.5), ended("finetune"), atol=1e-3)


def test_xdg_refuses_a_model_without_hidden_linear_layers():
    net, params = toy_net(nn.Linear(6, 4), tasks=2, key=5)
    with pytest.raises(UserError, match="Choose an mlp"):
        PARTS.get("strategies", "xdg").init(net, params)


class Branching(nn.Module):
    """Names its head first, and reads the examples in two layers."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(5, 4)
        self.hidden = nn.Linear(6, 5)
        self.other = nn.Linear(6, 5)

    def forward(self, x):
        return self.head(self.hidden(x).relu() * self.other(x).sigmoid())


def test_xdg_refuses_layers_without_a_trained_weight():
    module = Branching()
    nn.utils.parametrizations.weight_norm(module.head)
    net, params = toy_net(module, tasks=2, key=5)
    with pytest.raises(UserError, match="head of the model has a weight that is frozen, shared"):
        PARTS.get("strategies", "xdg").init(net, params)


def test_xdg_gates_hidden_units_and_never_the_examples():
    net, params = toy_net(Branching(), tasks=2, key=5)
    assert PARTS.get("strategies", "xdg").init(net, params).keys() == {"head.weight"}
