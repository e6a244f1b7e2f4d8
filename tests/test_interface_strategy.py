"""The hooks of a strategy: when each is called, with what, and what may come of it."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from retrograde.contract.toys import Blobs, blobs
from retrograde.errors import UserError
from retrograde.interface.state import State
from retrograde.interface.strategy import Strategy
from retrograde.networks.build import build
from retrograde.randomness import torch_seed
from retrograde.streams.memory import Reservoir
from retrograde.streams.schedule import Schedule, train_rows
from retrograde.testing import start, toy_batch, toy_net, toy_step
from retrograde.training.cell_check import check
from retrograde.training.stream_loop import train
from retrograde.training.stream_replicas import StreamReplicas

CPU, DATA = torch.device("cpu"), blobs()


def replicas(part, benchmark=None, seeds=(0, 1)):
    benchmark = benchmark or Blobs()
    streams = [benchmark.stream(DATA, seed) for seed in seeds]
    return StreamReplicas(benchmark, part, streams, list(seeds), CPU)


def ignore(_):
    """Take no notice of progress."""


def learned(backend):
    for number in range(3):
        backend.learn(number, ignore)
    return backend


@dataclass(frozen=True, kw_only=True)
class Plain(Strategy):
    """Fine-tuning."""

    def step(self, net, state, data):
        return net.update(state, net.grad(state.params, data.incoming), 0.1)


# The number of the experience.


@dataclass(frozen=True, kw_only=True)
class Counting(Plain):
    """Note the experience in every hook: the last four calls of each, the latest one last."""

    def init(self, net, params):
        none = torch.full((4,), -1)
        return {"begin": none, "step": none, "end": none, "number": torch.tensor(-1)}

    def noted(self, hook, net, state):
        calls = torch.cat([state.extra[hook][1:], net.experience[None]])
        return state.replace(extra=state.extra | {hook: calls})

    def begin_experience(self, net, state, number):
        state = state.replace(extra=state.extra | {"number": torch.tensor(number)})
        return self.noted("begin", net, state)

    def step(self, net, state, data):
        return self.noted("step", net, super().step(net, state, data))

    def end_experience(self, net, state, end):
        return self.noted("end", net, state)


def test_begin_experience_is_called_once_for_each_experience_with_its_number():
    calls = learned(replicas(Counting(), Blobs(batch_size=46))).state.extra
    assert calls["begin"].tolist() == [[-1, 0, 1, 2]] * 2
    assert calls["step"].tolist() == [[-1, 0, 1, 2]] * 2
    assert calls["end"].tolist() == [[-1, 0, 1, 2]] * 2
    assert calls["number"].tolist() == [2, 2]


def test_an_experience_that_was_begun_is_not_begun_again_by_learning_it():
    backend = replicas(Counting())
    assert [backend.begin(0), backend.learn(0, ignore).steps.tolist()] == [True, [5, 5]]
    assert [backend.begin(1), backend.learn(1, ignore).steps.tolist()] == [False, [5, 5]]
    assert backend.state.extra["begin"].tolist() == [[-1, -1, 0, 1]] * 2


@dataclass(frozen=True, kw_only=True)
class Afresh(Counting):
    """Learn every experience from the initial weights."""

    def schedule(self):
        return Schedule(reinitialise=True)


def test_a_fresh_start_comes_before_begin_experience():
    calls = learned(replicas(Afresh())).state.extra
    assert calls["begin"].tolist() == [[-1, -1, -1, 2]] * 2
    assert calls["step"].tolist() == [[2, 2, 2, 2]] * 2


# The state before an evaluation.


@dataclass(frozen=True, kw_only=True)
class Nearest(Plain):
    """Predict the class of the nearest mean in memory, which takes every example in."""

    evaluated: bool = True
    buffer_size: int = 1000

    def memory(self):
        return Reservoir(self.buffer_size, 4)

    def before_evaluation(self, net, state, memory):
        if not self.evaluated:
            return state
        member = (memory.y[:, None] == torch.arange(net.outputs)) * memory.weight[:, None]
        means = member.T @ memory.x / member.sum(0).clamp(min=1)[:, None]
        # A state of another form, without parameters, is not used again.
        return State({}, {}, {"means": means, "known": member.sum(0) > 0})

    def predict(self, net, state, x, task):
        if not self.evaluated:
            return super().predict(net, state, x, task)
        far = torch.cdist(x, state.extra["means"])
        return torch.where(state.extra["known"], -far, -torch.inf)


def nearest_by_hand(benchmark, seed, experience, steps):
    """Correct answers on the tasks so far after some steps of an experience, by NumPy."""
    stream = benchmark.stream(DATA, seed)
    seen = stream.experiences[:experience]
    x, y = (
        np.concatenate([DATA.x_train[:0], *[DATA.x_train[each.row] for each in seen]]),
        np.concatenate([np.zeros(0, int), *[each.y for each in seen]]),
    )
    rows, _ = train_rows(stream, experience, benchmark, Schedule(), None, None, seed)
    now = rows[:steps].reshape(-1)
    now = now[now.real]
    x, y = np.concatenate([x, DATA.x_train[now.row]]), np.concatenate([y, now.y])
    means = np.full((stream.units.shape[1], x.shape[1]), np.inf)
    for unit in np.unique(y):
        means[unit] = x[y == unit].mean(0)
    correct = []
    for task in stream.tasks[: experience + 1]:
        far = np.linalg.norm(DATA.x_test[task.test.row][:, None] - means, axis=2)
        correct.append(int((far.argmin(1) == task.test.y).sum()))
    return correct


def test_evaluations_along_a_stream_see_the_memory_of_their_very_step():
    benchmark, seeds = Blobs(batch_size=2, eval_every=1, scenario="class"), [0, 1]
    streams = [benchmark.stream(DATA, seed) for seed in seeds]
    outcomes = train(benchmark, Nearest(), streams, seeds, CPU)
    partial = set()
    for seed, outcome in zip(seeds, outcomes, strict=True):
        online = outcome.online_accuracy
        moments = zip(online.task[1:], online.step[1:], online.correct[1:], strict=True)
        for task, step, correct in moments:
            expected = nearest_by_hand(benchmark, seed, task, step - 23 * task)
            assert correct[: task + 1] == expected
            partial.add(expected[-1])
    assert len(partial) > 1


@pytest.mark.parametrize("buffer_size", [5, 1000])
def test_evaluations_leave_no_trace_in_training(buffer_size):
    benchmark = Blobs(eval_every=1)
    ends = []
    for evaluated in (True, False):
        backend = replicas(Nearest(evaluated=evaluated, buffer_size=buffer_size), benchmark)

        def evaluate(_, backend=backend):
            backend.evaluate(backend.test_rows, during=True)

        for number in range(3):
            backend.learn(number, evaluate if evaluated else ignore)
            backend.evaluate(backend.test_rows)
        ends.append(backend.state.params)
    assert_close(*ends, rtol=0, atol=0)


@dataclass(frozen=True, kw_only=True)
class Seen(Plain):
    """Note the examples in memory before an evaluation."""

    def memory(self):
        return Reservoir(6, 2)

    def before_evaluation(self, net, state, memory):
        return state.replace(extra={"x": memory.x, "real": memory.weight})


def test_the_memory_before_an_evaluation_is_what_was_written_up_to_the_step():
    """A reservoir of 6, whose slots are overwritten along the way."""
    backend, benchmark = replicas(Seen()), Blobs()
    rows = [*map(backend_rows(benchmark), range(3))]
    content = np.full((2, 6), -1)
    for number in range(3):
        steps = iter(rows[number])

        def compare(_, steps=steps):
            for replicate, step in enumerate(next(steps)):
                written = step[:10][step[:10].slot[:] < 6]
                content[replicate, written.slot] = written.row
            found = backend.for_prediction(during=True).extra
            real = torch.from_numpy(content >= 0)
            assert torch.equal(found["real"] > 0, real)
            expected = torch.from_numpy(DATA.x_train)[torch.from_numpy(content)]
            assert torch.equal(found["x"][real], expected[real])

        backend.learn(number, compare)


def backend_rows(benchmark):
    """The rows of each experience for both replicates, from memories of their own."""
    memories = replicas(Seen(), benchmark).memories
    return memories.rows


# Modules of the strategy's own.


@dataclass(frozen=True, kw_only=True)
class Projecting(Strategy):
    """Train the model through a projector of the strategy's own on its outputs."""

    def modules(self, shape, outputs, features):
        return {"projector": nn.Sequential(nn.Linear(outputs, 5), nn.ReLU(), nn.Linear(5, outputs))}

    def projected(self, net, params, x):
        return net.call("projector", params, net.logits(params, x))

    def step(self, net, state, data):
        def loss(params):
            return net.loss_from_logits(self.projected(net, params, data.incoming.x), data.incoming)

        return net.update(state, net.grad_of_loss(loss, state.params), 0.1)

    def predict(self, net, state, x, task):
        return self.projected(net, state.params, x)


def seeded_modules(part, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "modules"))
        return part.modules((12,), 6, 16)


def test_own_modules_are_seeded_by_replicate_and_change_no_other_weight():
    part, before = Projecting(), torch.random.get_rng_state()
    both, other = replicas(part).state.params, replicas(Plain()).state.params
    assert torch.equal(torch.random.get_rng_state(), before)
    assert_close({name: both[name] for name in other}, other, rtol=0, atol=0)
    for seed in (0, 1):
        for name, value in seeded_modules(part, seed)["projector"].named_parameters():
            assert torch.equal(both[f"projector.{name}"][seed], value)
    assert not torch.equal(*both["projector.0.weight"])


def trained_by_hand(benchmark, seed):
    """The model and the projector after a stream in plain PyTorch."""
    stream = benchmark.stream(DATA, seed)
    projector = seeded_modules(Projecting(), seed)["projector"]
    model = nn.Sequential(
        build(benchmark.model, DATA.shape, 6, torch_seed(seed, "weights")), projector
    )
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for number in range(3):
        for step in train_rows(stream, number, benchmark, Schedule(), None, None, seed)[0]:
            x = torch.from_numpy(DATA.x_train[step.row[step.real]])
            optimizer.zero_grad()
            cross_entropy(model(x), torch.from_numpy(step.y[step.real])).backward()
            optimizer.step()
    return dict(model[0].named_parameters()) | {
        f"projector.{name}": value for name, value in projector.named_parameters()
    }


def test_own_modules_are_trained_with_the_model_by_the_benchmarks_optimiser():
    benchmark = Blobs(optimizer="momentum")
    backend = learned(replicas(Projecting(), benchmark))
    for seed in (0, 1):
        expected = trained_by_hand(benchmark, seed)
        found = {name: value[seed] for name, value in backend.state.params.items()}
        assert_close(
            found, {name: value.detach() for name, value in expected.items()}, rtol=1e-4, atol=1e-5
        )
    (outcome,) = train(benchmark, Projecting(), [benchmark.stream(DATA, 0)], [0], CPU)
    assert sum(outcome.correct[-1]) > sum(outcome.correct[0])


@dataclass(frozen=True, kw_only=True)
class Normalising(Projecting):
    """A projector that keeps running statistics."""

    def modules(self, shape, outputs, features):
        return {"projector": nn.BatchNorm1d(outputs)}


def test_running_statistics_of_own_modules_follow_the_steps():
    backend = replicas(Normalising())
    assert backend.keeps_statistics
    assert set(backend.state.buffers) == {
        f"projector.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")
    }
    learned(backend)
    assert backend.state.buffers["projector.num_batches_tracked"].tolist() == [15, 15]
    assert (backend.state.buffers["projector.running_mean"] != 0).all()


def test_a_toy_net_has_modules_of_the_strategys_own():
    part = Projecting()
    net, params = toy_net(modules=part.modules((6,), 4, 8))
    after = part.step(net, start(part, net, params), toy_step(toy_batch()))
    assert not torch.equal(after.params["projector.0.weight"], params["projector.0.weight"])


@dataclass(frozen=True, kw_only=True)
class Misnaming(Plain):
    """Modules that cannot be."""

    how: str

    def modules(self, shape, outputs, features):
        return {
            "a list": [nn.Linear(1, 1)],
            "no module": {"gate": torch.ones(2)},
            "a taken name": {"model": nn.Linear(1, 1)},
            "no identifier": {"a.b": nn.Linear(1, 1)},
        }[self.how]


MISNAMED = {
    "a list": "dictionary of nn.Modules by name; it gave a list",
    "no module": "it gave a Tensor for 'gate'",
    "a taken name": "other than model and body, not 'model'",
    "no identifier": "not 'a.b'",
}


@pytest.mark.parametrize("how", MISNAMED)
def test_modules_that_cannot_be_are_refused(how):
    with pytest.raises(UserError, match=f"Misnaming.modules .*{MISNAMED[how]}"):
        replicas(Misnaming(how=how))


@dataclass(frozen=True, kw_only=True)
class OfFeatures(Plain):
    """A module that takes the features of the model."""

    def modules(self, shape, outputs, features):
        return {"onto": nn.Linear(features, outputs + len(shape))}


@pytest.mark.parametrize(("model", "features"), [("mlp-16", 16), ("mlp-9-5", 5)])
def test_own_modules_are_given_the_number_of_features(model, features):
    weight = replicas(OfFeatures(), Blobs(model=model)).state.params["onto.weight"]
    assert weight.shape == (2, 7, features)


# Growth.


@dataclass(frozen=True, kw_only=True)
class Growing(Strategy):
    """One more column of outputs' biases for every experience, which its steps train."""

    grows: ClassVar[bool] = True

    def start(self, net, params):
        params = params | {"columns": torch.zeros(net.outputs, 0)}
        return State(params, net.optimizer.init(params), {})

    def begin_experience(self, net, state, number):
        more = torch.ones(net.outputs, 1) * number
        columns = torch.cat([state.params["columns"], more], 1)
        params = state.params | {"columns": columns}
        return state.replace(params=params, slots=net.optimizer.init(params))

    def logits(self, net, params, x):
        return net.logits(params, x) + params["columns"].sum(1)

    def step(self, net, state, data):
        def loss(params):
            return net.loss_from_logits(self.logits(net, params, data.incoming.x), data.incoming)

        return net.update(state, net.grad_of_loss(loss, state.params), 0.1)

    def predict(self, net, state, x, task):
        return self.logits(net, state.params, x)


def test_a_strategy_that_grows_changes_its_shapes_at_the_start_of_experiences_alone():
    backend, seen = replicas(Growing(), Blobs(optimizer="adam")), []
    for number in range(3):
        assert backend.begin(number)
        backend.warm_up("off")
        backend.learn(number, lambda _: seen.append(backend.state.params["columns"].shape[2]))
    assert seen == [1] * 5 + [2] * 5 + [3] * 5
    columns = backend.state.params["columns"]
    assert not torch.equal(columns[:, :, 0], torch.zeros(2, 6))
    assert backend.state.slots["first"]["columns"].shape == (2, 6, 3)


def test_a_strategy_that_grows_runs_through_the_loop():
    benchmark, seeds = Blobs(scenario="class", probe_every=2), [0, 1]
    streams = [benchmark.stream(DATA, seed) for seed in seeds]
    check(benchmark, Growing(), streams[0], CPU)
    together = train(benchmark, Growing(), streams, seeds, CPU)
    assert all(outcome.finite and len(outcome.correct) == 4 for outcome in together)
    for outcome in together:
        assert [probe.task for probe in outcome.gradients] == [0, 1, 2]
        # Windows of two, two and one steps, of which none leads through a growth.
        assert [account.windows for account in outcome.accounts] == [3, 3]
        for account in outcome.accounts:
            assert np.abs(account.remainder).max() < 0.005
            assert np.abs(account.observed).max() > 0.02
    for stream, seed, outcome in zip(streams, seeds, together, strict=True):
        (alone,) = train(benchmark, Growing(), [stream], [seed], CPU)
        assert alone.correct == outcome.correct


@dataclass(frozen=True, kw_only=True)
class GrowingInSecret(Growing):
    """Growth that is not declared."""

    grows: ClassVar[bool] = False


def test_growth_that_is_not_declared_is_refused():
    with pytest.raises(UserError, match=r"GrowingInSecret.begin_experience .*params\['columns'\]"):
        replicas(GrowingInSecret()).begin(0)


# The data of a step.


def test_the_rounds_of_a_step_are_taken_apart_and_combined_again():
    incoming, replayed = toy_batch(4), toy_batch(6, seed=1, kept={"logits": torch.rand(6, 4)})
    data = toy_step(incoming, replayed, rounds=2)
    first, second = data.draws
    assert torch.equal(torch.cat([first.x, second.x]), replayed.x)
    assert torch.equal(second.kept["logits"], replayed.kept["logits"][3:])
    parts = data.parts(data.combined.x)
    for part, batch in zip(parts, (incoming, first, second), strict=True):
        assert torch.equal(part, batch.x)


def test_shares_weigh_losses_and_rows_alike():
    incoming, replayed = toy_batch(4, padding=1), toy_batch(6, seed=1, padding=2)
    data = toy_step(incoming, replayed, share=0.25)
    net, params = toy_net()
    losses = [net.loss(params, batch) for batch in (incoming, replayed)]
    assert_close(net.loss(params, data.combined), data.weighted(*losses).double())
    assert_close(data.weighted(*losses), 0.25 * losses[0] + 0.75 * losses[1])
    assert_close(data.combine(replayed).weight, data.combined.weight)


def test_the_experience_is_an_argument_of_a_toy_net_too():
    net, params = toy_net()
    part = Counting()
    later = replace(net, experience=torch.tensor(2))
    state = part.begin_experience(later, start(part, net, params), 2)
    assert state.extra["begin"].tolist() == [-1, -1, -1, 2]
