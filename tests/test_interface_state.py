"""The state: a whole model, what is kept with the examples in memory, and statistics of steps."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from retrograde.contract.toys import Blobs, blobs
from retrograde.errors import UserError
from retrograde.interface.state import State
from retrograde.interface.strategy import Strategy
from retrograde.networks.build import build
from retrograde.parts.registry import Registry
from retrograde.randomness import torch_seed
from retrograde.streams.memory import POLICIES, Column, ExemplarMemory, Reservoir
from retrograde.streams.schedule import train_rows
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


def test_the_model_of_a_state_is_its_parameters_and_its_running_statistics():
    params, buffers = {"a": torch.ones(2)}, {"b": torch.zeros(2)}
    assert State(params, {}, {}, buffers).model == params | buffers


def test_what_is_kept_and_logged_adds_up_and_leaves_the_state_before_alone():
    before = State({}, {}, {}).keep(a=torch.ones(2))
    after = before.keep(b=torch.zeros(2)).log(c=torch.tensor(1.0))
    assert (set(before.to_keep), set(after.to_keep)) == ({"a"}, {"a", "b"})
    assert (set(before.to_log), set(after.to_log)) == (set(), {"c"})


def name_of(x):
    """A number for each example that no other example has."""
    return x.double() @ torch.arange(1, 13).double().sqrt()


def strange(batch):
    """True for each example that comes with what was kept with another one; padding does not."""
    name = name_of(batch.x).float()[:, None]
    gaps = [batch.kept["name"][:, None] - name, batch.kept["vector"].flatten(1) - name]
    return (torch.cat(gaps, 1).abs() > 1e-4).any(1) & (batch.weight > 0)


@dataclass(frozen=True, kw_only=True)
class Keeping(Strategy):
    """Keep a number and a vector with every example, and count where others are read back."""

    policy: str = "reservoir"

    def memory(self):
        columns = Column("name", ()), Column("vector", (2, 3))
        return POLICIES[self.policy](9, 4, keep=columns)

    def init(self, net, params):
        return {"read": torch.zeros(()), "strange": torch.zeros(())}

    def step(self, net, state, data):
        extra = state.extra
        read = extra["read"] + data.replayed.weight.sum()
        found = {"read": read, "strange": extra["strange"] + strange(data.replayed).sum()}
        state = state.replace(extra=found)
        return state if self.memory().at_end else self.kept(state, data.incoming.x)

    def kept(self, state, x):
        name = name_of(x)
        return state.keep(name=name, vector=name[:, None, None].expand(-1, 2, 3))

    def end_experience(self, net, state, end):
        # A memory that is filled at the end of an experience gets its values from here.
        return self.kept(state, end.examples.x) if self.memory().at_end else state

    def before_evaluation(self, net, state, memory):
        return state.replace(extra={"held": memory.weight.sum(), "strange": strange(memory).sum()})


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_what_is_kept_with_an_example_is_read_back_with_it(policy, uneven):
    benchmark = Blobs(batch_size=7, epochs=2, updates_per_batch=2, uneven=uneven)
    backend = replicas(Keeping(policy=policy), benchmark)
    for number in range(3):
        backend.learn(number, ignore)
        ready = backend.for_prediction().extra
        assert ready["held"].tolist() == backend.memories.counts()
        assert ready["strange"].tolist() == [0, 0]
    assert (backend.state.extra["read"] > 50).all()
    assert backend.state.extra["strange"].tolist() == [0, 0]


def test_columns_are_stored_in_the_slots_of_the_examples():
    backend = replicas(Keeping())
    for number in range(3):
        backend.learn(number, ignore)
    x = torch.from_numpy(DATA.x_train)
    for replicate, held in enumerate(backend.memories.held):
        expected = name_of(x[held.examples.row]).float()
        assert_close(backend.carried.columns["name"][replicate], expected)
        assert_close(
            backend.carried.columns["vector"][replicate, :, 1, 2], expected, rtol=0, atol=0
        )


@dataclass(frozen=True, kw_only=True)
class KeepingExemplars(Keeping):
    """Keep values with exemplars at the end of each experience."""

    def memory(self):
        return ExemplarMemory(12, 0, keep=(Column("name", ()), Column("vector", (2, 3))))

    def step(self, net, state, data):
        return state

    def end_experience(self, net, state, end):
        return self.kept(state, end.examples.x)


def test_what_is_kept_with_exemplars_follows_them_to_other_slots():
    """A class has fewer exemplars after each experience, so that those that stay move up."""
    backend, before = replicas(KeepingExemplars()), None
    for number in range(3):
        backend.learn(number, ignore)
        now = backend.memories.held[0].examples.tuples()
        ready = backend.for_prediction().extra
        assert ready["held"].tolist() == [12, 12]
        assert ready["strange"].tolist() == [0, 0]
        moved = before and any(
            slot != before.index(each) for slot, each in enumerate(now) if each in before
        )
        before = now
    assert moved


@dataclass(frozen=True, kw_only=True)
class Wrong(Strategy):
    """Keep or log something that is not possible."""

    how: str = ""

    def memory(self):
        return Reservoir(9, 4, keep=("logits",))

    def step(self, net, state, data):
        logits = net.logits(state.params, data.incoming.x)
        if self.how == "a column of another name":
            return state.keep(outputs=logits)
        if self.how == "another shape":
            return state.keep(logits=logits[:, :2])
        if self.how == "a statistic of every row":
            return state.replace(to_log={"loss": net.row_losses(logits, data.incoming)})
        return state

    def end_experience(self, net, state, end):
        return state.keep(outputs=end.examples.x)


RULES = {
    "a column of another name": r"Wrong.step .*keeps 'outputs'.*keep=\('outputs',\)",
    "another shape": r"Wrong.step .*it gave \(10, 2\), wanted \(10, 6\)",
    "a statistic of every row": r"Wrong.step .*one number as its statistic 'loss'.*\(10,\)",
}


@pytest.mark.parametrize("how", RULES)
def test_what_cannot_be_kept_or_logged_is_refused_before_training(how):
    with pytest.raises(UserError, match=RULES[how]):
        check(Blobs(), Wrong(how=how), Blobs().stream(DATA, 0), CPU)


@pytest.mark.parametrize("policy", ["ring-at-end", "reservoir-at-end"])
def test_keeping_in_steps_needs_a_memory_that_takes_examples_in_steps(policy):
    """Else the values would be lost, and others read back."""
    for name in ("der", "derpp"):
        part = Registry().get("strategies", name, {"policy": policy})
        with pytest.raises(UserError, match="keeps logits .*Keep values in end_experience"):
            check(Blobs(), part, Blobs().stream(DATA, 0), CPU)


def test_an_undeclared_column_at_an_experiences_end_is_refused():
    with pytest.raises(UserError, match="Wrong.end_experience .*keeps 'outputs'"):
        replicas(Wrong()).learn(0, ignore)


@dataclass(frozen=True, kw_only=True)
class Logging(Strategy):
    """Fine-tuning that logs its loss and the number of its example."""

    broken: bool = False

    def step(self, net, state, data):
        loss = net.loss(state.params, data.incoming)
        after = net.update(state, net.grad(state.params, data.incoming), 0.1)
        name = name_of(data.incoming.x)[0]
        spoiled = torch.where(name == state.extra["last"], torch.nan, 1.0)
        after = after.replace(extra={"last": name})
        return after.log(loss=loss, name=name.float(), spoiled=spoiled)

    def init(self, net, params):
        return {"last": torch.zeros((), dtype=torch.double)}


@dataclass(frozen=True)
class LogsEarly(Logging):
    def begin_experience(self, net, state, number):
        return state.log(loss=torch.zeros(()))


@dataclass(frozen=True)
class LogsLate(Logging):
    def end_experience(self, net, state, end):
        return state.log(loss=torch.zeros(()))


@pytest.mark.parametrize("part", [LogsEarly(), LogsLate()])
def test_statistics_are_those_of_steps(part):
    with pytest.raises(UserError, match="experience .*logs loss. Log in step"):
        replicas(part).learn(0, ignore)


def by_hand(benchmark, seed):
    """The losses and the names that a plain loop meets, as a list for each experience."""
    stream = benchmark.stream(DATA, seed)
    model = build(benchmark.model, DATA.shape, stream.units.shape[1], torch_seed(seed, "weights"))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    experiences = []
    for number in range(3):
        rows, _ = train_rows(stream, number, benchmark, Logging().schedule(), None, None, seed)
        experiences.append([])
        for step in rows:
            x = torch.from_numpy(DATA.x_train[step.row[step.real]])
            loss = cross_entropy(model(x), torch.from_numpy(step.y[step.real]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            experiences[-1].append((loss.item(), float(name_of(x)[0])))
    return experiences


def windows(experiences, every):
    """For each window, the experience, the steps so far, and the means."""
    found, taken = [], 0
    for number, steps in enumerate(experiences):
        for start in range(0, len(steps), every or len(steps)):
            part = steps[start : start + (every or len(steps))]
            taken += len(part)
            found.append((number, taken, *np.mean(part, axis=0)))
    return found


@pytest.mark.parametrize("every", [0, 1, 3, 100])
def test_logged_means_are_those_of_a_plain_loop_and_steps_of_padding_do_not_count(every):
    """Replicates of an uneven stream take 3, 4 and 5 steps side by side."""
    benchmark, seeds = Blobs(uneven=True, log_every=every), [0, 1, 2]
    streams = [benchmark.stream(DATA, seed) for seed in seeds]
    outcomes = train(benchmark, Logging(), streams, seeds, CPU)
    lengths = set()
    for seed, outcome in zip(seeds, outcomes, strict=True):
        experiences = by_hand(benchmark, seed)
        lengths |= {len(steps) for steps in experiences}
        statistics = outcome.statistics
        means = statistics.means["loss"], statistics.means["name"]
        found = [*zip(statistics.experience, statistics.step, *means, strict=True)]
        assert np.array(found) == pytest.approx(np.array(windows(experiences, every)), rel=1e-3)
        assert statistics.inconsistency(3) == ""
        assert set(statistics.means["spoiled"]) == {1.0}
    assert len(lengths) == 3


@dataclass(frozen=True, kw_only=True)
class Spoiled(Strategy):
    """Log a number that is infinite in the second step alone, after large ones in the first."""

    def init(self, net, params):
        return {"steps": torch.zeros(())}

    def step(self, net, state, data):
        steps = state.extra["steps"]
        value = torch.where(steps == 0, 1e9, torch.where(steps == 1, torch.inf, 1e-3))
        return state.replace(extra={"steps": steps + 1}).log(value=value)


def test_a_window_that_is_not_finite_or_large_spoils_no_later_one():
    benchmark = Blobs(log_every=1)
    (outcome,) = train(benchmark, Spoiled(), [benchmark.stream(DATA, 0)], [0], CPU)
    first, second, *others = outcome.statistics.means["value"]
    assert (first, second) == (1e9, None)
    assert len(others) == 13
    assert set(others) == {1e-3}


def test_a_strategy_that_logs_nothing_has_no_statistics():
    (outcome,) = train(Blobs(), Keeping(), [Blobs().stream(DATA, 0)], [0], CPU)
    assert outcome.statistics is None
