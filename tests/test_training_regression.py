"""Regression: the loop against a plain PyTorch loop, the errors against NumPy, and its records."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch.nn.functional import mse_loss

from retrograde.contract.toys import Blobs, blobs
from retrograde.data.dataset import Dataset
from retrograde.errors import UserError
from retrograde.interface.benchmark import Benchmark
from retrograde.interface.learner import Learner
from retrograde.networks.build import build
from retrograde.parts.registry import Registry
from retrograde.randomness import generator, torch_seed
from retrograde.streams.cuts import regression_tasks
from retrograde.streams.schedule import train_rows
from retrograde.training.cell_check import check
from retrograde.training.stream_loop import train
from retrograde.training.stream_replicas import StreamReplicas

CPU = torch.device("cpu")
PARTS = Registry()
SEEDS = [0, 3]


def waves(**settings):
    return PARTS.get(
        "benchmarks", "waves", {"model": "mlp-16", "tasks": 3, "batches": 4} | settings
    )


def plain_loop(benchmark, part, seed):
    """The model after each experience, from the one before training on; one replicate."""
    stream, memory = benchmark.stream(seed=seed), part.memory()
    held = memory.empty() if memory else None
    data, outputs = stream.data, stream.targets.shape[1]
    model = build(benchmark.model, data.shape, outputs, torch_seed(seed, "weights"))
    optimizer = torch.optim.SGD(model.parameters(), lr=part.lr)
    amplitude, phase = (generator(seed, "waves").uniform(size=(2, 3)).T * [4.9, np.pi]).T
    amplitude = amplitude + 0.1
    yield model
    for number in range(len(stream)):
        schedule = part.schedule()
        rows, held = train_rows(stream, number, benchmark, schedule, memory, held, seed)
        for step in rows:
            used = step[step.real]
            x = torch.from_numpy(data.x_train[used.row])
            # The values come from the input alone, and not from the table of the stream.
            function, z = data.x_train[used.row, :3].argmax(1), data.x_train[used.row, 3]
            y = amplitude[function] * np.sin(z.astype(float) + phase[function])
            optimizer.zero_grad()
            mse_loss(model(x)[:, 0], torch.from_numpy(y).float()).backward()
            optimizer.step()
        yield model


@pytest.mark.parametrize("name", ["finetune", "er"])
def test_waves_are_learned_as_by_a_plain_pytorch_loop(name):
    benchmark = waves(batch_size=5)
    part = PARTS.get("strategies", name, {"lr": 0.01})
    streams = [benchmark.stream(seed=seed) for seed in SEEDS]
    backend = StreamReplicas(benchmark, part, streams, SEEDS, CPU)
    plain = [plain_loop(benchmark, part, seed) for seed in SEEDS]
    for models in zip(*plain, strict=True):
        for replicate, model in enumerate(models):
            for key, value in model.state_dict().items():
                assert torch.allclose(backend.state.params[key][replicate], value, atol=1e-5), key
        if backend.begun < 2:
            backend.learn(backend.begun + 1, lambda _: None)


def test_squared_errors_are_those_of_numpy_at_every_evaluation():
    benchmark = waves(tests=7)
    part = PARTS.get("strategies", "finetune", {"lr": 0.01})
    streams = [benchmark.stream(seed=seed) for seed in SEEDS]
    outcomes = train(benchmark, part, streams, SEEDS, CPU)
    for seed, stream, outcome in zip(SEEDS, streams, outcomes, strict=True):
        sums = []
        for model in plain_loop(benchmark, part, seed):
            tests = [stream.test(task) for task in range(3)]
            with torch.no_grad():
                errors = [model(torch.from_numpy(x)).numpy() - y for x, y in tests]
            sums.append([float((error.astype(float) ** 2).sum()) for error in errors])
        assert np.allclose(outcome.squared_errors, sums, rtol=1e-4)
        assert outcome.test_examples == [7, 7, 7]
        assert (outcome.correct, outcome.classes, outcome.divergence) == ([], None, "")


def test_the_error_of_several_values_is_their_mean():
    benchmark, data = Blobs(scenario="domain", regression=True), blobs()
    stream = benchmark.stream(data, 0)
    part = PARTS.get("strategies", "finetune", {"lr": 0.01})
    (outcome,) = train(benchmark, part, [stream], [0], CPU)
    model = build("mlp-16", (12,), 2, torch_seed(0, "weights"))
    x, y = stream.test(1)
    assert y.shape == (20, 2)
    with torch.no_grad():
        error = model(torch.from_numpy(x)).numpy() - y
    assert outcome.squared_errors[0][1] == pytest.approx((error**2).mean(1).sum(), rel=1e-5)


def test_replicates_together_are_those_alone_but_for_rounding():
    benchmark, part = waves(), PARTS.get("strategies", "er", {"lr": 0.01})
    both = train(benchmark, part, [benchmark.stream(seed=s) for s in SEEDS], SEEDS, CPU)
    for seed, together in zip(SEEDS, both, strict=True):
        (alone,) = train(benchmark, part, [benchmark.stream(seed=seed)], [seed], CPU)
        assert np.allclose(alone.squared_errors, together.squared_errors, rtol=1e-4)


def test_a_run_with_errors_that_are_not_finite_has_diverged():
    benchmark, part = waves(), PARTS.get("strategies", "finetune", {"lr": 1e20})
    (outcome,) = train(benchmark, part, [benchmark.stream(seed=0)], [0], CPU)
    assert outcome.divergence == "A parameter or a score became non-finite in experience 1."
    assert len(outcome.squared_errors) == 1


def test_gradients_are_probed_of_the_squared_error():
    benchmark, part = waves(probe_examples=40), PARTS.get("strategies", "finetune", {"lr": 0.01})
    (outcome,) = train(benchmark, part, [benchmark.stream(seed=0)], [0], CPU)
    # 100 tests of each task, of which the first 40 or all are probed.
    assert len(outcome.gradients) == 3
    whole = replace(benchmark, probe_examples=1000)
    (probed,) = train(whole, part, [whole.stream(seed=0)], [0], CPU)
    last = np.array(probed.squared_errors[-1]) / probed.test_examples
    assert np.allclose(probed.gradients[-1].loss, last, rtol=2e-3)
    assert [account.task for account in outcome.accounts] == [1, 2]


class PlainLearner(Learner):
    """Fine-tuning of regression as existing code would do it."""

    classes_only = False

    def receive(self, info):
        assert info.regression

    def setup(self, model):
        self.model, self.optimizer = model, torch.optim.SGD(model.parameters(), lr=0.01)

    def observe(self, x, y, task):
        self.optimizer.zero_grad()
        mse_loss(self.model(x), y).backward()
        self.optimizer.step()

    def predict(self, x, task):
        return self.model(x)


def test_a_learner_that_does_the_same_gets_the_same_errors_and_gradients():
    benchmark, part = waves(), PARTS.get("strategies", "finetune", {"lr": 0.01})
    stream = benchmark.stream(seed=1)
    (pure,) = train(benchmark, part, [stream], [1], CPU)
    (opaque,) = train(benchmark, PlainLearner(), [stream], [1], CPU)
    assert np.allclose(pure.squared_errors, opaque.squared_errors, rtol=1e-4)
    assert np.allclose(pure.gradients[-1].loss, opaque.gradients[-1].loss, rtol=2e-3)


def test_a_learner_is_refused_unless_it_says_that_it_learns_values():
    class OfClasses(PlainLearner):
        classes_only = True

    with pytest.raises(UserError, match="OfClasses needs classes"):
        check(waves(), OfClasses(), waves().stream(seed=0), CPU)


@dataclass(frozen=True, kw_only=True)
class Lines(Benchmark):
    """Two lines through the origin, each with two values; a benchmark as a user writes it."""

    dataset: str = ""
    scenario: str = "domain"
    model: str = "mlp-4"

    def generated(self):
        x = np.linspace(-1, 1, 20, dtype=np.float32)[:, None]
        y = np.repeat([0, 1], 10)
        return Dataset("lines", x, y, x, y)

    def cut(self, data, seed):
        slope = np.where(data.y_train[:, None] == 0, [1.0, 2.0], [-1.0, 3.0])
        return regression_tasks(data, slope * data.x_train, slope * data.x_test)


def test_a_benchmark_of_values_trains_and_its_stream_has_them():
    benchmark = Lines()
    stream = benchmark.stream()
    second = [*stream][1]
    assert np.allclose(second.y_train, second.x_train * [-1, 3])
    part = PARTS.get("strategies", "joint", {"lr": 0.1})
    check(benchmark, part, stream, CPU)
    (outcome,) = train(benchmark, part, [stream], [0], CPU)
    assert np.shape(outcome.squared_errors) == (3, 2)


def test_values_that_do_not_fit_the_examples_are_refused():
    data = Lines().generated()
    with pytest.raises(UserError, match=r"20 test examples, and test has the shape \(19, 1\)"):
        regression_tasks(data, np.zeros((20, 1)), np.zeros((19, 1)))
    with pytest.raises(UserError, match="they have 1 and 2"):
        regression_tasks(data, np.zeros((20, 1)), np.zeros((20, 2)))
    with pytest.raises(UserError, match="train holds NaN"):
        regression_tasks(data, np.full((20, 1), np.nan), np.zeros((20, 1)))


def test_a_benchmark_without_a_dataset_says_so():
    @dataclass(frozen=True, kw_only=True)
    class Nothing(Lines):
        generated = Benchmark.generated

    with pytest.raises(UserError, match="come from a dataset; dataset is empty"):
        Nothing().stream()
