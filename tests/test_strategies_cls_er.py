"""CLS-ER against a loop written from its algorithm, and in the limits in which it is replay."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, mse_loss
from torch.testing import assert_close

from retrograde import randomness
from retrograde.contract.toys import Blobs, blobs
from retrograde.parts.registry import Registry
from retrograde.testing import flat, start, toy_batch, toy_net, toy_step
from retrograde.training.stream_replicas import StreamReplicas

PARTS = Registry()
SETTINGS = {
    "lr": 0.2,
    "consistency": 0.7,
    "stable_decay": 0.8,
    "stable_probability": 0.4,
    "plastic_decay": 0.6,
    "plastic_probability": 0.7,
}


def draw(key, name):
    return float(randomness.uniform(randomness.named(torch.tensor(key), name)))


class Loop:
    """Algorithm 1 in plain PyTorch, with the ramp of the authors' code."""

    def __init__(self, module):
        self.working = copy.deepcopy(module)
        self.averages = {"stable": copy.deepcopy(module), "plastic": copy.deepcopy(module)}
        self.optimizer = torch.optim.SGD(self.working.parameters(), SETTINGS["lr"])
        self.steps = 0
        self.moves = {"stable": 0, "plastic": 0}

    def target(self, x, y):
        """Row by row, the logits of the average that is surer of the label."""
        rows = []
        for example, label in zip(x, y, strict=True):
            stable, plastic = (self.averages[name](example[None])[0] for name in self.averages)
            surer = stable.softmax(0)[label] > plastic.softmax(0)[label]
            rows.append((stable if surer else plastic).detach())
        return torch.stack(rows)

    def step(self, incoming, replayed, key):
        x, y = torch.cat([incoming.x, replayed.x]), torch.cat([incoming.y, replayed.y])
        loss = cross_entropy(self.working(x), y)
        if len(replayed.x):
            target = self.target(replayed.x, replayed.y)
            loss = loss + SETTINGS["consistency"] * mse_loss(self.working(replayed.x), target)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.steps += 1
        for name in self.averages:
            self.move(name, key)

    def move(self, name, key):
        if draw(key, name) >= SETTINGS[f"{name}_probability"]:
            return
        self.moves[name] += 1
        decay = min(1 - 1 / (self.steps + 1), SETTINGS[f"{name}_decay"])
        pairs = zip(self.averages[name].parameters(), self.working.parameters(), strict=True)
        for average, value in pairs:
            average.data = decay * average.data + (1 - decay) * value.data


def real(batch):
    return batch.at(batch.weight.nonzero()[:, 0])


def named(module):
    return flat({name: value.detach() for name, value in module.named_parameters()})


def test_several_steps_follow_a_loop_written_from_the_algorithm():
    net, params = toy_net("mlp-7")
    part, loop = PARTS.find("strategies", "cls_er")(**SETTINGS), Loop(net.module)
    loop.working.load_state_dict(params)
    state = start(part, net, params)
    random = torch.Generator().manual_seed(1)
    for key in range(9):
        incoming = toy_batch(5, padding=key % 2, seed=random)
        # At first nothing is in memory.
        replayed = toy_batch(6, padding=6 if key == 0 else 2, seed=random)
        loop.step(real(incoming), real(replayed), key)
        at_step = replace(net, key=torch.tensor(key))
        state = part.step(at_step, state, toy_step(incoming, replayed))
        assert_close(flat(state.params), named(loop.working))
        for name, average in loop.averages.items():
            assert_close(flat(state.extra[name]), named(average))
    assert all(0 < moves < 9 for moves in loop.moves.values())
    x = toy_batch(4, seed=9).x
    assert_close(part.predict(net, state, x, None), loop.averages["stable"](x))


def normalised():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 4))


def test_running_statistics_are_averaged_and_predict():
    module = normalised()
    net, params = toy_net(module)
    part = PARTS.find("strategies", "cls_er")(**(SETTINGS | {"stable_probability": 1.0}))
    before = start(part, net, params)
    data = toy_step(toy_batch(5), toy_batch(6, seed=1))
    state = part.step(net, before, data)
    found = net.notes.statistics
    stable = state.extra["stable"]
    # After the first step an average is halfway.
    assert_close(stable["1.running_mean"], found["1.running_mean"] / 2)
    assert_close(stable["1.running_var"], 0.5 + found["1.running_var"] / 2)
    assert stable["1.num_batches_tracked"].dtype == torch.int64
    x = toy_batch(4, seed=9).x
    expected = functional_call(module.eval(), stable, (x,))
    # The net's own statistics are others, which the stable model does not use.
    current = replace(net.in_eval_mode(), buffers=found)
    assert_close(part.predict(current, state, x, None), expected)


def learned(name, **settings):
    """Replicates at the end of a stream."""
    benchmark = Blobs()
    streams = [benchmark.stream(blobs(), seed) for seed in (0, 1)]
    part = PARTS.find("strategies", name)(lr=0.05, buffer_size=9, replay_batch=4, **settings)
    backend = StreamReplicas(benchmark, part, streams, [0, 1], torch.device("cpu"))
    for number in range(3):
        backend.learn(number, lambda _: None)
    return backend.state


@pytest.mark.parametrize(("consistency", "alike"), [(0.0, True), (1.0, False)])
def test_without_consistency_the_working_model_is_that_of_replay(consistency, alike):
    found = flat(learned("cls_er", consistency=consistency).params)
    expected = flat(learned("er").params)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6) == alike


def test_replicates_move_at_steps_of_their_own():
    state = learned("cls_er", consistency=0.0, stable_probability=0.5)
    same = learned("cls_er", consistency=0.0, stable_probability=1.0)
    gaps = flat(state.extra["stable"]) - flat(same.extra["stable"])
    assert gaps.abs().max() > 1e-4
