"""Counts by class, of every backend, against the predictions that they count."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from retrograde.contract.toys import Blobs, blobs
from retrograde.interface.learner import Learner
from retrograde.parts.registry import Registry
from retrograde.training.class_counter import ClassCounter
from retrograde.training.opaque import OpaqueReplica
from retrograde.training.stream_loop import train
from retrograde.training.stream_replicas import StreamReplicas

CPU = torch.device("cpu")
SCENARIOS = ["class", "domain", "task"]


class Plain(Learner):
    """SGD in plain PyTorch."""

    def setup(self, model):
        self.model = model

    def observe(self, x, y, task):
        weights = [*self.model.parameters()]
        gradients = torch.autograd.grad(cross_entropy(self.model(x), y), weights)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.data -= 0.1 * gradient

    def predict(self, x, task):
        return self.model(x)


def pure():
    return Registry().find("strategies", "finetune")(lr=0.1)


def streams(benchmark, seeds):
    return [benchmark.stream(blobs(), seed) for seed in seeds]


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("learner", [pure, Plain])
def test_what_is_counted_fits_the_counts_by_task_in_every_backend(learner, scenario):
    benchmark = Blobs(scenario=scenario)
    own = streams(benchmark, [0, 1])
    outcomes = train(benchmark, learner(), own, [0, 1], CPU, "off")
    for stream, outcome in zip(own, outcomes, strict=True):
        classes = outcome.classes
        assert classes.inconsistency(outcome.test_examples, outcome.correct, 3) == ""
        assert classes.first == classes.task
        assert len(classes.predicted) == (4 if scenario == "class" else 0)
        pairs = {(j, y) for j, task in enumerate(stream.tasks) for y in task.test.y.tolist()}
        assert [*zip(classes.task, classes.output, strict=True)] == sorted(pairs)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("opaque", [False, True])
def test_the_unit_that_is_predicted_is_right_exactly_where_the_prediction_is_correct(
    opaque, scenario
):
    benchmark = Blobs(scenario=scenario)
    own = streams(benchmark, [0])
    if opaque:
        backend = OpaqueReplica(benchmark, Plain(), own[0], 0, CPU)
    else:
        backend = StreamReplicas(benchmark, pure(), own, [0], CPU)
    found = backend.evaluate(backend.test_rows)
    tests = backend.test_rows[:, 0].reshape(-1)
    assert np.array_equal(found.predicted[0] == tests.y, found.correct[0])
    if scenario == "task":
        assert own[0].units[tests.task, found.predicted[0]].all()


def test_replicates_that_train_together_predict_as_each_alone():
    benchmark = Blobs(scenario="class")
    together = train(benchmark, pure(), streams(benchmark, [0, 1]), [0, 1], CPU, "off")
    for seed in (0, 1):
        (alone,) = train(benchmark, pure(), streams(benchmark, [seed]), [seed], CPU, "off")
        both = np.array(together[seed].classes.predicted)
        assert np.abs(both - alone.classes.predicted).max() <= 1


def test_a_class_without_training_examples_is_first_seen_after_all_experiences():
    (stream,) = streams(Blobs(scenario="class"), [0])
    last = stream.experiences[-1]
    kept = last.at(last.y == last.y[0])
    stream = replace(stream, experiences=(*stream.experiences[:-1], kept))
    rows = StreamReplicas(Blobs(scenario="class"), pure(), [stream], [0], CPU).test_rows
    counts = ClassCounter(stream, rows[:, 0], counts_predictions=True).counts()
    first = dict(zip(counts.output, counts.first, strict=True))
    of_last = sorted(set(stream.tasks[-1].test.y.tolist()))
    assert [first[unit] for unit in of_last] == [2 if unit == last.y[0] else 3 for unit in of_last]
