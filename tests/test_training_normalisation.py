"""Batch normalisation on streams: examples are predicted apart, and running statistics follow what is trained on."""

from functools import cache, partial

import numpy as np
import pytest
import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from retrograde.contract.toys import Blobs, blobs
from retrograde.data.dataset import Dataset
from retrograde.errors import UserError
from retrograde.interface.learner import Learner
from retrograde.metrics.online import stability_gap
from retrograde.networks.build import build
from retrograde.parts.registry import Registry
from retrograde.randomness import torch_seed
from retrograde.records.experiences import Experiences
from retrograde.streams.rows import Rows
from retrograde.training.cell_check import check
from retrograde.training.opaque import OpaqueReplica
from retrograde.training.stream_loop import train
from retrograde.training.stream_replicas import StreamReplicas

CPU = torch.device("cpu")
PARTS = Registry()
SHIPPED = ["mlp-8", "conv", "plainconv-4", "gated-mlp-8", "gated-conv", "gated-plainconv-4"]
NOTHING = 1e-60
"""A rate that in single precision is 0."""
NORMALISED = ["mlpbn-8", "conv4-4", "gated-mlpbn-8", "gated-conv4-4"]
USERS = """
from torch import nn
from retrograde.models._layers import ChannelsLast, Halving, MeanOverSpace
from retrograde.networks.build import build

def tracked(shape, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, outputs))

def untracked(shape, outputs):
    norm = nn.BatchNorm1d(8, track_running_stats=False)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), norm, nn.ReLU(), nn.Linear(8, outputs))

def starts_at_zero(shape, outputs):
    model = untracked(shape, outputs)
    nn.init.zeros_(model[-1].weight)
    return model

def halved(shape, outputs):
    return nn.Sequential(ChannelsLast(), Halving(1, 4, running=True), nn.ReLU(), MeanOverSpace(), nn.Linear(4, outputs))

class Contrasts(nn.Module):
    def __init__(self, shape, outputs):
        super().__init__()
        self.layer = nn.Linear(64, outputs)

    def forward(self, x):
        x = self.layer(x.flatten(1))
        return x - x.amax(0) / 10

def still(name):
    def make(shape, outputs):
        model = build(name, shape, outputs, 0, running=True)
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm1d):
                layer.momentum = 0.0
        return model
    return make

mlpbn, conv4, gated_mlpbn, gated_conv4 = map(still, ("mlpbn-8", "conv4-4", "gated-mlpbn-8", "gated-conv4-4"))
"""


@cache
def images():
    """Six classes of noisy images of 8 x 8 pixels, 20 each to train on and 10 to test."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((6, 1, 8, 8))

    def part(count):
        y = np.repeat(np.arange(6), count)
        return (centres[y] + random.standard_normal((len(y), 1, 8, 8))).astype(np.float32), y

    return Dataset("images", *part(20), *part(10))


@pytest.fixture(scope="session")
def users(tmp_path_factory):
    file = tmp_path_factory.mktemp("models") / "nets.py"
    file.write_text(USERS)
    return file


def strategy(name, **settings):
    return PARTS.find("strategies", name)(**settings)


def vectorised(model, part, seeds=(0, 1), **settings):
    benchmark = Blobs(model=model, **settings)
    return StreamReplicas(
        benchmark, part, [benchmark.stream(images(), seed) for seed in seeds], list(seeds), CPU
    )


def run(model, part, **settings):
    benchmark = Blobs(model=model, **settings)
    return train(benchmark, part, [benchmark.stream(images(), 0)], [0], CPU)[0]


class SGD(Learner):
    """Fine-tuning in PyTorch, which is tested in evaluation mode."""

    lr = 0.1

    def setup(self, model):
        self.model, self.optimizer = model, torch.optim.SGD(model.parameters(), lr=self.lr)

    def observe(self, x, y, task):
        self.optimizer.zero_grad()
        cross_entropy(self.model.train()(x), y).backward()
        self.optimizer.step()

    def predict(self, x, task):
        return self.model.eval()(x)


class Slow(SGD):
    lr = NOTHING


class AsItIs(SGD):
    """Forgets about modes: the model stays in training mode."""

    def setup(self, model):
        super().setup(model.train())

    def predict(self, x, task):
        return self.model(x)


class Relapses(AsItIs):
    """Begins in evaluation mode, and comes out of training in the other one."""

    def setup(self, model):
        super().setup(model)
        model.eval()


def in_any_company(scores, rows):
    """Compare the scores of test examples in one chunk with those in small chunks, alone and in another order."""
    whole = scores(rows)
    for size in (1, 7):
        assert_close(
            torch.cat([scores(part) for part in rows.split(size, -2)], -2),
            whole,
            rtol=1e-4,
            atol=1e-5,
        )
    order = torch.randperm(rows.shape[-2], generator=torch.Generator().manual_seed(0))
    assert_close(scores(rows[..., order, :]), whole[..., order, :], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", [*SHIPPED, *NORMALISED, "FILE:tracked"])
def test_a_prediction_does_not_depend_on_the_other_test_examples(model, users):
    backend = vectorised(model.replace("FILE", str(users)), strategy("er"))
    backend.learn(0, lambda _: None)
    in_any_company(
        partial(backend.scores, backend.for_prediction()),
        torch.from_numpy(backend.test_rows[0].array),
    )


@pytest.mark.parametrize("model", ["mlpbn-8", "conv4-4"])
def test_neither_does_that_of_a_strategy_which_asks_for_features(model):
    backend = vectorised(model, strategy("icarl", buffer_size=12))
    backend.learn(0, lambda _: None)
    in_any_company(
        partial(backend.scores, backend.for_prediction()),
        torch.from_numpy(backend.test_rows[0].array),
    )


@pytest.mark.parametrize("model", [*NORMALISED, "FILE:tracked"])
def test_neither_does_that_of_a_learner(model, users):
    benchmark = Blobs(model=model.replace("FILE", str(users)))
    backend = OpaqueReplica(benchmark, SGD(), benchmark.stream(images(), 0), 0, CPU)
    backend.learn(0, lambda _: None)
    in_any_company(
        lambda rows: backend.scores(Rows(rows.numpy())),
        torch.from_numpy(backend.test_rows[0, 0].array),
    )


@pytest.mark.parametrize("model", ["untracked", "starts_at_zero", "Contrasts"])
@pytest.mark.parametrize("part", [strategy("finetune"), SGD()], ids=["pure", "opaque"])
def test_a_model_that_predicts_examples_by_each_other_is_refused_on_streams(part, model, users):
    benchmark = Blobs(model=f"{users}:{model}")
    with pytest.raises(
        UserError,
        match=f"may not depend on the others.*:{model} normalises.*track_running_stats=True",
    ):
        check(benchmark, part, benchmark.stream(images(), 0), CPU)


def test_a_learner_that_predicts_in_training_mode_is_refused():
    benchmark = Blobs(model="mlpbn-8")
    with pytest.raises(UserError, match=r"AsItIs with model=mlpbn-8.*model\.eval\(\)"):
        check(benchmark, AsItIs(), benchmark.stream(images(), 0), CPU)


def test_a_learner_that_does_so_once_it_has_learned_something_ends_there():
    class Later(Relapses):
        def observe(self, x, y, task):
            super().observe(x, y, task)
            self.model.train()

    benchmark = Blobs(model="conv4-4")
    check(benchmark, Later(), benchmark.stream(images(), 0), CPU)
    with pytest.raises(UserError, match="Later with model=conv4-4: a score may not depend"):
        run("conv4-4", Later())


@pytest.mark.parametrize("part", [strategy("er", lr=NOTHING), Slow()], ids=["pure", "opaque"])
@pytest.mark.parametrize(
    "model", [*SHIPPED, "FILE:mlpbn", "FILE:conv4", "FILE:gated_mlpbn", "FILE:gated_conv4"]
)
def test_where_nothing_changes_no_test_within_a_task_or_at_its_end_falls(model, part, users):
    course = run(model.replace("FILE", str(users)), part, eval_every=1).online_accuracy
    timeline = Experiences.one_per_task(len(course.test_examples))
    assert stability_gap(course, timeline) == 0
    assert [row[0] for row in course.correct] == [course.correct[0][0]] * len(course.correct)


@pytest.mark.parametrize("model", [*NORMALISED, "FILE:tracked"])
@pytest.mark.parametrize("part", [strategy("finetune", lr=NOTHING), Slow()], ids=["pure", "opaque"])
def test_where_no_parameter_changes_tests_change_by_running_statistics_alone(model, part, users):
    model = model.replace("FILE", str(users))
    course = run(model, part, eval_every=1).online_accuracy
    stream = Blobs(model=model).stream(images(), 0)
    module = build(model, (1, 8, 8), 6, torch_seed(0, "weights"), running=True)
    backend = vectorised(model, strategy("finetune"), (0,))
    expected = [right(module, stream, 1)]
    for number in range(3):
        for row in backend.memories.rows(number)[:, 0]:
            module.train()(torch.from_numpy(images().x_train[row.row]))
            expected.append(right(module, stream, number + 1))
        expected[-1] = right(module, stream, min(number + 2, 3))
    assert course.correct == expected
    assert any(len({row[task] for row in expected if len(row) > task}) > 1 for task in range(3))


def right(module, stream, tasks):
    """How many test examples of each of the first tasks a module in evaluation mode gets right, one by one."""
    module.eval()
    tests = [task.test for task in stream.tasks[:tasks]]
    answers = [
        [int(module(x[None]).argmax()) for x in torch.from_numpy(images().x_test[test.row])]
        for test in tests
    ]
    return [int((np.array(own) == test.y).sum()) for own, test in zip(answers, tests, strict=True)]


@pytest.mark.parametrize("model", ["mlpbn-8", "conv4-4"])
@pytest.mark.parametrize(
    "part",
    [strategy("finetune", lr=0.01), strategy("er", lr=0.01, buffer_size=15)],
    ids=["finetune", "er"],
)
def test_running_statistics_are_those_of_a_plain_pytorch_loop(part, model):
    backend = vectorised(model, part, (0, 3))
    for number in range(3):
        backend.learn(number, lambda _: None)
    for replicate, seed in enumerate((0, 3)):
        module = plain_loop(model, part, seed)
        for name, value in module.named_buffers():
            assert_close(backend.state.buffers[name][replicate], value, rtol=1e-5, atol=1e-6)
        for name, value in module.named_parameters():
            assert_close(
                backend.state.params[name][replicate], value.detach(), rtol=1e-4, atol=1e-5
            )


def plain_loop(model, part, seed):
    """One training-mode pass a step, over incoming and replayed examples, padding included; padding has no loss."""
    module = build(model, (1, 8, 8), 6, torch_seed(seed, "weights"), running=True).train()
    optimizer, rows = (
        torch.optim.SGD(module.parameters(), lr=part.lr),
        vectorised(model, part, (seed,)).memories.rows,
    )
    for number in range(3):
        for step in rows(number)[:, 0]:
            losses = cross_entropy(
                module(torch.from_numpy(images().x_train[step.row])),
                torch.from_numpy(step.y.copy()),
                reduction="none",
            )
            optimizer.zero_grad()
            losses[step.real].mean().backward()
            optimizer.step()
    return module


def incoming(module, x, y, state, lr):
    return x[:10]


def incoming_and_all_stored(module, x, y, state, lr):
    return torch.cat([x[:10], state.extra["memory"].x[0]])


def incoming_and_most_harmed(module, x, y, state, lr):
    """Of the candidates those two whose loss a step on the incoming examples raises most."""
    before = cross_entropy(module(x[10:]), y[10:], reduction="none")
    gradients = torch.autograd.grad(cross_entropy(module(x[:10]), y[:10]), [*module.parameters()])
    with torch.no_grad():
        for value, gradient in zip(module.parameters(), gradients, strict=True):
            value.sub_(gradient, alpha=lr)
    harm = cross_entropy(module(x[10:]), y[10:], reduction="none") - before
    return torch.cat([x[:10], x[10:][harm.argsort(descending=True)[:2]]])


FOLLOWED = {
    "finetune": (strategy("finetune", lr=0.05), incoming),
    "gem": (strategy("gem", lr=0.05, buffer_size=30), incoming),
    "agem": (strategy("agem", lr=0.05, buffer_size=30, replay_batch=12), incoming),
    "gss": (strategy("gss", lr=0.05, buffer_size=4, replay_batch=4), incoming_and_all_stored),
    "mir": (
        strategy("mir", lr=0.05, buffer_size=30, candidates=10, replay_batch=2),
        incoming_and_most_harmed,
    ),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_running_statistics_follow_the_examples_that_a_step_trains_on(name, users):
    part, expected = FOLLOWED[name]
    model = f"{users}:halved"
    backend = vectorised(model, part, (0,))
    for number in range(3):
        rows = backend.memories.rows(number)
        for step, row in zip(backend._steps(rows, number), rows[:, 0], strict=True):
            state = backend.state
            backend.carried = step(backend.carried)
            if number == 0:  # the memory fills
                continue
            x, y = torch.from_numpy(images().x_train[row.row]), torch.from_numpy(row.y.copy())
            trained = expected(loaded(model, state.params), x, y, state, part.lr)
            module = loaded(model, state.model)
            module(trained)
            for key, value in module.named_buffers():
                assert_close(backend.state.buffers[key][0], value, rtol=1e-5, atol=1e-6)
        backend._end(number)


def loaded(model, tensors, replicate=0):
    """A module in training mode with the tensors of a replicate."""
    module = build(model, (1, 8, 8), 6, 0, running=True)
    of_replicate = {name: value[replicate] for name, value in tensors.items()}
    module.load_state_dict(of_replicate, strict=False)
    return module.train()


def look_ahead(module, part, rates, row, incoming):
    """The passes of a look-ahead step in turn, by a module in training mode."""
    x, y = torch.from_numpy(images().x_train[row.row]), torch.from_numpy(row.y.copy())
    real, params = torch.from_numpy(row.real.copy()).float(), dict(module.named_parameters())
    for start in range(0, incoming, part.inner_batch):
        some = slice(start, min(start + part.inner_batch, incoming))
        outputs = functional_call(module, params, x[some])
        losses = cross_entropy(outputs, y[some], reduction="none") * real[some]
        loss = losses.sum() / real[some].sum().clamp(min=1)
        gradients = torch.autograd.grad(loss, [*params.values()])
        pairs = zip(params.items(), gradients, strict=True)
        params = {name: value - rates[name] * gradient for (name, value), gradient in pairs}
        if part.trajectory:
            functional_call(module, params, x)
    if not part.trajectory:
        functional_call(module, params, x)


@pytest.mark.parametrize("trajectory", [True, False])
@pytest.mark.parametrize("first_order", [True, False])
def test_running_statistics_follow_the_passes_of_nested_gradients(first_order, trajectory):
    """Batches are padded, and one replicate has steps of padding alone, which change nothing."""
    settings = {"first_order": first_order, "trajectory": trajectory, "inner_lr": 0.02}
    part = strategy("lamaml", inner_batch=4, buffer_size=20, **settings)
    backend = vectorised("mlpbn-8", part, (0, 1), batch_size=7, uneven=True)
    padded = 0
    for number in range(2):
        rows = backend.memories.rows(number)
        for step, row in zip(backend._steps(rows, number), rows, strict=True):
            state = backend.state
            backend.carried = step(backend.carried)
            for replicate in (0, 1):
                module = loaded("mlpbn-8", state.model, replicate)
                if row[replicate, :7].real.any():
                    rates = {name: rate[replicate] for name, rate in state.extra.items()}
                    look_ahead(module, part, rates, row[replicate], 7)
                else:
                    padded += 1
                for name, value in module.named_buffers():
                    found = backend.state.buffers[name][replicate]
                    assert_close(found, value, rtol=1e-4, atol=1e-5)
    assert padded > 0


def test_a_gss_memory_that_is_not_full_shows_a_normalised_model_no_blank_examples(users):
    model = f"{users}:halved"
    backend = vectorised(model, strategy("gss", buffer_size=30, replay_batch=10), (0,))
    rows = backend.memories.rows(0)
    after = next(backend._steps(rows, 0))(backend.carried).state.buffers
    arrived = images().x_train[rows[0, 0].row]
    module = loaded(model, backend.state.model)
    module(torch.from_numpy(np.concatenate([arrived, arrived])))
    for name, value in module.named_buffers():
        assert_close(after[name][0], value, rtol=1e-5, atol=1e-6)


def test_following_running_statistics_adds_no_rows_to_the_count():
    counts = []
    for model in ("mlp-8", "mlpbn-8"):
        benchmark = Blobs(model=model)
        outcome = train(benchmark, strategy("mir"), [benchmark.stream(blobs(), 0)], [0], CPU)[0]
        counts.append((outcome.counts["forward"], outcome.counts["backward"]))
    assert counts[0] == counts[1]
