"""Hooks whose results broadcast, lack a tensor or change their inputs are refused before anything trains, with their line."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from retrograde.contract import metastrategies
from retrograde.contract.toys import Blobs, blobs
from retrograde.errors import UserError
from retrograde.interface.learner import Learner
from retrograde.interface.strategy import Strategy
from retrograde.parts.registry import Registry
from retrograde.streams.memory import ExemplarMemory
from retrograde.training import boundary, episode_loop
from retrograde.training.cell_check import check
from retrograde.training.stream_loop import train

CPU = torch.device("cpu")
Finetune, MAML = (Registry().find("strategies", name) for name in ("finetune", "maml"))


class Counts(Finetune):
    def init(self, net, params):
        return {"seen": torch.zeros(())}


def stepping(change):
    """A strategy whose step returns what this makes of the right state, the state before and the data."""

    class Stepping(Counts):
        def step(self, net, state, data):
            return change(
                net.update(state, net.grad(state.params, data.incoming), self.lr), state, data
            )

    return Stepping()


STEPS = {
    "nothing": (lambda _after, _state, _data: None, "gives a State; it gave None"),
    "a pair": (lambda after, _state, _data: (after, {}), "gives a State; it gave a tuple of 2"),
    "a missing key": (
        lambda after, _state, _data: after.replace(extra={}),
        r"extra\['seen'\] is missing",
    ),
    "a key too many": (
        lambda after, state, _data: after.replace(extra={**state.extra, "n": torch.ones(1)}),
        "is new",
    ),
    "a shape that broadcasts": (
        lambda after, _state, _data: after.replace(extra={"seen": torch.zeros(1)}),
        r"extra\['seen'\] has shape \(1,\), wanted \(\)",
    ),
    "another dtype": (
        lambda after, state, _data: after.replace(extra={"seen": state.extra["seen"].double()}),
        "float64",
    ),
    "a number": (
        lambda after, _state, _data: after._replace(extra={"seen": 1.0}),
        "is a float, no tensor",
    ),
    "a missing parameter": (
        lambda after, _state, _data: after.replace(params=dict(list(after.params.items())[1:])),
        r"params\['1\.weight'\] is missing",
    ),
    "a state changed in place": (
        lambda after, state, _data: (state.extra["seen"].add_(1), after)[1],
        r"changes state.extra\['seen'\] in place",
    ),
    "an data changed in place": (
        lambda after, _state, data: (data.incoming.x.mul_(2), after)[1],
        "data.incoming.x",
    ),
}


@pytest.mark.parametrize("fault", STEPS)
def test_a_step_that_gives_or_changes_what_it_may_not_is_refused(fault):
    change, why = STEPS[fault]
    benchmark = Blobs()
    with pytest.raises(
        UserError, match=rf"Stepping\.step \(test_training_boundary\.py:\d+\).*{why}"
    ):
        check(benchmark, stepping(change), benchmark.stream(blobs(), 0), CPU)


SCORES = {
    "one unit": (lambda scores: scores[:, :1], r"it gave \(8, 1\), wanted \(8, 6\)"),
    "labels": (lambda scores: scores.argmax(1), r"it gave \(8,\), wanted \(8, 6\)"),
    "too few rows": (lambda scores: scores[:1], r"it gave \(1, 6\), wanted \(8, 6\)"),
    "too few classes": (lambda scores: scores[:, :5], r"it gave \(8, 5\), wanted \(8, 6\)"),
    "no tensor": (lambda _: None, r"it gave None, wanted \(8, 6\)"),
    "truth values": (lambda scores: scores > 0, "it gave torch.bool. Give real numbers"),
}


def predicting(change):
    """A strategy and a learner that predict what this makes of the logits of the initial model."""

    class Pure(Finetune):
        def step(self, net, state, data):
            return state

        def predict(self, net, state, x, task):
            return change(net.logits(state.params, x, task))

    class Opaque(Learner):
        def setup(self, model):
            self.model = model

        def observe(self, x, y, task):
            pass

        def predict(self, x, task):
            return change(self.model(x))

    return Pure(), Opaque()


@pytest.mark.parametrize("fault", SCORES)
def test_scores_of_another_shape_are_refused_of_a_strategy_and_of_a_learner(fault):
    change, why = SCORES[fault]
    benchmark = Blobs()
    for part in predicting(change):
        with pytest.raises(
            UserError,
            match=rf"{type(part).__name__}\.predict \(test_training_boundary\.py:\d+\) gives.*{why}",
        ):
            check(benchmark, part, benchmark.stream(blobs(), 0), CPU)


@pytest.mark.parametrize(
    "change",
    [
        lambda logits: torch.nn.functional.one_hot(logits.argmax(-1), 6),
        lambda logits: logits.double() + 1e9,
    ],
)
def test_votes_and_large_scores_give_the_answers_of_the_logits(change):
    benchmark = Blobs()
    streams = [benchmark.stream(blobs(), 0)]
    found = [
        train(benchmark, part, streams, [0], CPU, "off")[0].correct
        for part in (*predicting(lambda logits: logits), *predicting(change))
    ]
    assert found[1:] == found[:1] * 3


class PredictsInPlace(Counts):
    def predict(self, net, state, x, task):
        state.extra["seen"].add_(1)
        return net.logits(state.params, x, task)


class StartsWithANumber(Finetune):
    def init(self, net, params):
        return {"n": 1.0}


class StartsWithNothing(Finetune):
    def init(self, net, params):
        return None


class NoSchedule(Finetune):
    def schedule(self):
        return "incoming"


class StartsWithAPair(Finetune):
    def start(self, net, params):
        return params, {}


class BeginsInAnotherShape(Counts):
    def begin_experience(self, net, state, number):
        return state.replace(extra={"seen": torch.zeros(2)})


class BeginsWithNothing(Counts):
    grows = True

    def begin_experience(self, net, state, number):
        return None


class PreparesNothing(Counts):
    def before_evaluation(self, net, state, memory):
        return state.extra


class PreparesInPlace(Counts):
    def before_evaluation(self, net, state, memory):
        state.extra["seen"].add_(1)
        return state


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (PredictsInPlace(), r"PredictsInPlace\.predict .* changes state.extra\['seen'\] in place"),
        (StartsWithANumber(), r"init .* it gave a float for \['n'\]"),
        (StartsWithNothing(), "init .* gives a dictionary of tensors by name; it gave None"),
        (NoSchedule(), "schedule .* gives a Schedule; it gave a str"),
        (StartsWithAPair(), "start .* gives a State; it gave a tuple of 2"),
        (
            BeginsInAnotherShape(),
            r"begin_experience .* extra\['seen'\] has shape \(2,\), wanted \(\).*grows: ClassVar",
        ),
        (BeginsWithNothing(), "begin_experience .* gives a State; it gave None"),
        (PreparesNothing(), "before_evaluation .* gives a State; it gave a dict of 1"),
        (PreparesInPlace(), r"before_evaluation .* changes state.extra\['seen'\] in place"),
    ],
)
def test_so_is_every_other_hook_on_the_way_to_the_first_test(part, why):
    benchmark = Blobs()
    with pytest.raises(UserError, match=why):
        check(benchmark, part, benchmark.stream(blobs(), 0), CPU)


class EndsInPlace(Counts):
    def end_experience(self, net, state, finished):
        state.extra["seen"].add_(1)
        return state


class EndsWithLess(Counts):
    def end_experience(self, net, state, finished):
        return state.replace(extra={})


@dataclass(frozen=True)
class RanksAll(Finetune):
    def memory(self):
        return ExemplarMemory(6, 2)

    def rank_exemplars(self, net, state, examples, share):
        return torch.zeros(1)


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (EndsInPlace(), "end_experience .* in place"),
        (EndsWithLess(), r"end_experience .* extra\['seen'\] is missing"),
        (RanksAll(), r"rank_exemplars .* a number for each example; it gave \(1,\), wanted"),
    ],
)
def test_a_hook_of_the_end_of_a_task_is_refused_there(part, why):
    benchmark = Blobs()
    with pytest.raises(UserError, match=why):
        train(benchmark, part, [benchmark.stream(blobs(), 0)], [0], CPU)


class BroadcastLoss(MAML):
    def task_loss(self, net, learned, episode, progress):
        return super().task_loss(net, learned, episode, progress)[None]


class InnerInPlace(MAML):
    def inner_step(self, net, learned, fast, support, step):
        after = super().inner_step(net, learned, fast, support, step)
        support.y.mul_(2)
        return after


class MetaStepLess(MAML):
    def meta_step(self, net, state, episodes, progress):
        after = super().meta_step(net, state, episodes, progress)
        return after.replace(params=dict(list(after.params.items())[1:]))


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (BroadcastLoss(), r"task_loss .* gives one number.*; it gave \(1,\), wanted \(\)"),
        (InnerInPlace(), "inner_step .* changes support.y in place"),
        (MetaStepLess(), r"meta_step .* is missing"),
    ],
)
def test_a_meta_strategy_is_held_to_the_same_rules(part, why):
    benchmark = metastrategies.Lines()
    with pytest.raises(UserError, match=why):
        episode_loop.check(benchmark, part, benchmark.distribution(None, 0))


def test_counts_of_other_shapes_are_refused():
    boundary.check_counts(Counts(), "own_replay", np.zeros(2, int), np.zeros(2, int))
    for wrong in (3, np.zeros(3, int), np.zeros(2)):
        with pytest.raises(UserError, match="own_replay .* gives whole numbers"):
            boundary.check_counts(Counts(), "own_replay", wrong, np.zeros(2, int))


def test_a_state_with_numbers_that_are_none_is_not_taken_for_changed():
    given = {"state": {"a": torch.tensor([torch.nan, 1.0])}}
    before = boundary.copied(given)
    boundary.check_unchanged(Counts(), "step", boundary.changed(given, before))
    given["state"]["a"][1] = 2
    with pytest.raises(UserError, match=r"state\['a'\] in place"):
        boundary.check_unchanged(Counts(), "step", boundary.changed(given, before))


@dataclass(frozen=True)
class Centred(Strategy):
    """Predicts by features of which the mean of the batch is subtracted."""

    def step(self, net, state, data):
        return net.update(state, net.grad(state.params, data.incoming), 0.1)

    def predict(self, net, state, x, task):
        return net.logits(state.params, x - x.mean(0), task)


def test_a_prediction_that_depends_on_the_other_rows_is_refused():
    benchmark = Blobs()
    with pytest.raises(UserError, match="Centred.predict .* of an example alone and with others"):
        check(benchmark, Centred(), benchmark.stream(blobs(), 0), torch.device("cpu"))
