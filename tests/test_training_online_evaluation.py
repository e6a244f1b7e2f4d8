"""Evaluation within tasks, against plain predictions; and that nothing is disturbed."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from retrograde.contract.toys import Blobs, blobs
from retrograde.data.sources import load
from retrograde.interface.learner import Learner
from retrograde.parts.registry import Registry
from retrograde.randomness import seeded
from retrograde.records.cell import CellSpec, PartSpec
from retrograde.records.experiences import Experiences
from retrograde.records.record import Record
from retrograde.streams.schedule import chosen_tests, test_rows
from retrograde.training.opaque import OpaqueReplica
from retrograde.training.stream_loop import train
from retrograde.training.stream_replicas import StreamReplicas

test_rows.__test__ = False  # a function of the suite, no test
CPU = torch.device("cpu")
EACH = Experiences.one_per_task(3)
PARTS = Registry()
WITHIN_TASKS = {
    "eval_every": 3,
    "eval_examples": 7,
    "batch_size": 5,
}  # ten steps to each of three tasks


@dataclass
class Careless(Learner):
    """SGD with chance in it, whose predictions draw random numbers, move running statistics and stay in evaluation mode."""

    def setup(self, model):
        self.model = model.train()

    def observe(self, x, y, task):
        chosen = torch.randint(len(y), (4,))
        loss = cross_entropy(self.model(x[chosen]), y[chosen]) * (1 if self.model.training else 5)
        for parameter, gradient in zip(
            self.model.parameters(),
            torch.autograd.grad(loss, [*self.model.parameters()]),
            strict=True,
        ):
            parameter.data -= (
                np.random.rand() / 10 * gradient
            )  # not `random`: from it the checks of types draw
        self.model.train()

    def predict(self, x, task):
        torch.rand(1), random.random(), np.random.rand()
        self.model.train()(x)
        return self.model.eval()(x)


class Forgetful(Careless):
    """Leaves no running statistics behind, and for the rest is as careless."""

    def predict(self, x, task):
        torch.rand(1), random.random(), np.random.rand()
        return self.model.eval()(x)


def strategy(name):
    return PARTS.get("strategies", name)


def run(part, seeds=(0,), **settings):
    benchmark = Blobs(**settings)
    streams = [benchmark.stream(blobs(), seed) for seed in seeds]
    return train(benchmark, part, streams, list(seeds), CPU, "off")


@pytest.mark.parametrize("scenario", ["class", "domain", "task"])
@pytest.mark.parametrize("name", ["finetune", "er"])
def test_counts_are_those_of_the_whole_test_on_the_chosen_examples_step_by_step(name, scenario):
    course = run(strategy(name), scenario=scenario, **WITHIN_TASKS)[0].online_accuracy
    benchmark = Blobs(scenario=scenario, batch_size=5)
    backend = StreamReplicas(benchmark, strategy(name), [benchmark.stream(blobs(), 0)], [0], CPU)
    places, found = chosen_tests(backend.streams[0], 7, 0), []
    for number in range(3):
        backend.learn(
            number, lambda _: found.append(backend.evaluate(backend.test_rows).correct[0])
        )
    amid = [
        (step, right) for step, right in zip(course.step, course.correct, strict=True) if step % 10
    ]
    assert [step for step, _ in amid] == [3, 6, 9, 13, 16, 19, 23, 26, 29]
    for step, right in amid:
        assert right == [int(found[step - 1][place].sum()) for place in places[: len(right)]]


@pytest.mark.parametrize("part", [strategy("finetune"), Careless()], ids=["pure", "opaque"])
def test_tests_come_before_the_stream_every_so_many_steps_and_at_ends(part):
    course = run(part, **WITHIN_TASKS)[0].online_accuracy
    assert course.step == [0, 3, 6, 9, 10, 13, 16, 19, 20, 23, 26, 29, 30]
    assert course.task == [0] * 5 + [1] * 4 + [2] * 4
    assert [len(right) for right in course.correct] == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3]
    assert (course.test_examples, course.inconsistency([20] * 3, EACH)) == ([7] * 3, "")


@pytest.mark.parametrize("part", [strategy("er"), Careless()], ids=["pure", "opaque"])
def test_on_all_examples_the_counts_at_ends_are_those_of_the_whole_test(part):
    outcome = run(part, eval_every=4)[0]
    ends = [outcome.online_accuracy.correct[end] for end in outcome.online_accuracy.ends]
    assert outcome.online_accuracy.correct[0] == outcome.correct[0][:1]
    assert ends == [row[: min(number + 2, 3)] for number, row in enumerate(outcome.correct[1:])]


PURE = ["er", "lamaml", "icarl", "joint", "incremental_joint"]
LEARNERS = [
    *((strategy(name), "mlp-16") for name in PURE),
    *((part, "mlp-16") for part in (strategy("finetune"), Careless())),
    *((part, "mlpbn-16") for part in (strategy("finetune"), Forgetful())),
]


@pytest.mark.parametrize(("part", "model"), LEARNERS, ids=str)
def test_evaluating_changes_no_result(part, model):
    evaluated, without = (
        run(part, model=model, batch_size=5, eval_every=every)[0] for every in (1, 0)
    )
    assert evaluated.online_accuracy
    assert without.online_accuracy is None
    for what in ("correct", "correct_given_task", "gradients", "accounts", "counts", "memory"):
        assert getattr(evaluated, what) == getattr(without, what)


def test_how_a_learner_is_tested_does_not_change_what_it_learns():
    class Tidy(Careless):
        def predict(self, x, task):
            with seeded(0):
                scores = self.model.eval()(x)
            self.model.train()
            return scores

    careless, tidy = (run(part, batch_size=5)[0] for part in (Careless(), Tidy()))
    assert careless.correct == tidy.correct


class Calm(Careless):
    """The same learner with predictions that draw nothing and change nothing."""

    def predict(self, x, task):
        self.model.eval()
        with torch.no_grad():
            return self.model(x)


def test_a_test_leaves_parameters_buffers_modes_and_generators_alone():
    benchmark = Blobs(model="mlpbn-8")
    backend = OpaqueReplica(benchmark, Careless(), benchmark.stream(blobs(), 0), 0, CPU)
    kept = {name: value.clone() for name, value in backend.model.state_dict().items()}
    with seeded(5):
        backend.evaluate(backend.test_rows)
        after = torch.rand(1), random.random(), np.random.rand()
    calm = OpaqueReplica(benchmark, Calm(), benchmark.stream(blobs(), 0), 0, CPU)
    with seeded(5):
        # The type checks of tests draw numbers too, as many for any learner.
        calm.evaluate(calm.test_rows)
        assert after == (torch.rand(1), random.random(), np.random.rand())
    assert backend.model.training
    assert all(torch.equal(value, kept[name]) for name, value in backend.model.state_dict().items())


def test_replicates_are_evaluated_as_they_are_alone():
    together, alone = (
        run(strategy("er"), (0, 1), **WITHIN_TASKS),
        run(strategy("er"), (1,), **WITHIN_TASKS),
    )
    assert together[1].online_accuracy == alone[0].online_accuracy
    assert together[0].online_accuracy != together[1].online_accuracy


@pytest.mark.parametrize("name", ["finetune", "er", "joint"])
def test_a_course_does_not_depend_on_the_company_whose_tasks_are_longer(name):
    together = run(strategy(name), (0, 1, 2), uneven=True, **WITHIN_TASKS)
    alone = [run(strategy(name), (seed,), uneven=True, **WITHIN_TASKS)[0] for seed in range(3)]
    assert [outcome.online_accuracy for outcome in together] == [
        outcome.online_accuracy for outcome in alone
    ]
    assert len({tuple(outcome.online_accuracy.step) for outcome in together}) > 1
    assert all(outcome.online_accuracy.step[-1] == outcome.counts["steps"] for outcome in together)


def test_a_replicate_that_diverged_has_no_course():
    outcome = run(PARTS.find("strategies", "finetune")(lr=1e30), **WITHIN_TASKS)[0]
    assert outcome.divergence
    assert outcome.online_accuracy is None


def test_evaluating_within_tasks_has_a_clock_of_its_own():
    evaluated, without = (run(strategy("finetune"), eval_every=every)[0].clocks for every in (1, 0))
    assert evaluated["online"] > 0
    assert "online" not in without


def test_the_chosen_examples_are_the_tasks_own_and_the_same_for_one_seed():
    stream = PARTS.get("benchmarks", "split").stream(load("digits", Path()), 0)
    few, again, other = (chosen_tests(stream, 5, seed) for seed in (0, 0, 1))
    assert [set(test_rows(stream).task[place]) for place in few] == [{0}, {1}, {2}, {3}, {4}]
    assert np.array_equal(few, again)
    assert not np.array_equal(few, other)
    assert np.concatenate(chosen_tests(stream, 0, 0)).tolist() == [*range(len(test_rows(stream)))]


def test_a_course_survives_its_record():
    outcome = run(strategy("er"), **WITHIN_TASKS)[0]
    cell = CellSpec(PartSpec("blobs", {}), PartSpec("er", {}), "digest")
    record = Record(
        cell,
        0,
        "failed",
        test_examples=outcome.test_examples,
        correct=outcome.correct,
        online_accuracy=outcome.online_accuracy,
    )
    assert Record.from_json(record.to_json()).online_accuracy == outcome.online_accuracy
