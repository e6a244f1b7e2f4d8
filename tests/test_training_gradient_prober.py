"""Looking at gradients along a stream: what is seen, against autograd by hand; and that nothing is disturbed."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from retrograde.contract.toys import Blobs, blobs
from retrograde.data.dataset import Dataset
from retrograde.data.sources import load
from retrograde.errors import UserError
from retrograde.interface.batch import Batch
from retrograde.interface.learner import Learner
from retrograde.metrics.alignment import cosines
from retrograde.networks.build import build
from retrograde.parts.registry import Registry
from retrograde.randomness import torch_seed
from retrograde.streams.cuts import split_classes
from retrograde.streams.rows import Rows
from retrograde.streams.schedule import Schedule, probe_rows
from retrograde.streams.stream import Stream
from retrograde.training.cell_check import check
from retrograde.training.clocks import Clocks
from retrograde.training.gradient_prober import GradientProber
from retrograde.training.stream_loop import train
from retrograde.training.stream_replicas import StreamReplicas

CPU = torch.device("cpu")
PARTS = Registry()
LR = 0.1


@dataclass
class Plain(Learner):
    """SGD in plain PyTorch: what `finetune` does, as existing code would."""

    lr: float = LR

    def setup(self, model):
        self.model = model

    def observe(self, x, y, task):
        loss = cross_entropy(self.model(x), y)
        for parameter, gradient in zip(
            self.model.parameters(),
            torch.autograd.grad(loss, [*self.model.parameters()]),
            strict=True,
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


class Seen(NamedTuple):
    """What plain autograd sees at one moment: the loss of each task, and its gradient on each half and as a whole."""

    loss: torch.Tensor
    halves: torch.Tensor  # (task, half, number)
    whole: torch.Tensor  # (task, number)


class ByHand:
    """A model trained by plain SGD on the steps of `finetune`, and its gradients on the probe examples."""

    def __init__(self, benchmark, data, seed):
        self.stream, self.data = benchmark.stream(data, seed), data
        outputs = self.stream.units.shape[1]
        self.model = build(benchmark.model, data.shape, outputs, torch_seed(seed, "weights"))
        self.backend = StreamReplicas(benchmark, finetune(), [self.stream], [seed], CPU)
        self.rows = probe_rows(self.stream, benchmark.probe_examples, seed)

    def steps(self, number):
        for step in self.backend.memories.rows(number)[:, 0]:
            used = step[step.real]
            descend(self.model.parameters(), self.loss(self.data.x_train, used.row, used.y))
            yield flat([p.detach().clone() for p in self.model.parameters()])

    def loss(self, x, row, y):
        return cross_entropy(self.model(torch.from_numpy(x[row])), torch.from_numpy(y.copy()))

    def see(self, tasks):
        halves, losses, whole = [], [], []
        for of_task in self.rows[:tasks]:
            real = [half[half.real] for half in of_task]
            halves.append(torch.stack([self.gradient(half)[1] for half in real]))
            loss, gradient = self.gradient(Rows.concat(real))
            losses.append(loss)
            whole.append(gradient)
        return Seen(torch.stack(losses), torch.stack(halves), torch.stack(whole))

    def gradient(self, rows):
        loss = self.loss(self.data.x_test, rows.row, rows.y)
        return loss.detach(), flat(torch.autograd.grad(loss, [*self.model.parameters()]))

    def put(self, params):
        torch.nn.utils.vector_to_parameters(params.clone(), self.model.parameters())


def test_products_and_ceilings_are_those_of_plain_autograd():
    benchmark, data = Blobs(probe_examples=6), blobs()
    probes, hand = run(benchmark, finetune(), data)[0].gradients, ByHand(benchmark, data, 0)
    for number, probe in enumerate(probes):
        [*hand.steps(number)]
        seen = hand.see(min(number + 2, 3))
        first, second = seen.halves.unbind(1)
        expected = (first @ second.T + second @ first.T) / 2
        assert np.allclose(probe.loss, seen.loss, rtol=2e-3)
        assert np.allclose(
            probe.products, expected, rtol=2e-3, atol=1e-4 * float(expected.abs().max())
        )
        assert np.allclose(probe.ceiling, torch.cosine_similarity(first, second), atol=2e-3)


@pytest.mark.parametrize("part", [finetune(), Plain()], ids=["pure", "opaque"])
def test_an_account_is_that_of_plain_autograd_at_both_ends_and_in_the_middle_of_each_step(part):
    benchmark, data = Blobs(probe_examples=6, probe_every=1), blobs()
    accounts, hand = run(benchmark, part, data)[0].accounts, ByHand(benchmark, data, 0)
    assert [account.task for account in accounts] == [1, 2]
    position = [*hand.steps(0)][-1]
    for account in accounts:
        expected, position = _booked(hand, account.task, position)
        mine = [account.before, account.after, account.slope, account.curvature, account.exposure]
        for name, own, other in zip(
            ("before", "after", "slope", "curvature", "exposure"), mine, expected[:-1], strict=True
        ):
            assert np.allclose(own, other, rtol=5e-3, atol=2e-5), name
        assert account.length == pytest.approx(float(expected[-1]), rel=2e-3)
        assert account.windows == 5


def _booked(hand, task, position):
    """The numbers of an account, from gradients of the model put at each place."""
    start = hand.see(task)
    before, slope, path, exposure, length = start.loss, 0, 0, 0, 0
    for now in [*hand.steps(task)]:
        step = now - position
        hand.put((now + position) / 2)
        amid = hand.see(task)
        hand.put(now)
        end = hand.see(task)
        slope = slope + start.whole @ step
        path = path + (start.whole + 4 * amid.whole + end.whole) @ step / 6
        exposure = exposure + (_length(start) + _length(end)) * step.norm() / 2
        length = length + step.norm()
        start, position = end, now
    return (before, start.loss, slope, path - slope, exposure, length), position


def _length(seen):
    return (seen.halves[:, 0] * seen.halves[:, 1]).sum(-1).clamp(min=0).sqrt()


class Bowls:
    """A backend whose task j has the loss (p - c_j)' H_j (p - c_j) / 2, at whatever place it is put."""

    benchmark = Blobs(probe_examples=2, probe_every=1)
    keeps_statistics = False
    schedule = Schedule()

    def __init__(self, hessians, centres):
        self.hessians, self.centres = torch.stack(hessians), torch.stack(centres)
        self.place = torch.zeros_like(centres[0])

    def parameters(self):
        return {"p": self.place[None]}

    def examples(self, rows):
        task = torch.from_numpy(rows.task)
        return Batch(task[..., None].float(), task, task, torch.ones(task.shape))

    def gradients(self, params, parts):
        task = parts.task[0, :, 0]
        away = params["p"][0] - self.centres[task]
        slope = torch.einsum("tij,tj->ti", self.hessians[task], away)
        return ((away * slope).sum(-1) / 2)[None], {"p": slope[None]}

    def walk(self, *path):
        """The accounts of a walk: a list of places for each task, from the origin on."""
        stream = self.benchmark.stream(blobs(), 0)
        prober = GradientProber(self, [stream], [0], Clocks(CPU))
        for places in path:
            for place in places:
                self.place = place
                prober.advance(1)
            prober.end_experience(np.array([len(places)]))
        return prober.accounts[0]


def vector(*numbers):
    return torch.tensor(numbers)


def test_of_quadratic_losses_the_account_is_exact_and_nothing_remains():
    random = torch.Generator().manual_seed(0)
    roots = [torch.randn(4, 4, generator=random) for _ in range(3)]
    bowls = Bowls(
        [root @ root.T for root in roots], [torch.randn(4, generator=random) for _ in range(3)]
    )
    steps = torch.randn(7, 4, generator=random)
    places = steps.cumsum(0)
    account, _ = bowls.walk([places[0]], [*places[1:4]], [*places[4:]])
    starts, taken = places[:3], steps[1:4]
    slope = ((starts - bowls.centres[0]) @ bowls.hessians[0] * taken).sum()
    curvature = (taken @ bowls.hessians[0] * taken).sum() / 2
    assert account.slope == pytest.approx([float(slope)], rel=1e-3)
    assert account.curvature == pytest.approx([float(curvature)], rel=1e-3)
    assert account.length == pytest.approx(float(taken.norm(dim=1).sum()), rel=1e-3)
    assert account.remainder == pytest.approx([0], abs=2e-3 * abs(float(curvature)))
    assert account.observed == pytest.approx([float(slope + curvature)], rel=1e-3)


def test_a_task_whose_parameters_no_other_moves_has_an_account_of_zeros():
    first, second = torch.diag(vector(1.0, 1, 0, 0)), torch.diag(vector(0.0, 0, 1, 1))
    bowls = Bowls(
        [first, second, second], [vector(1.0, 2, 0, 0), vector(0.0, 0, 3, 4), vector(0.0, 0, 5, 6)]
    )
    account, _ = bowls.walk(
        [vector(0.5, 1, 0, 0)], [vector(0.5, 1, 1, 2), vector(0.5, 1, 3, 4)], [vector(0.5, 1, 5, 6)]
    )
    assert account.observed.tolist() == account.slope == account.curvature == [0.0]
    assert account.exposure[0] > 0


@dataclass(frozen=True, kw_only=True)
class Copies(Blobs):
    """The same task three times."""

    def cut(self, data: Dataset, seed: int) -> Stream:
        return split_classes(data, [np.arange(1)] * 3, self.scenario)


def constant():
    """One example again and again, in six classes."""
    x, y = np.ones((6 * 8, 12), np.float32), np.repeat(np.arange(6), 8)
    return Dataset("constant", x, y, x, y)


def test_copies_of_a_task_align_and_small_steps_go_straight_down_their_loss():
    part = PARTS.find("strategies", "finetune")(lr=1e-3)
    outcome = run(Copies(batch_size=8, probe_every=1), part, constant())[0]
    for probe in outcome.gradients:
        assert np.allclose(cosines(probe), 1, atol=1e-3)
        assert np.allclose(probe.ceiling, 1, atol=1e-3)
    for account in outcome.accounts:
        assert -account.interference / account.exposure == pytest.approx(
            np.ones(account.task), abs=1e-2
        )


class Linear(nn.Module):
    """Linear in the input, without a bias."""

    def __init__(self, shape, outputs):
        super().__init__()
        self.layer = nn.Linear(*shape, outputs, bias=False)

    def forward(self, x):
        return self.layer(x)


def test_orthogonal_linear_tasks_neither_align_nor_interfere():
    x = np.kron(
        np.eye(6, dtype=np.float32), np.ones((4, 2), np.float32)
    )  # every class has inputs of its own
    data = Dataset("apart", x, np.repeat(np.arange(6), 4), x, np.repeat(np.arange(6), 4))
    outcome = run(
        Blobs(model=f"{Path(__file__)}:Linear", batch_size=4, probe_every=1), finetune(), data
    )[0]
    for probe in outcome.gradients:
        products = probe.products
        assert np.allclose(products - np.diag(products.diagonal()), 0)
    for account in outcome.accounts:
        assert np.allclose(account.observed, 0)
        assert np.allclose([account.slope, account.curvature], 0)


@pytest.mark.parametrize(
    "part",
    [finetune(), PARTS.get("strategies", "lamaml"), Plain()],
    ids=["finetune", "lamaml", "opaque"],
)
def test_probing_changes_no_result(part):
    seen, unseen = (
        run(Blobs(probe_examples=probe, probe_every=every), part, blobs(), (0,))
        for probe, every in ((8, 2), (0, 0))
    )
    assert seen[0].correct == unseen[0].correct
    assert not unseen[0].gradients
    assert not unseen[0].accounts
    assert len(seen[0].gradients) == 3
    assert len(seen[0].accounts) == 2


def test_probing_leaves_parameters_buffers_and_generators_alone():
    benchmark = Blobs(model="mlpbn-8", probe_every=1)
    backend = StreamReplicas(benchmark, finetune(), [benchmark.stream(blobs(), 0)], [0], CPU)
    prober = GradientProber(backend, backend.streams, [0], Clocks(CPU))
    kept = {
        name: value.clone()
        for name, value in {**backend.state.params, **backend.state.buffers}.items()
    }
    generator = torch.get_rng_state()
    prober.advance(1)
    prober.end_experience(np.array([1]))
    prober.advance(1)
    assert len(prober.probes[0]) == 1
    assert all(
        torch.equal(value, kept[name])
        for name, value in {**backend.state.params, **backend.state.buffers}.items()
    )
    assert torch.equal(generator, torch.get_rng_state())


def test_windows_are_so_many_steps_long_and_the_last_one_ends_with_the_task():
    outcome = run(Blobs(probe_every=3, batch_size=5), finetune(), blobs())[0]
    assert [probe.step for probe in outcome.gradients] == [10, 20, 30]
    assert [len(probe.loss) for probe in outcome.gradients] == [2, 3, 3]
    assert [account.windows for account in outcome.accounts] == [
        4,
        4,
    ]  # after 3, 6, 9 and 10 steps of a task


def test_a_strategy_with_a_pace_of_its_own_has_windows_of_as_many_arrivals():
    part = PARTS.find("strategies", "mer")(
        batches=2, replay_batch=3, buffer_size=20
    )  # two steps for each example
    outcome = run(Blobs(probe_every=3, batch_size=5, updates_per_batch=2), part, blobs())[0]
    assert outcome.counts["steps"] == 3 * 46 * 2
    assert [account.windows for account in outcome.accounts] == [
        7,
        7,
    ]  # of 15 steps; 6 of 15 and one of 2, of 92


def test_without_an_interval_the_window_is_the_whole_task():
    outcome = run(Blobs(batch_size=5), finetune(), blobs())[0]
    assert [account.windows for account in outcome.accounts] == [1, 1]


def test_losses_of_an_account_are_those_of_the_probes_at_both_ends():
    outcome = run(Blobs(probe_every=2), finetune(), blobs())[0]
    for account in outcome.accounts:
        before, after = (
            outcome.gradients[task].loss[: account.task]
            for task in (account.task - 1, account.task)
        )
        assert account.before == pytest.approx(before, rel=1e-3)
        assert account.after == pytest.approx(after, rel=1e-3)


def test_layers_are_looked_at_when_the_stream_is_over():
    *earlier, last = run(Blobs(), finetune(), blobs())[0].gradients
    assert not any(probe.layers for probe in earlier)
    assert set(last.layers) == {"1", "head"}
    assert np.allclose(sum(map(np.array, last.layers.values())), last.inner, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("uneven", [False, True])
def test_replicates_are_probed_as_they_are_alone(uneven):
    benchmark = Blobs(uneven=uneven, probe_every=2)
    together, alone = (
        run(benchmark, finetune(), blobs(), (0, 1, 2)),
        run(benchmark, finetune(), blobs(), (1,)),
    )
    assert together[1].gradients[-1].step == together[1].counts["steps"]
    for mine, own in zip(together[1].gradients, alone[0].gradients, strict=True):
        assert mine.step == own.step
        assert np.allclose(mine.inner, own.inner, rtol=2e-2, atol=1e-3)
        assert np.allclose(mine.loss, own.loss, rtol=2e-3)
    for mine, own in zip(together[1].accounts, alone[0].accounts, strict=True):
        assert np.allclose(mine.slope, own.slope, rtol=1e-2, atol=1e-3)
        assert mine.windows == own.windows


def test_a_replicate_that_diverged_has_neither_probes_nor_accounts():
    outcome = run(Blobs(), PARTS.find("strategies", "finetune")(lr=1e30), blobs())[0]
    assert outcome.gradients == outcome.accounts == []


def test_a_single_probe_example_is_refused():
    with pytest.raises(UserError, match="probe_examples=1"):
        check(Blobs(probe_examples=1), finetune(), Blobs().stream(blobs(), 0), CPU)


@dataclass
class Longer(Plain):
    """One that adds a layer to its model."""

    def setup(self, model):
        self.model = model
        self.model.append(nn.Linear(6, 6))


@dataclass
class Copying(Plain):
    """One that trains a copy of its model."""

    def setup(self, model):
        self.model = copy.deepcopy(model)


@dataclass
class Headless(Plain):
    """One that takes the head off its model."""

    def setup(self, model):
        self.model, self.head = model, model.head
        self.model.head = nn.Identity()

    def observe(self, x, y, task):
        loss = cross_entropy(self.head(self.model(x)), y)
        for parameter, gradient in zip(
            self.model.parameters(),
            torch.autograd.grad(loss, [*self.model.parameters()]),
            strict=True,
        ):
            parameter.data -= self.lr * gradient

    def predict(self, x, task):
        return self.head(self.model(x))


@pytest.mark.parametrize(
    "learner", [Longer(), Copying(), Headless()], ids=lambda learner: type(learner).__name__
)
def test_a_learner_that_does_not_train_the_whole_model_it_was_given_is_not_probed(learner):
    outcome = run(Blobs(), learner, blobs())[0]
    assert outcome.finite
    assert outcome.gradients == outcome.accounts == []


@dataclass
class LongerAtLast(Plain):
    """One that adds a layer to its model when its third task has ended."""

    ended: int = 0

    def end_experience(self):
        self.ended += 1
        if self.ended == 3:
            self.model.append(nn.Linear(6, 6))


@pytest.mark.parametrize("every", [0, 4])
def test_a_path_of_which_the_end_is_out_of_sight_has_no_account(every):
    outcome = run(Blobs(probe_every=every), LongerAtLast(), blobs())[0]
    assert [account.task for account in outcome.accounts] == [1]
    assert [probe.task for probe in outcome.gradients] == [0, 1]


@dataclass
class Switching(Plain):
    """One that predicts in evaluation mode."""

    def observe(self, x, y, task):
        self.model.train()
        super().observe(x, y, task)

    def predict(self, x, task):
        return self.model.eval()(x)


@pytest.mark.parametrize("part", [finetune(), Switching()], ids=["pure", "opaque"])
def test_a_model_that_keeps_running_statistics_is_probed_and_has_no_account(part):
    outcome = run(Blobs(model="mlpbn-8", probe_every=2), part, blobs())[0]
    assert len(outcome.gradients) == 3
    assert outcome.accounts == []


@dataclass
class Freezing(Plain):
    """One that freezes a layer after its first task."""

    def observe(self, x, y, task):
        if task == 1:
            self.model[1].weight.requires_grad_(False)
        learning = (each for each in self.model.parameters() if each.requires_grad)
        descend(learning, cross_entropy(self.model(x), y), self.lr)


def test_a_learner_may_freeze_parameters_on_its_way():
    assert [len(probe.loss) for probe in run(Blobs(), Freezing(), blobs())[0].gradients] == [
        2,
        3,
        3,
    ]


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
    assert run(Blobs(model=f"{Path(__file__)}:Rounded"), Plain(), blobs())[0].gradients


def test_probe_examples_are_test_examples_of_the_task_and_padding_follows():
    stream = PARTS.get("benchmarks", "split").stream(load("digits", Path()), 0)
    few, many = (probe_rows(stream, count, 0)[1] for count in (10, 2000))
    assert few.shape == (2, 5)
    assert sorted(many[many.real].row) == sorted(stream.tasks[1].test.row)
    for mine, more in zip(few, many, strict=True):
        assert mine.tuples() == more[:5].tuples()
        assert (np.diff(more.weight) <= 0).all()


def test_no_two_halves_share_an_example_though_tasks_do():
    stream = PARTS.get("benchmarks", "permuted").stream(load("digits", Path()), 0)
    rows = probe_rows(stream, 400, 0)
    first, second = (set(half[half.real].row) for half in (rows[:, 0], rows[:, 1]))
    assert first.isdisjoint(second)
    assert len(first) + len(second) > 400  # tasks have examples of their own, too


def test_a_half_without_examples_is_padding():
    data = blobs()
    few = replace(
        data, x_test=data.x_test[::10], y_test=data.y_test[::10]
    )  # one test example of each class
    outcome = run(Blobs(probe_examples=8), finetune(), few)[0]
    assert all(np.isfinite(probe.loss).all() for probe in outcome.gradients)


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
