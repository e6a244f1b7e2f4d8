"""GPM against a loop written from its algorithm, and what it promises of past tasks' outputs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from retrograde.contract.toys import Blobs, blobs
from retrograde.errors import UserError
from retrograde.interface.strategy import ExperienceEnd
from retrograde.optim import adam, build_optimizer, plain
from retrograde.parts.registry import Registry
from retrograde.testing import flat, start, toy_batch, toy_net, toy_step
from retrograde.training.stream_replicas import StreamReplicas

PARTS = Registry()


def gpm(**settings):
    return PARTS.find("strategies", "gpm")(**({"lr": 0.1} | settings))


class Loop:
    """Algorithm 1 for three linear layers without biases; a memory is a list of columns."""

    def __init__(self, weights, thresholds, growth):
        self.weights = [value.clone().requires_grad_() for value in weights]
        self.thresholds = thresholds
        self.growth = growth
        self.bases = [np.zeros((value.shape[1], 0)) for value in weights]

    def inputs(self, x):
        first, second, third = self.weights
        hidden = (x @ first.T).relu()
        last = (hidden @ second.T).relu()
        return [x, hidden, last], last @ third.T

    def step(self, batch, lr):
        loss = cross_entropy(self.inputs(batch.x)[1], batch.y)
        gradients = torch.autograd.grad(loss, self.weights)
        for weight, gradient, basis in zip(self.weights, gradients, self.bases, strict=True):
            columns = torch.from_numpy(basis)
            weight.data -= lr * (gradient - gradient @ columns @ columns.T)

    def end(self, x, task):
        found, _ = self.inputs(x)
        for layer, rows in enumerate(found):
            activation = rows.detach().numpy().T
            threshold = self.thresholds[layer] + self.growth * task
            self.bases[layer] = self.extended(self.bases[layer], activation, threshold)

    @staticmethod
    def extended(basis, activation, threshold):
        """Equations 8 and 9."""
        residual = activation - basis @ basis.T @ activation
        directions, lengths, _ = np.linalg.svd(residual, full_matrices=False)
        total = (activation**2).sum()
        held = total - (residual**2).sum()
        count = 0
        while held < threshold * total:
            held += lengths[count] ** 2
            count += 1
        return np.hstack([basis, directions[:, :count]])


def test_three_tasks_follow_a_loop_written_from_the_algorithm():
    net, params = toy_net("mlpnobias-7-5", shape=(9,))
    part = gpm(thresholds=(0.7, 0.8), growth=0.05)
    loop = Loop(list(params.values()), [0.7, 0.8, 0.8], 0.05)
    state, random = start(part, net, params), torch.Generator().manual_seed(2)
    for task in range(3):
        at_task = replace(net, experience=torch.tensor(task))
        for _ in range(4):
            batch = toy_batch(5, (9,), seed=random)
            loop.step(batch, 0.1)
            state = part.step(at_task, state, toy_step(batch))
            assert_close(flat(state.params), torch.cat([w.data.flatten() for w in loop.weights]))
        examples = toy_batch(6, (9,), padding=1, seed=random)
        loop.end(examples.x[:5], task)
        state = part.end_experience(at_task, state, ExperienceEnd(examples, None))
        for projection, basis in zip(state.extra.values(), loop.bases, strict=True):
            assert_close(projection, torch.from_numpy(basis @ basis.T))
    # The loop has met memories that are neither empty nor full.
    counts = [basis.shape for basis in loop.bases]
    assert all(0 < columns < inputs for inputs, columns in counts[:2])


def convolutional():
    torch.manual_seed(0)
    first = nn.Conv2d(1, 3, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 4))


def after_two_tasks(net, params, shape, part):
    """The state after one task, another net's steps later, and examples of the first task."""
    first = toy_batch(2, shape)
    state = part.step(net, start(part, net, params), toy_step(first))
    ended = part.end_experience(net, state, ExperienceEnd(first, None))
    state = ended
    for seed in range(3):
        later = toy_batch(5, shape, task=1, seed=seed + 1)
        state = part.step(replace(net, experience=torch.tensor(1)), state, toy_step(later))
    return first, ended, state


OPTIMIZERS = [plain, adam, lambda: build_optimizer("nesterov", weight_decay=0.1)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    ("model", "shape"), [("mlp-8-8", (6,)), (convolutional(), (1, 6, 6))], ids=["mlp", "conv"]
)
def test_if_all_inputs_are_in_memory_no_output_on_them_changes(model, shape, optimizer):
    net, params = toy_net(model, shape, optimizer=optimizer)
    part = gpm(thresholds=(1.0,))
    first, ended, state = after_two_tasks(net, params, shape, part)
    assert_close(net.logits(state.params, first.x), net.logits(ended.params, first.x))
    other = toy_batch(2, shape, seed=7).x
    gap = net.logits(state.params, other) - net.logits(ended.params, other)
    assert gap.abs().max() > 1e-3


def test_if_the_task_is_given_the_head_is_free():
    units = [[1, 1, 0, 0], [0, 0, 1, 1]]
    net, params = toy_net("mlp-8", tasks=2, units=units)
    part = gpm(thresholds=(1.0,))
    state = start(part, net, params)
    assert list(state.extra) == ["1"]
    first = toy_batch(3, outputs=2)
    state = part.end_experience(net, state, ExperienceEnd(first, None))
    later = toy_batch(3, outputs=2, task=1, seed=1)
    later = later._replace(y=later.y + 2)
    after = part.step(replace(net, experience=torch.tensor(1)), state, toy_step(later))
    gradient = net.grad(state.params, later)["head.weight"]
    assert_close(after.params["head.weight"], state.params["head.weight"] - 0.1 * gradient)


def test_other_parameters_are_trained_in_the_first_task_alone():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.ReLU(), nn.Linear(5, 4))
    net, params = toy_net(module)
    _, ended, state = after_two_tasks(net, params, (6,), gpm())
    assert not torch.equal(ended.params["1.weight"], params["1.weight"])
    assert torch.equal(state.params["1.weight"], ended.params["1.weight"])
    assert not torch.equal(state.params["0.weight"], ended.params["0.weight"])


def test_the_memory_is_of_as_many_examples_as_asked_for():
    net, params = toy_net("mlp-8")
    examples = ExperienceEnd(toy_batch(5), None)
    part = gpm(thresholds=(1.0,), examples=2)
    memory = part.end_experience(net, start(part, net, params), examples).extra
    assert_close(memory["1"].trace(), torch.tensor(2.0, dtype=torch.float64))


def test_replicates_draw_examples_of_their_own():
    benchmark = Blobs()
    streams = [benchmark.stream(blobs(), seed) for seed in (0, 1)]
    part = gpm(thresholds=(1.0,), examples=2)
    backend = StreamReplicas(benchmark, part, streams, [0, 1], torch.device("cpu"))
    backend.learn(0, lambda _: None)
    first, second = backend.state.extra["1"]
    assert_close(first.trace(), torch.tensor(2.0), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(first, second, atol=1e-2)


def test_a_diverged_replicate_does_not_stop_the_others():
    net, params = toy_net("mlp-8")
    part = gpm()
    broken = {name: torch.full_like(value, torch.nan) for name, value in params.items()}
    state = start(part, net, broken)
    ended = part.end_experience(net, state, ExperienceEnd(toy_batch(5), None))
    assert ended.params["1.weight"].isnan().all()


@pytest.mark.parametrize("thresholds", [(), (0.9, 1.5)])
def test_thresholds_are_shares(thresholds):
    with pytest.raises(UserError, match="at most 1"):
        gpm(thresholds=thresholds)


def test_a_model_with_other_weights_is_refused():
    net, params = toy_net("plainconv-4", (1, 8, 8))
    with pytest.raises(UserError, match="Choose a model such as mlp-100-100 or conv"):
        gpm().init(net, params)
