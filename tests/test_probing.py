"""Looking at gradients along a stream: what is seen, against autograd by hand; and that nothing is disturbed."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from retrograde.checks import Blobs, blobs
from retrograde.clocks import Clocks
from retrograde.data import Dataset, load
from retrograde.learner import Learner
from retrograde.models import build
from retrograde.probing import Prober
from retrograde.registry import Registry
from retrograde.schedule import probe_rows
from retrograde.seeds import torch_seed
from retrograde.stream import Stream, split_classes
from retrograde.train import train
from retrograde.vectorise import Vectorised

CPU = torch.device("cpu")
PARTS = Registry()
LR = 0.1


@dataclass
class Plain(Learner):
    """SGD in plain PyTorch: what `finetune` does, as existing code would."""

    lr: float = LR

    def begin(self, model):
        self.model = model

    def observe(self, x, y, task):
        loss = cross_entropy(self.model(x), y)
        for parameter, gradient in zip(
            self.model.parameters(), torch.autograd.grad(loss, [*self.model.parameters()]), strict=True
        ):
            parameter.data -= self.lr * gradient

    def predict(self, x, task):
        return self.model(x)


def descend(parameters, loss, lr=LR):
    """One step of SGD, in place."""
    parameters = list(parameters)
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.data -= lr * gradient


def finetune():
    return PARTS.find("strategies", "finetune")(lr=LR)


def run(benchmark, part, data, seeds=(0,)):
    streams = [benchmark.stream(data, seed) for seed in seeds]
    return train(benchmark, part, streams, list(seeds), CPU, "off")


def flat(gradients):
    return torch.cat([gradient.flatten() for gradient in gradients])


def by_hand(benchmark, data, seed):
    """After each task: the gradients of all tasks seen and the next, the losses there, and the parameters; plain autograd."""
    stream = benchmark.stream(data, seed)
    model = build(benchmark.model, data.shape, stream.units.shape[1], torch_seed(seed, "weights"))
    backend = Vectorised(benchmark, finetune(), [stream], [seed], CPU)
    for number in range(len(stream.tasks)):
        for row, _, y, *_ in (step[step[:, 3] > 0].T for step in backend.rows(number)[:, 0]):
            descend(model.parameters(), cross_entropy(model(torch.from_numpy(data.x_train[row])), torch.from_numpy(y)))
        looked = range(min(number + 2, len(stream.tasks)))
        rows = [probe_rows(stream, task, benchmark.probe, seed) for task in looked]
        losses = [_loss(model, data, r[r[:, 3] > 0]) for r in rows]
        gradients = torch.stack([flat(torch.autograd.grad(loss, [*model.parameters()])) for loss in losses])
        yield gradients, torch.stack(losses).detach(), flat([p.detach().clone() for p in model.parameters()])


def _loss(model, data, rows):
    return cross_entropy(model(torch.from_numpy(data.x_test[rows[:, 0]])), torch.from_numpy(rows[:, 2].copy()))


def normalised(rows):
    return rows / rows.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("part", [finetune(), Plain()], ids=["pure", "opaque"])
def test_losses_norms_cosines_and_updates_are_those_of_plain_autograd(part):
    benchmark, data = Blobs(probe=6), blobs()
    probes, before = run(benchmark, part, data)[0].probes, None
    for number, (gradients, losses, params) in enumerate(by_hand(benchmark, data, 0)):
        probe, cosines = probes[number], normalised(gradients) @ normalised(gradients).T
        assert np.allclose(probe.loss, losses, rtol=2e-3)
        assert np.allclose(probe.norm, gradients.norm(dim=1), rtol=2e-3)
        assert np.allclose(probe.cosines, cosines, atol=1e-3)
        if before:
            step = params - before[1]
            assert np.allclose(probe.predicted, before[0][:number] @ step, rtol=1e-2, atol=1e-5)
            assert np.allclose(probe.update, -normalised(before[0][:number]) @ normalised(step), atol=1e-3)
        before = gradients, params


@dataclass(frozen=True, kw_only=True)
class Copies(Blobs):
    """The same task three times."""

    def cut(self, data: Dataset, seed: int) -> Stream:
        stream = split_classes(data, [np.arange(2)], self.scenario)
        return replace(stream, tasks=stream.tasks * 3, units=np.repeat(stream.units, 3, axis=0))


def test_cosines_of_copies_of_a_task_are_one():
    for probe in run(Copies(), finetune(), blobs())[0].probes:
        assert np.allclose(probe.cosines, 1, atol=1e-3)


class Linear(nn.Module):
    """Linear in the input, without a bias."""

    def __init__(self, shape, outputs):
        super().__init__()
        self.layer = nn.Linear(*shape, outputs, bias=False)

    def forward(self, x):
        return self.layer(x)


def test_cosines_of_orthogonal_linear_tasks_are_zero():
    x = np.kron(np.eye(6, dtype=np.float32), np.ones((4, 2), np.float32))  # every class has inputs of its own
    data = Dataset("apart", x, np.repeat(np.arange(6), 4), x, np.repeat(np.arange(6), 4))
    benchmark = Blobs(model=f"{Path(__file__)}:Linear", batch=4)
    for probe in run(benchmark, finetune(), data)[0].probes:
        assert np.allclose(probe.cosine, 0)
        assert np.allclose(probe.update, 0)


@pytest.mark.parametrize("part", [finetune(), PARTS.get("strategies", "lamaml"), Plain()], ids=["finetune", "lamaml", "opaque"])
def test_probing_changes_no_result(part):
    seen, unseen = (run(Blobs(probe=probe, probe_every=every), part, blobs(), (0,)) for probe, every in ((8, 2), (0, 0)))
    assert seen[0].correct == unseen[0].correct
    assert not unseen[0].probes
    assert len(seen[0].probes) > 3


def test_a_look_leaves_parameters_buffers_and_generators_alone():
    benchmark = Blobs(model="mlpbn-8", probe_every=1)
    backend = Vectorised(benchmark, finetune(), [benchmark.stream(blobs(), 0)], [0], CPU)
    prober = Prober(backend, backend.streams, [0], Clocks(CPU))
    kept = {name: value.clone() for name, value in {**backend.state.params, **backend.buffers}.items()}
    generator = torch.get_rng_state()
    prober.advance(1)
    assert len(prober.probes[0]) == 1
    assert all(torch.equal(value, kept[name]) for name, value in {**backend.state.params, **backend.buffers}.items())
    assert torch.equal(generator, torch.get_rng_state())


def test_looks_amid_a_task_come_every_so_many_steps():
    probes = run(Blobs(probe_every=3, batch=5), finetune(), blobs())[0].probes
    amid = [probe.step for probe in probes if not probe.ended]
    assert amid == [3, 6, 9, 12, 15, 18, 21, 24, 27]  # at 30 the last task ends
    assert [probe.step for probe in probes if probe.ended] == [10, 20, 30]
    assert [len(probe.loss) for probe in probes if probe.ended] == [2, 3, 3]
    assert all(probe.fault() == "" for probe in probes)


def test_layers_are_looked_at_when_the_stream_is_over():
    *earlier, last = run(Blobs(), finetune(), blobs())[0].probes
    assert not any(probe.layers for probe in earlier)
    assert set(last.layers) == {"1", "head"}


def test_replicates_are_probed_as_they_are_alone():
    together = run(Blobs(), finetune(), blobs(), (0, 1, 2))
    alone = run(Blobs(), finetune(), blobs(), (1,))
    for mine, own in zip(together[1].probes, alone[0].probes, strict=True):
        assert np.allclose(mine.cosine, own.cosine, atol=2e-3)
        assert np.allclose(mine.loss, own.loss, rtol=2e-3)


def test_a_replicate_that_diverged_has_no_probes():
    assert run(Blobs(), PARTS.find("strategies", "finetune")(lr=1e30), blobs())[0].probes == []


def test_a_look_amid_a_task_at_its_very_end_gives_way_to_that_of_the_end():
    often, seldom = (run(Blobs(probe_every=every, batch=5), finetune(), blobs())[0].probes for every in (10, 0))
    assert often == seldom


@dataclass
class Longer(Plain):
    """One that adds a layer to its model."""

    def begin(self, model):
        self.model = model
        self.model.append(nn.Linear(6, 6))


@dataclass
class Copying(Plain):
    """One that trains a copy of its model."""

    def begin(self, model):
        self.model = copy.deepcopy(model)


@dataclass
class Headless(Plain):
    """One that takes the head off its model."""

    def begin(self, model):
        self.model, self.head = model, model.head
        self.model.head = nn.Identity()

    def observe(self, x, y, task):
        loss = cross_entropy(self.head(self.model(x)), y)
        for parameter, gradient in zip(
            self.model.parameters(), torch.autograd.grad(loss, [*self.model.parameters()]), strict=True
        ):
            parameter.data -= self.lr * gradient

    def predict(self, x, task):
        return self.head(self.model(x))


@pytest.mark.parametrize("learner", [Longer(), Copying(), Headless()], ids=lambda learner: type(learner).__name__)
def test_a_learner_that_does_not_train_the_whole_model_it_was_given_is_not_probed(learner):
    outcome = run(Blobs(), learner, blobs())[0]
    assert outcome.sound
    assert outcome.probes == []


@dataclass
class Freezing(Plain):
    """One that freezes a layer after its first task."""

    def observe(self, x, y, task):
        if task == 1:
            self.model[1].weight.requires_grad_(False)
        learning = (each for each in self.model.parameters() if each.requires_grad)
        descend(learning, cross_entropy(self.model(x), y), self.lr)


def test_a_learner_may_freeze_parameters_on_its_way():
    assert [len(probe.loss) for probe in run(Blobs(), Freezing(), blobs())[0].probes] == [2, 3, 3]


class Rounding(torch.autograd.Function):
    """A straight-through estimator, in the form that function transforms do not take."""

    @staticmethod
    def forward(_, x):
        return (8 * x).round() / 8

    @staticmethod
    def backward(_, gradient):
        return gradient


class Rounded(nn.Module):
    """Linear on rounded inputs."""

    def __init__(self, shape, outputs):
        super().__init__()
        self.layer = nn.Linear(*shape, outputs)

    def forward(self, x):
        return Rounding.apply(self.layer(x))


def test_a_learners_model_may_be_one_that_function_transforms_do_not_take():
    assert run(Blobs(model=f"{Path(__file__)}:Rounded"), Plain(), blobs())[0].probes


def test_probe_examples_are_test_examples_of_the_task_and_padding_follows():
    stream = PARTS.get("benchmarks", "split").stream(load("digits", Path()), 0)
    few, many = (probe_rows(stream, 1, count, 0) for count in (5, 1000))
    real = many[many[:, 3] > 0]
    assert set(few[:, 0]) <= set(stream.tasks[1].test.row)
    assert sorted(real[:, 0]) == sorted(stream.tasks[1].test.row)
    assert (many[: len(real), 3] == 1).all()
    assert np.array_equal(few[:, :3], many[:5, :3])


def test_a_clock_inside_another_stops_the_outer_one():
    import time

    clocks = Clocks(CPU)
    with clocks("train"):
        with clocks("probe"):
            time.sleep(0.05)
        with clocks("probe"):
            time.sleep(0.05)
    assert clocks.seconds["probe"] >= 0.1
    assert clocks.seconds["train"] < 0.05
