"""The contract of meta-strategies catches what it says it catches: ones that each break one claim."""

import random
import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.func import vmap

from retrograde.contract import metastrategies, strategies
from retrograde.interface.metastrategy import MetaStrategy
from retrograde.parts.registry import Registry

MAML, Pretrain, Scratch = (
    Registry().find("strategies", name) for name in ("maml", "pretrain", "scratch")
)
CALLS = []


@dataclass(frozen=True, kw_only=True)
class Quick(MAML):
    """MAML that learns nothing at test, for claims that are about meta-training."""

    test_steps: int = 1

    def outer(self, net, state, episodes, progress, lr):
        """The meta-step with some other outer rate."""
        after = MAML.meta_step(self, net, state, episodes, progress)
        return after.replace(
            params={k: v + lr * (after.params[k] - v) for k, v in state.params.items()}
        )


@dataclass(frozen=True, kw_only=True)
class InPlace(Quick):
    def meta_step(self, net, state, episodes, progress):
        after = super().meta_step(net, state, episodes, progress)
        for name, value in after.params.items():
            state.params[name].copy_(value)
        return state


@dataclass(frozen=True, kw_only=True)
class ScalesAnswers(Quick):
    def meta_step(self, net, state, episodes, progress):
        episodes.support.y.mul_(0.9)
        return super().meta_step(net, state, episodes, progress)


class InPlaceInside(Quick):
    def inner_step(self, net, meta_params, fast, support, step):
        for name, gradient in net.grad(fast.params, support).items():
            fast.params[name].sub_(self.inner_lr * gradient)
        return fast


@dataclass(frozen=True, kw_only=True)
class InPlaceAtTest(Scratch):
    inner_step = InPlaceInside.inner_step


@dataclass(frozen=True, kw_only=True)
class Remembers(Quick):
    def meta_step(self, net, state, episodes, progress):
        CALLS.append(1)
        return self.outer(net, state, episodes, progress, 0.1 * len(CALLS))


@dataclass(frozen=True, kw_only=True)
class RemembersOnItself(Quick):
    def meta_step(self, net, state, episodes, progress):
        self.__dict__["calls"] = self.__dict__.get("calls", 0) + 1
        return self.outer(net, state, episodes, progress, 0.1 * self.__dict__["calls"])


@dataclass(frozen=True, kw_only=True)
class RemembersAtTest(Scratch):
    def inner_step(self, net, meta_params, fast, support, step):
        CALLS.append(1)
        gradient = net.grad(fast.params, support)
        return fast.replace(
            params={k: v - 0.01 * len(CALLS) * gradient[k] for k, v in fast.params.items()}
        )


@dataclass(frozen=True, kw_only=True)
class Draws(Quick):
    def meta_step(self, net, state, episodes, progress):
        return self.outer(net, state, episodes, progress, float(torch.rand(())))


@dataclass(frozen=True, kw_only=True)
class DrawsInNumpy(Quick):
    def meta_step(self, net, state, episodes, progress):
        return self.outer(net, state, episodes, progress, np.random.rand())


@dataclass(frozen=True, kw_only=True)
class DrawsInPython(Quick):
    def meta_step(self, net, state, episodes, progress):
        return self.outer(net, state, episodes, progress, random.random())


@dataclass(frozen=True, kw_only=True)
class DrawsAtTest(Scratch):
    def start_adaptation(self, net, meta_params):
        fast = super().start_adaptation(net, meta_params)
        return fast.replace(params={k: v + np.random.rand() for k, v in fast.params.items()})


@dataclass(frozen=True, kw_only=True)
class FirstTaskOnly(Quick):
    def meta_step(self, net, state, episodes, progress):
        first = type(episodes)(*(batch.at(slice(1)) for batch in episodes))
        return super().meta_step(net, state, first, progress)


@dataclass(frozen=True, kw_only=True)
class OneAfterTheOther(Quick):
    """Online: each task starts where the one before led; the outer rate makes the order tell."""

    meta_lr: float = 0.5

    def meta_step(self, net, state, episodes, progress):
        for n in range(len(episodes.query.x)):
            one = type(episodes)(*(batch.at(slice(n, n + 1)) for batch in episodes))
            state = super().meta_step(net, state, one, progress)
        return state


@dataclass(frozen=True, kw_only=True)
class Grows(Quick):
    def meta_step(self, net, state, episodes, progress):
        after = super().meta_step(net, state, episodes, progress)
        return after.replace(extra={"steps": torch.zeros(1)})


@dataclass(frozen=True, kw_only=True)
class Doubles(Quick):
    def meta_step(self, net, state, episodes, progress):
        after = super().meta_step(net, state, episodes, progress)
        return after.replace(params={name: value.double() for name, value in after.params.items()})


@dataclass(frozen=True, kw_only=True)
class Standardises(Quick):
    """Divides by the deviation between tasks, of which one has none."""

    def meta_step(self, net, state, episodes, progress):
        losses = vmap(lambda episode: self.task_loss(net, state.params, episode, progress))(
            episodes
        )
        return self.outer(net, state, episodes, progress, 1 / losses.std())


@dataclass(frozen=True, kw_only=True)
class Idle(MAML):
    def meta_step(self, net, state, episodes, progress):
        return state

    def inner_step(self, net, meta_params, fast, support, step):
        return fast


@dataclass(frozen=True, kw_only=True)
class Climbs(MAML):
    def task_loss(self, net, meta_params, episode, progress):
        return -super().task_loss(net, meta_params, episode, progress)


@dataclass(frozen=True, kw_only=True)
class Explodes(MAML):
    inner_lr: float = 1e30


@dataclass(frozen=True, kw_only=True)
class Unpicklable(MAML):
    def __reduce__(self):
        raise TypeError("no")


@dataclass(frozen=True, kw_only=True)
class DoublesItsRate(Quick):
    def __post_init__(self):
        object.__setattr__(self, "inner_lr", 2 * self.inner_lr)


BREAKS = [
    (InPlace, metastrategies.is_pure, "in place"),
    (ScalesAnswers, metastrategies.is_pure, "in place"),
    (InPlaceInside, metastrategies.is_pure, "in place|inplace"),
    (InPlaceAtTest, metastrategies.repeats_itself, "in place|inplace"),
    (Remembers, metastrategies.is_pure, "two results"),
    (RemembersOnItself, metastrategies.is_pure, "two results"),
    (Remembers, metastrategies.repeats_itself, "two runs of seed 3 differ"),
    (RemembersAtTest, metastrategies.repeats_itself, "two runs of seed 3 differ"),
    (
        Remembers,
        metastrategies.does_not_depend_on_other_replicates,
        "seed 1 alone and with seeds 0 and 2: the results differ by",
    ),
    (Draws, metastrategies.uses_no_global_randomness, "raised|generator moved"),
    (DrawsInNumpy, metastrategies.uses_no_global_randomness, "generator moved"),
    (DrawsInPython, metastrategies.uses_no_global_randomness, "different global seeds differ"),
    (DrawsAtTest, metastrategies.uses_no_global_randomness, "generator moved"),
    (
        FirstTaskOnly,
        metastrategies.takes_tasks_in_any_order,
        "tasks in another order: the results differ by",
    ),
    (
        OneAfterTheOther,
        metastrategies.takes_tasks_in_any_order,
        "tasks in another order: the results differ by",
    ),
    (Grows, metastrategies.keeps_its_shapes, "is new"),
    (Doubles, metastrategies.keeps_its_shapes, "is torch.float64, wanted"),
    (
        Standardises,
        metastrategies.takes_any_task,
        "non-finite with meta_batch_size=1, shots=1, queries=1|degrees of freedom",
    ),
    (Explodes, metastrategies.takes_any_task, "non-finite"),
    (Unpicklable, metastrategies.pickles, "cannot be pickled"),
    (DoublesItsRate, metastrategies.is_recorded, "a part made of them has"),
    (Idle, metastrategies.learns, "not 5 % less"),
    (Climbs, metastrategies.learns, "not 5 % less"),
    (Explodes, metastrategies.learns, "non-finite"),
]


@pytest.mark.parametrize(
    ("part", "check", "reason"), BREAKS, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_meta_strategy_that_breaks_a_claim_fails_that_check(part, check, reason):
    outcome = strategies.verdict(part(), check)
    assert outcome.outcome == "failed"
    assert re.search(reason, outcome.why)


def test_every_claim_of_the_contract_is_broken_by_some_meta_strategy_here():
    assert {check for _, check, _ in BREAKS} == set(metastrategies.CHECKS)


@pytest.mark.parametrize("check", metastrategies.CHECKS, ids=lambda check: check.__name__)
def test_the_meta_strategy_that_the_broken_ones_derive_from_keeps_the_contract(check):
    assert strategies.verdict(Quick(), check).outcome == "passed"


def test_a_meta_strategy_that_is_not_frozen_is_no_class_at_all():
    with pytest.raises(TypeError, match="non-frozen"):
        dataclass(type("Thawed", (MetaStrategy,), {}))


def test_a_meta_strategy_is_held_to_the_contract_of_meta_strategies_alone():
    claims = [verdict.claim for verdict in strategies.verdicts(Scratch())]
    assert claims == [check.__doc__ for check in metastrategies.CHECKS]
    assert {verdict.outcome for verdict in strategies.verdicts(Scratch())} == {"passed"}


def test_a_strategy_of_streams_is_held_to_the_contract_of_streams():
    finetune, maml = Registry().get("strategies", "finetune"), MAML()
    names = [check.__name__ for check in strategies.checks_of(finetune)]
    assert names[:-2] == [check.__name__ for check in strategies.CHECKS]
    assert strategies.checks_of(maml) == metastrategies.CHECKS
    assert not set(strategies.CHECKS) & set(metastrategies.CHECKS) - {
        metastrategies.pickles,
        metastrategies.is_recorded,
    }
