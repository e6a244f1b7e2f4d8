"""Adapting to tasks, against plain PyTorch that takes one replicate, one task and, where it must, one query at a time."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, l1_loss, mse_loss
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from retrograde.data.sources import load
from retrograde.episodes.distribution import TaskBatch, TaskDistribution
from retrograde.interface.metastrategy import MetaStrategy
from retrograde.networks.build import build
from retrograde.parts.registry import Registry
from retrograde.randomness import torch_seed
from retrograde.training import adaptation, episode_replicas
from retrograde.training.adaptation import account_inner_steps, fit_curves, mean_cosines, measure
from retrograde.training.episode_replicas import EpisodeReplicas, Tasks

CPU = torch.device("cpu")
PARTS = Registry()
DIGITS = load("digits", Path())
FewShot, Sinusoid = (PARTS.find("benchmarks", name) for name in ("fewshot", "sinusoid"))
MAML = PARTS.find("strategies", "maml")
SMALL = {"meta_batch_size": 3, "iterations": 7, "test_queries": 4}


class Case(NamedTuple):
    """A benchmark, and what a test must know of it: the size of a test task's support, the loss and an inner rate."""

    benchmark: object
    cut: int
    loss: object
    lr: float

    def ready(self, strategy=None, seeds=(0, 1), learnt=2):
        """Replicates that have met some meta-batches."""
        part, sources = (
            strategy or MAML(inner_lr=self.lr, test_steps=3),
            [self.benchmark.distribution(DIGITS, seed) for seed in seeds],
        )
        episodes = EpisodeReplicas(self.benchmark, part, sources, list(seeds), CPU)
        episodes.learn(learnt, lambda _: None)
        return episodes


def few_shot(model, **settings):
    settings = {"ways": 3, "shots": 2, "test_shots": 3, "split": (4, 3, 3), **SMALL, **settings}
    return Case(FewShot(model=model, **settings), 9, cross_entropy, 0.1)


WAVES = Case(Sinusoid(model="mlp-8", shots=6, queries=3, test_shots=4, **SMALL), 4, mse_loss, 0.02)
CASES = {
    "waves": WAVES,
    "mlp": few_shot("mlp-8"),
    "normalised": few_shot("mlpbn-8"),
    "conv4": few_shot("conv4-4"),
}
RATES = {"sgd": 1.0, "momentum": 0.5, "adam": 0.1}  # by which the inner rate is multiplied
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


class Plain:
    """One task as plain PyTorch sees it: a module with a replicate's learned weights, and the task's examples."""

    def __init__(self, case, episodes, tasks, replicate, task):
        x, y = (
            tasks.x[replicate, task].float() * episodes.sources[0].scale,
            tasks.y[replicate, task],
        )
        if episodes.strategy.sees_task_parameters:
            x = torch.stack([torch.cat([row, tasks.parameters[replicate, task]]) for row in x])
        self.support, self.query, self.loss = (
            (x[: case.cut], y[: case.cut]),
            (x[case.cut :], y[case.cut :]),
            case.loss,
        )
        model, outputs = episodes.benchmark.model, episodes.sources[0].outputs
        self.module = build(model, tuple(x.shape[1:]), outputs, seed=9).train()
        self.module.load_state_dict(
            {name: value[replicate] for name, value in episodes.state.params.items()}
        )

    def after(self, part, look):
        """What `look` gives after 0, 1, ... steps of the inner optimiser."""
        optimizer = make_optimizer(part.inner_optimizer, self.module, part.inner_lr)
        seen = [look(self)]
        for _ in range(part.test_steps):
            optimizer.zero_grad()
            self.loss(self.module(self.support[0]), self.support[1]).backward()
            optimizer.step()
            seen.append(look(self))
        return torch.tensor(seen)

    def loss_of(self, outputs):
        """The mean loss of the queries, given the module's outputs."""
        return self.loss(outputs, self.query[1]).item()


def make_optimizer(name, model, lr):
    if name == "adam":
        return torch.optim.Adam(model.parameters(), lr=lr)
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9 if name == "momentum" else 0)


def plainly(case, episodes, tasks, look):
    """What `look` gives of every replicate, inner step and task."""
    pairs = [
        [Plain(case, episodes, tasks, r, t) for t in range(tasks.x.shape[1])]
        for r in range(len(episodes.seeds))
    ]
    return torch.stack(
        [torch.stack([p.after(episodes.strategy, look) for p in row], 1) for row in pairs]
    )


def query_loss(plain):
    return plain.loss_of(plain.module(plain.query[0]))


def right(plain):
    return int((plain.module(plain.query[0]).argmax(1) == plain.query[1]).sum())


def ties(plain):
    """How many queries have two best answers, of which rounding picks one."""
    best = plain.module(plain.query[0]).topk(2).values
    return int((best[:, 0] - best[:, 1] < 1e-4).sum())


def query_loss_alone(plain):
    """The mean loss of queries that pass one by one, each with the support."""
    outputs = [plain.module(torch.cat([plain.support[0], x[None]]))[-1] for x in plain.query[0]]
    return plain.loss_of(torch.stack(outputs))


def angle(plain):
    """The cosine between the gradients of support and query."""
    flat = []
    for x, y in (plain.support, plain.query):
        parts = torch.autograd.grad(plain.loss(plain.module(x), y), list(plain.module.parameters()))
        flat.append(torch.cat([part.flatten() for part in parts]))
    return float(torch.dot(*flat) / (flat[0].norm() * flat[1].norm()))


def close(a, b, tolerance=1e-4):
    return torch.allclose(a.double(), b.double(), rtol=1e-3, atol=tolerance)


@pytest.mark.parametrize("optimizer", RATES)
@every_case
def test_losses_and_right_answers_after_each_inner_step_equal_plain_pytorch(case, optimizer):
    episodes = case.ready(
        MAML(inner_optimizer=optimizer, inner_lr=case.lr * RATES[optimizer], test_steps=3)
    )
    tasks = episodes.draw("test", 3, "test")
    measured, expected = measure(episodes, tasks), plainly(case, episodes, tasks, query_loss)
    assert expected.shape == (2, 4, 3)
    assert close(measured.loss, expected)
    if case is not WAVES:
        apart = (measured.correct - plainly(case, episodes, tasks, right)).abs()
        assert (apart <= plainly(case, episodes, tasks, ties)).all()
    assert (expected[:, 3] - expected[:, 0]).abs().mean() > 0.01


def test_an_inner_step_gets_its_number():
    episodes = WAVES.ready(
        part := PARTS.find("strategies", "reptile")(inner_lr=0.02, inner_batch=3, test_steps=3)
    )
    tasks = episodes.draw("test", 3, "test")
    measured = measure(episodes, tasks).loss
    for i, t in ((0, 0), (1, 2)):
        learned = {name: value[i] for name, value in episodes.state.params.items()}
        episode = episodes.episode(Tasks(*(each[i, t] for each in tasks)), test=True)
        adapted = part.adapt(
            episodes.net, learned, episode.support, 3
        )  # each step takes the next three examples
        assert close(measured[i, 3, t], episodes.net.loss(adapted, episode.query))


def query_gradient(plain, params):
    """The loss of the queries and its gradient, with the module's parameters put at a place."""
    torch.nn.utils.vector_to_parameters(params.clone(), plain.module.parameters())
    loss = plain.loss(plain.module(plain.query[0]), plain.query[1])
    gradient = torch.autograd.grad(loss, [*plain.module.parameters()])
    return loss.detach(), torch.cat([each.flatten() for each in gradient])


def booked(plain, part):
    """The account of each inner step, from gradients at its ends and in its middle: (step, number)."""
    path = []
    plain.after(
        part,
        lambda plain: (
            path.append(torch.nn.utils.parameters_to_vector(plain.module.parameters()).detach())
            or 0
        ),
    )
    rows = []
    for start, end in pairwise(path):
        (before, first), (_, amid), (after, last) = (
            query_gradient(plain, p) for p in (start, (start + end) / 2, end)
        )
        step = end - start
        whole = (first + 4 * amid + last) @ step / 6
        exposure = (first.norm() + last.norm()) / 2 * step.norm()
        rows.append(torch.stack([after - before, first @ step, whole - first @ step, exposure]))
    return torch.stack(rows)


@every_case
def test_the_account_of_inner_steps_is_that_of_plain_pytorch(case):
    episodes = case.ready()
    tasks = episodes.draw("test", 3, "test")
    account = torch.stack(
        [*account_inner_steps(episodes, tasks, 3)], -1
    )  # (replicate, step, number)
    for replicate in range(2):
        plain = [
            booked(Plain(case, episodes, tasks, replicate, task), episodes.strategy)
            for task in range(3)
        ]
        assert close(account[replicate], torch.stack(plain).mean(0))
    remainder = account[..., 0] - account[..., 1] - account[..., 2]
    assert remainder.abs().max() < 0.1 * account[..., 0].abs().max()


@every_case
def test_queries_measured_each_with_the_support_alone_equal_a_loop_over_them(case):
    episodes, apart = case.ready(), case._replace(benchmark=alone(case.benchmark)).ready()
    tasks = episodes.draw("test", 3, "test")
    together = measure(episodes, tasks).loss
    expected = plainly(case, apart, tasks, query_loss_alone)
    assert close(measure(apart, tasks).loss, expected)
    assert close(together, expected) is (case in (WAVES, CASES["mlp"]))


def alone(benchmark):
    return type(benchmark).configured({**benchmark.settings(), "transductive": False})


@every_case
def test_the_alignment_is_the_mean_over_tasks_of_the_cosine_between_the_gradients(case):
    episodes = case.ready()
    tasks = episodes.draw("test", 3, "test")
    expected = plainly(case, episodes, tasks, angle)
    assert close(mean_cosines(episodes, tasks, 3), expected.mean(2))
    assert expected.std() > 0.01


def test_the_alignment_of_tasks_of_meta_training_cuts_them_as_meta_training_does():
    case = few_shot("mlp-8")
    episodes = case.ready()
    tasks = episodes.draw("train", 3, "probe")
    expected = plainly(case._replace(cut=6), episodes, tasks, angle)
    assert close(mean_cosines(episodes, tasks, 0, test=False), expected.mean(2)[:, :1])


@pytest.mark.parametrize("transductive", [True, False])
@pytest.mark.parametrize("numbers", [1, 10_000, 10**9])
def test_tasks_that_are_measured_in_ragged_chunks_give_the_same_numbers(
    numbers, transductive, monkeypatch
):
    episodes = few_shot("conv4-4", transductive=transductive).ready()
    tasks = episodes.draw("test", 5, "test")
    whole = measure(episodes, tasks), mean_cosines(episodes, tasks, 2)
    monkeypatch.setitem(adaptation.NUMBERS, "cpu", numbers)
    chunked = measure(episodes, tasks), mean_cosines(episodes, tasks, 2)
    assert close(chunked[0].loss, whole[0].loss, 1e-6)
    assert torch.equal(chunked[0].correct, whole[0].correct)
    assert close(chunked[1], whole[1], 1e-6)


def test_no_more_tasks_than_the_limit_allows_are_measured_at_once(monkeypatch):
    episodes, seen, new = few_shot("mlp-8").ready(learnt=0), [], Tasks.__new__
    tasks = episodes.draw("test", 5, "test")
    monkeypatch.setitem(
        adaptation.NUMBERS, "cpu", 8_000
    )  # 2 replicates; 21 examples of 64 pixels, 547 parameters adapt
    monkeypatch.setattr(
        Tasks, "__new__", lambda cls, x, *rest: seen.append(x) or new(cls, x, *rest)
    )
    measure(episodes, tasks)
    assert [x.shape[1] for x in seen if isinstance(x, torch.Tensor) and x.ndim == 6] == [2, 2, 1]


class Largest(TorchDispatchMode):
    """Notes how many numbers the largest tensor has that anything gives."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.numbers = max(
            [
                self.numbers,
                *(each.numel() for each in pytree.tree_leaves(out) if torch.is_tensor(each)),
            ]
        )
        return out


@pytest.mark.parametrize("numbers", [8_000, 40_000])
def test_no_more_numbers_are_at_work_at_once_where_each_query_brings_the_support(
    numbers, monkeypatch
):
    episodes = few_shot("mlp-8", transductive=False).ready(learnt=0)
    tasks = episodes.draw("test", 5, "test")
    monkeypatch.setitem(
        adaptation.NUMBERS, "cpu", numbers
    )  # a task has 12 queries, each with a support of 9: 120 rows of 64
    with Largest() as largest:
        measure(episodes, tasks)
    assert largest.numbers <= numbers


def test_meta_learning_starts_from_weights_that_follow_from_the_seed():
    episodes = few_shot("conv4-4").ready(seeds=(5, 7), learnt=0)
    for i, seed in enumerate((5, 7)):
        for name, value in build(
            "conv4-4", (1, 8, 8), 3, torch_seed(seed, "weights")
        ).named_parameters():
            assert torch.equal(episodes.state.params[name][i], value)


def test_training_and_test_tasks_have_their_own_numbers_of_shots_and_queries():
    episodes = few_shot("mlp-8", queries=5).ready(learnt=0)
    train, test = (episodes.draw(partition, 6, "x") for partition in ("train", "test"))
    assert (train.x.shape[:3], test.x.shape[:3]) == ((2, 6, 3 * (2 + 5)), (2, 6, 3 * (3 + 4)))
    assert episodes.queries_per_task() == 12
    waves = WAVES.ready(learnt=0)
    assert waves.draw("validation", 6, "x").x.shape[:3] == (2, 6, 4 + 4)
    assert waves.queries_per_task() == 4


def test_tasks_follow_from_the_seed_the_axis_and_the_index_alone():
    one, other = (WAVES.ready(seeds=seeds, learnt=0) for seeds in ((3, 4), (4, 5)))
    assert torch.equal(one.draw("test", 3, "a", 1).x[1], other.draw("test", 3, "a", 1).x[0])
    drawn = [one.draw("test", 3, "a", 1), one.draw("test", 3, "b", 1), one.draw("test", 3, "a", 2)]
    assert len({float(tasks.x[i, 0, 0, 0]) for tasks in drawn for i in (0, 1)}) == 6


class Coded(TaskDistribution):
    """Waves of nothing whose tasks are numbered as they are drawn for one replicate; which, is written in x."""

    shape, outputs = (1,), 1

    def __init__(self):
        self.number, self.drawn = 0, {"train": [], "validation": [], "test": []}

    def draw(self, partition, tasks, shots, queries, random):
        numbers = np.arange(self.number, self.number + tasks)
        self.number += tasks
        self.drawn[partition] += numbers.tolist()
        x = np.broadcast_to(numbers[:, None, None], (tasks, shots + queries, 1)).astype(np.float32)
        return TaskBatch(
            np.ascontiguousarray(x), np.zeros_like(x), np.zeros((tasks, 0), np.float32)
        )


@dataclass(frozen=True, kw_only=True)
class Notes(MetaStrategy):
    """Learns nothing but how often it met each of the first 400 tasks, and when."""

    test_steps: int = 0

    def meta_params(self, net, params):
        return params | {"met": torch.zeros(400), "when": torch.zeros(400)}

    def meta_step(self, net, state, episodes, progress):
        rows = torch.cat([episodes.support.x, episodes.query.x], 1)[..., 0]
        met = (rows[..., None] == torch.arange(400)).sum((0, 1)).float()
        extra = {
            "met": state.params["met"] + met,
            "when": torch.where(met > 0, progress, state.params["when"]),
        }
        return state.replace(params=state.params | extra)


def noted(iterations=10, block=4, learn=(10,)):
    """Meta-train in blocks and in that many calls; the source, and what was noted."""
    benchmark = Sinusoid(
        model="mlp-2", meta_batch_size=3, shots=2, queries=1, iterations=iterations
    )
    episodes = EpisodeReplicas(benchmark, Notes(), [source := Coded()], [0], CPU)
    start = source.number
    for count in learn:
        episodes.learn(count, lambda _: None)
    return (
        source,
        episodes,
        {name: episodes.state.params[name][0, start:].tolist() for name in ("met", "when")},
    )


def test_every_block_of_meta_training_draws_tasks_of_its_own(monkeypatch):
    monkeypatch.setattr(episode_replicas, "BLOCK", 2)
    batches = [tasks.parameters for tasks in WAVES.ready(learnt=0).batches]
    assert len(batches) == 8  # those of four blocks, of which 7 iterations take all but one
    assert len({float(truth) for truth in torch.stack(batches)[..., 0].flatten()}) == 8 * 2 * 3


@pytest.mark.parametrize("learn", [(10,), (3, 0, 2, 5), (1,) * 10])
def test_every_iteration_meets_the_next_tasks_once_whatever_checks_come_between(learn, monkeypatch):
    monkeypatch.setattr(episode_replicas, "BLOCK", 4)
    source, episodes, found = noted(learn=learn)
    assert found["met"][:30] == [3] * 30
    assert sum(found["met"]) == 90 == episodes.seen
    assert set(np.flatnonzero(episodes.state.params["met"][0])) <= set(source.drawn["train"])
    assert episodes.done == 10


def test_progress_is_the_share_of_the_iterations_that_are_over():
    _, _, found = noted()
    assert np.allclose(found["when"][:30], np.repeat(np.arange(10) / 10, 3))


def test_one_replicate_that_diverged_leaves_the_others_finite():
    episodes = WAVES.ready(seeds=(0, 1, 2))
    name = next(iter(episodes.state.params))
    episodes.state.params[name][1].view(-1)[-1] = torch.inf
    assert episodes.finite().tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("optimizer", "name", "numbers"),
    [("sgd", "maml", 0), ("momentum", "maml", 25), ("adam", "maml", 51), ("sgd", "metasgd", 25), ("adam", "metasgd", 126),
     ("adam", "reptile", 0), ("adam", "scratch", 0)],
)  # fmt: skip
def test_the_state_beside_the_parameters_is_learned_rates_and_the_slots_of_who_descends(
    optimizer, name, numbers
):
    benchmark = Sinusoid(model="mlp-8", optimizer=optimizer)
    episodes = EpisodeReplicas(
        benchmark, PARTS.get("strategies", name), [benchmark.distribution(None, 0)] * 2, [0, 1], CPU
    )
    assert (
        sum(value[0].numel() for value in episodes.net.model_params(episodes.state.params).values())
        == 25
    )
    assert episodes.state_bytes() == 4 * numbers


def wave(plain):
    """A module's predictions on the grid, with the parameters of the task in every input if it sees them."""
    grid = torch.linspace(-5, 5, 51)[:, None]
    facts = plain.support[0][:1, 1:].expand(51, -1)
    return plain.module(torch.cat([grid, facts], 1))[:, 0].tolist()


class SeesParameters(MAML):
    """MAML that sees the parameters of each task."""

    sees_task_parameters = True


@pytest.mark.parametrize("part", [MAML, SeesParameters])
def test_fits_hold_the_truth_the_support_and_the_predictions_after_each_inner_step(part):
    episodes = WAVES.ready(part(inner_lr=0.02, test_steps=3))
    tasks = episodes.draw("test", 5, "test")
    fits, predicted = fit_curves(episodes, tasks), plainly(WAVES, episodes, tasks, wave)
    assert [len(own) for own in fits] == [2, 2]
    for i, t in ((0, 0), (0, 1), (1, 0), (1, 1)):
        fit, (amplitude, phase) = fits[i][t], tasks.parameters[i, t].tolist()
        assert np.allclose(fit.y, amplitude * np.sin(np.array(fit.x) - phase), rtol=2e-3, atol=2e-3)
        assert np.allclose(fit.support_x, tasks.x[i, t, :4, 0], rtol=1e-3)
        assert np.allclose(fit.support_y, tasks.y[i, t, :4, 0], rtol=1e-3)
        assert np.allclose(fit.predicted, predicted[i, :, t], rtol=2e-3, atol=1e-3)


def test_tasks_that_are_no_curves_leave_no_fits():
    episodes = few_shot("mlp-8").ready(learnt=0)
    assert fit_curves(episodes, episodes.draw("test", 3, "test")) == [[], []]


def test_a_strategy_that_sees_task_parameters_has_them_in_every_input():
    episodes = WAVES.ready(SeesParameters(inner_lr=0.02, test_steps=3))
    tasks = episodes.draw("test", 3, "test")
    expected = plainly(WAVES, episodes, tasks, query_loss)
    assert close(measure(episodes, tasks).loss, expected)
    other = tasks._replace(parameters=tasks.parameters.flip(1))
    assert not close(measure(episodes, other).loss, expected)


def test_a_model_from_a_file_and_a_loss_of_the_benchmarks_own_are_what_is_adapted(tmp_path):
    layers = "nn.Linear(*shape, 6), nn.Tanh(), nn.Linear(6, outputs)"
    (tmp_path / "nets.py").write_text(
        f"from torch import nn\ndef tanh(shape, outputs): return nn.Sequential({layers})\n"
    )

    @dataclass(frozen=True, kw_only=True)
    class Absolute(Sinusoid):
        def losses(self, outputs, y):
            return (outputs - y).abs().mean(-1)

    case = Case(Absolute(model=f"{tmp_path / 'nets.py'}:tanh", shots=4, **SMALL), 4, l1_loss, 0.02)
    episodes = case.ready()
    tasks = episodes.draw("test", 3, "test")
    assert close(measure(episodes, tasks).loss, plainly(case, episodes, tasks, query_loss))
    assert close(mean_cosines(episodes, tasks, 3), plainly(case, episodes, tasks, angle).mean(2))


def test_frozen_parameters_stay_where_they_are(tmp_path):
    layers = "nn.Linear(1, 6).requires_grad_(False), nn.Tanh(), nn.Linear(6, 1)"
    (tmp_path / "frozen.py").write_text(
        f"from torch import nn\ndef net(shape, outputs): return nn.Sequential({layers})\n"
    )
    episodes = WAVES._replace(
        benchmark=Sinusoid(model=f"{tmp_path / 'frozen.py'}:net", **SMALL)
    ).ready(learnt=0)
    start = episodes.own["fixed"]["0.weight"].clone()
    episodes.learn(2, lambda _: None)
    assert sorted(episodes.state.params) == ["2.bias", "2.weight"]
    assert torch.equal(episodes.own["fixed"]["0.weight"], start)
    assert measure(episodes, episodes.draw("test", 2, "test")).loss.isfinite().all()
