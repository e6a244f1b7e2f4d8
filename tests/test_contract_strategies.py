"""The contract catches what it says it catches: strategies that each break one claim."""

import random
import re
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from retrograde.contract import strategies, toys
from retrograde.interface.learner import Learner
from retrograde.interface.strategy import Strategy
from retrograde.parts.registry import Registry
from retrograde.streams.memory import Reservoir
from retrograde.streams.stream import Experience

Finetune, ER, GSS = (Registry().find("strategies", name) for name in ("finetune", "er", "gss"))
CALLS = []


@dataclass(frozen=True)
class InPlace(Finetune):
    def step(self, net, state, data):
        for name, g in net.grad(state.params, data.incoming).items():
            state.params[name].sub_(0.1 * g)
        return state


@dataclass
class Thawed(Registry().find("strategies", "finetune").__mro__[1]):
    lr: float = 0.1

    def step(self, net, state, data):
        return net.update(state, net.grad(state.params, data.incoming), self.lr)


@dataclass(frozen=True)
class Remembers(Finetune):
    def step(self, net, state, data):
        CALLS.append(1)
        return net.update(state, net.grad(state.params, data.incoming), 0.1 + 0.01 * len(CALLS))


@dataclass(frozen=True)
class Draws(Finetune):
    def step(self, net, state, data):
        return net.update(
            state, net.grad(state.params, data.incoming), 0.1 + 0.05 * float(torch.rand(()))
        )


@dataclass(frozen=True)
class DrawsInNumpy(Finetune):
    def step(self, net, state, data):
        return net.update(
            state, net.grad(state.params, data.incoming), 0.1 + 0.05 * np.random.rand()
        )


@dataclass(frozen=True)
class DrawsInPython(Finetune):
    def step(self, net, state, data):
        return net.update(
            state, net.grad(state.params, data.incoming), 0.1 + 0.05 * random.random()
        )


@dataclass(frozen=True)
class Grows(Finetune):
    def init(self, net, params):
        return {"seen": torch.zeros(1)}

    def step(self, net, state, data):
        after = super().step(net, state, data)
        return after.replace(extra={"seen": torch.cat([state.extra["seen"], torch.zeros(1)])})


@dataclass(frozen=True)
class IgnoresWeights(Finetune):
    def step(self, net, state, data):
        whole = data.incoming._replace(weight=torch.ones_like(data.incoming.weight))
        return net.update(state, net.grad(state.params, whole), self.lr)


@dataclass(frozen=True)
class Idle(Finetune):
    def step(self, net, state, data):
        return state


@dataclass(frozen=True)
class Hoards(Finetune):
    buffer_size: int = 5

    def memory(self):
        return Reservoir(10 * self.buffer_size, 10)


@dataclass(frozen=True)
class Explodes(Finetune):
    lr: float = 1e30


@dataclass(frozen=True)
class Centres(Finetune):
    def predict(self, net, state, x, task):
        return net.logits(state.params, x - x.mean(0), task)


@dataclass(frozen=True)
class Unpicklable(Finetune):
    def __reduce__(self):
        raise TypeError("no")


@dataclass(frozen=True)
class DrawsTwice(Finetune):
    def step(self, net, state, data):
        return net.update(
            state,
            net.grad(state.params, data.incoming),
            self.lr * (net.uniform(2)[0] + net.uniform(3)[0]),
        )


@dataclass(frozen=True)
class SlowsDown(Finetune):
    """Its rate is the smaller the longer the whole stream is."""

    def step(self, net, state, data):
        return net.update(state, net.grad(state.params, data.incoming), self.lr / net.tasks)


@dataclass(frozen=True)
class RingInSecret(ER):
    policy: str = "ring"

    def knows_ahead(self):
        return ("classes",)


@dataclass(frozen=True)
class UnmaskedInSecret(Finetune):
    def knows_ahead(self):
        return ()


@dataclass(frozen=True)
class AppliesNoWeighting(ER):
    def step(self, net, state, data):
        return net.update(
            state, net.grad(state.params, data.incoming.concat(data.replayed)), self.lr
        )


@dataclass(frozen=True)
class WeighsInSecret(ER):
    task_weighting: ClassVar[str] = "not needed"


@dataclass(frozen=True)
class HoardsInItsState(GSS):
    """It keeps twice the examples that its setting allows."""

    buffer_size: int = 5

    def init(self, net, params):
        extra = super().init(net, params)
        twice = extra["memory"].map(lambda column: torch.cat([column, column]))
        return extra | {"memory": twice}

    def step(self, net, state, data):
        copies = data.incoming.x.repeat(2, 1)[: 2 * self.buffer_size]
        memory = state.extra["memory"]._replace(x=copies, weight=torch.ones(len(copies)))
        return state.replace(extra=state.extra | {"memory": memory})


def tried(part, check):
    on_toys = {c.__name__: c for c in strategies.checks_of(part)}
    return strategies.verdict(part, on_toys[check.__name__])


def why(part, check):
    outcome = tried(part, check)
    assert outcome.outcome == "failed"
    return outcome.why


@pytest.mark.parametrize(
    ("part", "check", "reason"),
    [
        (InPlace(), strategies.is_pure, "in place"),
        (Thawed(), strategies.is_pure, "not frozen"),
        (Remembers(), strategies.is_pure, "two results"),
        (Remembers(), strategies.repeats_itself, "differs"),
        (Draws(), strategies.uses_no_global_randomness, "raised|generator moved"),
        (DrawsInNumpy(), strategies.uses_no_global_randomness, "generator moved"),
        (DrawsInPython(), strategies.uses_no_global_randomness, "differs"),
        (Grows(), strategies.keeps_its_shapes, r"extra\['seen'\] has shape"),
        (IgnoresWeights(), strategies.takes_any_batch, "weight 0"),
        (Explodes(), strategies.takes_any_batch, "non-finite"),
        (Unpicklable(), strategies.pickles, "cannot be pickled"),
        (Idle(), strategies.learns, "accuracy"),
        (Hoards(), strategies.stays_within_its_memory, "buffer_size=5"),
        (Centres(), strategies.predicts_examples_apart, "alone and among others"),
        (
            HoardsInItsState(),
            strategies.stays_within_its_memory,
            "10 examples are stored, with those of its own state",
        ),
        (DrawsTwice(), strategies.is_pure, "name of its own"),
        (SlowsDown(), strategies.knows_no_length, "after task 1 it differs"),
        (RingInSecret(), strategies.knows_no_length, "after task 2 it differs"),
        (UnmaskedInSecret(), strategies.ignores_later_classes, "start higher"),
        (AppliesNoWeighting(), strategies.applies_weighting_as_declared, "changes nothing"),
        (WeighsInSecret(), strategies.applies_weighting_as_declared, "declare 'applied'"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Finetune) else None,
)
def test_a_strategy_that_breaks_a_claim_fails_that_check(part, check, reason):
    assert re.search(reason, why(part, check))


@dataclass(frozen=True)
class Reorders(Finetune):
    def init(self, net, params):
        return {"first": torch.zeros(1), "second": torch.zeros(2)}

    def step(self, net, state, data):
        after = super().step(net, state, data)
        return after.replace(extra=dict(reversed(state.extra.items())))


def test_the_order_of_names_in_a_state_does_not_count():
    assert tried(Reorders(), strategies.keeps_its_shapes).outcome == "passed"


class Plain(Learner):
    """A well-behaved learner."""

    def setup(self, model):
        self.model, self.optimizer = model, torch.optim.SGD(model.parameters(), lr=0.1)

    def observe(self, x, y, task):
        self.optimizer.zero_grad()
        cross_entropy(self.model(x), y).backward()
        self.optimizer.step()

    def predict(self, x, task):
        return self.model(x)


class KeepsEverything(Plain):
    def setup(self, model):
        super().setup(model)
        self.kept = []

    def observe(self, x, y, task):
        super().observe(x, y, task)
        self.kept.append(x)


def test_a_learner_that_keeps_every_example_fails_the_memory_check():
    assert "grew by" in why(KeepsEverything(), strategies.stays_within_its_memory)


@dataclass
class KeepsItsShare(Plain):
    """It holds as many examples as it says, in a list of tensors, whose pickles would take hundreds of bytes each."""

    buffer_size: int = 200

    def setup(self, model):
        super().setup(model)
        self.kept, self.arrays = [], []

    def observe(self, x, y, task):
        super().observe(x, y, task)
        self.kept = [*self.kept, *x][: self.buffer_size // 2]
        self.arrays = [*self.arrays, *x.numpy()][: self.buffer_size // 2]


class KeepsMore(KeepsItsShare):
    """Ten times what its setting says."""

    def observe(self, x, y, task):
        self.buffer_size *= 10
        super().observe(x, y, task)
        self.buffer_size //= 10


def test_a_learner_is_weighed_by_the_bytes_of_its_tensors_and_arrays():
    assert tried(KeepsItsShare(), strategies.stays_within_its_memory).outcome == "passed"
    assert "it grew by" in why(KeepsMore(), strategies.stays_within_its_memory)


@dataclass(frozen=True)
class ReadsExperience(Finetune):
    """A smaller rate in later experiences, which it does not declare."""

    def step(self, net, state, data):
        grads = net.grad(state.params, data.incoming)
        smaller = {name: g / (1 + net.experience) for name, g in grads.items()}
        return net.update(state, smaller, self.lr)


@dataclass(frozen=True)
class ReadsTaskOfExamples(Finetune):
    """A smaller rate on later tasks, which it does not declare."""

    def step(self, net, state, data):
        grads = net.grad(state.params, data.incoming)
        later = 1 + data.incoming.task.max()
        return net.update(state, {name: g / later for name, g in grads.items()}, self.lr)


class DeclaresExperience(ReadsExperience):
    boundaries = "experiences"


class ReadsTask(Plain):
    """A learner that skips the second experience, which it does not declare."""

    def observe(self, x, y, task):
        if task != 1:
            super().observe(x, y, task)


@pytest.mark.parametrize("part", [ReadsExperience(), ReadsTaskOfExamples(), ReadsTask()])
def test_a_part_that_reads_the_experience_undeclared_is_found(part):
    found = why(part, strategies.learns_the_same_without_boundaries)
    assert 'declare boundaries = "experiences"' in found


def test_a_strategy_that_declares_its_boundaries_need_not_do_without():
    outcome = tried(DeclaresExperience(), strategies.learns_the_same_without_boundaries)
    assert (outcome.outcome, outcome.why) == (
        "declared",
        "it needs to know the boundaries of experiences",
    )


@dataclass(frozen=True)
class FailsOnMixed(Finetune):
    """Diverges if a mini-batch has examples of several tasks, of two classes each."""

    def step(self, net, state, data):
        task = data.incoming.y // 2
        factor = torch.where(task.min() == task.max(), 1.0, torch.inf)
        grads = net.grad(state.params, data.incoming)
        return net.update(state, {name: factor * g for name, g in grads.items()}, self.lr)


@pytest.mark.parametrize("part", [Finetune(), ER(), Plain()])
def test_parts_without_need_of_boundaries_learn_the_same_without_them(part):
    check = strategies.learns_the_same_without_boundaries
    assert tried(part, check).outcome == "passed"


def test_a_strategy_that_fails_on_mixed_tasks_is_found():
    found = why(FailsOnMixed(), strategies.learns_the_same_without_boundaries)
    assert "non-finite in an experience of mixed tasks" in found


class Ranks(Plain):
    def predict(self, x, task):
        return super().predict(x, task).argsort(0).float()


def test_a_learner_that_compares_test_examples_fails_the_check():
    assert "Ranks with model=mlp-16" in why(Ranks(), strategies.predicts_examples_apart)


def test_a_well_behaved_learner_keeps_the_whole_contract():
    outcomes = list(strategies.verdicts(Plain()))
    assert [o.why for o in outcomes if o.outcome == "failed"] == []
    assert [o.why for o in outcomes if o.outcome == "declared"] == [
        "the outputs of later classes are in its loss",
        "it refuses weighting=tasks",
        "it needs classes",
    ]
    assert len(outcomes) == len(strategies.CHECKS) + 2 + 3


def test_a_strategy_that_reads_the_future_is_found(monkeypatch):
    part = Finetune()
    honest = toys.Blobs.cut

    def peeking(self, data, seed):
        stream = honest(self, data, seed)
        first, *rest = stream.experiences
        last = rest[-1]
        row, y = np.concatenate([first.row, last.row]), np.concatenate([first.y, last.y])
        both = Experience(row, y, np.zeros_like(row))
        return replace(stream, experiences=(both, *rest))

    monkeypatch.setattr(toys.Blobs, "cut", peeking)
    assert "scrambled last task" in why(part, strategies.sees_no_future)


def test_a_declared_scenario_is_neither_passed_nor_failed():
    class OnlyTask(Finetune):
        scenarios = ("task",)

    outcomes = {
        scenario: strategies.works_in(OnlyTask(), scenario).outcome
        for scenario in ("task", "domain", "class")
    }
    assert outcomes == {"task": "passed", "domain": "declared", "class": "declared"}


@pytest.mark.parametrize(
    ("name", "settings", "known"),
    [
        ("er", {}, ("classes",)),
        ("er", {"policy": "ring-at-end"}, ("length", "classes")),
        ("agem", {}, ("length", "classes")),
        ("agem", {"policy": "reservoir"}, ("classes",)),
        ("gem", {}, ("length", "classes")),
        ("lwf", {}, ()),
        ("lwf", {"among": "all"}, ("classes",)),
        ("icarl", {}, ()),
        ("er_ace", {}, ()),
        ("er_ace", {"policy": "ring-at-end"}, ("length",)),
    ],
)
def test_a_strategy_declares_what_it_knows_ahead(name, settings, known):
    part = Registry().get("strategies", name, settings)
    assert part.knows_ahead() == known
    declared = tried(part, strategies.knows_no_length).outcome == "declared"
    assert declared == ("length" in known)


class LearnsByLength(Plain):
    def receive(self, info):
        self.tasks = len(info.units)

    def observe(self, x, y, task):
        self.optimizer.param_groups[0]["lr"] = 1 / self.tasks
        super().observe(x, y, task)


def test_a_learner_that_uses_the_length_of_the_stream_in_secret_is_found():
    assert "after task 1 it differs" in why(LearnsByLength(), strategies.knows_no_length)


@dataclass(frozen=True)
class IgnoresValues(Strategy):
    """Gradient steps towards the first output alone, whatever the targets."""

    def step(self, net, state, data):
        def loss(params):
            return net.logits(params, data.incoming.x)[:, 0].mean()

        return net.update(state, net.grad_of_loss(loss, state.params), 0.01)


@dataclass(frozen=True)
class OfClasses(IgnoresValues):
    """The same, declared to need classes."""

    classes_only: ClassVar[bool] = True


def test_a_strategy_that_learns_no_values_is_found_unless_it_declares_so():
    assert "declare classes_only = True" in why(IgnoresValues(), strategies.learns_values)
    outcome = tried(OfClasses(), strategies.learns_values)
    assert (outcome.outcome, outcome.why) == ("declared", "it needs classes")
