"""Pretraining on other classes before a stream, the same for all strategies."""

import numpy as np
import pytest
import torch
from hypothesis import given as over, strategies as st
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from retrograde.contract.toys import Blobs, blobs
from retrograde.errors import UserError
from retrograde.networks.build import build
from retrograde.parts.registry import Registry
from retrograde.randomness import generator, torch_seed
from retrograde.streams.pretraining import EpisodeRows, draw
from retrograde.streams.schedule import Schedule, train_rows
from retrograde.training.cell_check import check
from retrograde.training.clocks import Clocks
from retrograde.training.episode_replicas import BLOCK
from retrograde.training.pretraining import pretrain, pretrained_replicas
from retrograde.training.stream_loop import expected_steps, train
from retrograde.training.stream_replicas import StreamReplicas

CPU = torch.device("cpu")
PARTS = Registry()
PRETRAINED = ["oml", "anml", "maml_init", "pretrained"]
DIGITS = {
    "dataset": "digits",
    "split": (5, 1, 4),
    "test_after": (1, 3),
    "model": "mlp-8",
    "pretraining_steps": 60,
}


def sequence(**settings):
    from pathlib import Path

    from retrograde.data.sources import load

    benchmark = PARTS.get("benchmarks", "omniglot_sequence", DIGITS | settings)
    return benchmark, load("digits", Path())


def strategy(name, **settings):
    return PARTS.get("strategies", name, settings)


def backend(part, seeds=(0, 1), **settings):
    benchmark = Blobs(model=part.contract_model, held=4, batch_size=1, **settings)
    streams = [benchmark.stream(blobs(held=4), seed) for seed in seeds]
    return StreamReplicas(benchmark, part, streams, list(seeds), CPU)


def every_episode(stream, seed=0, count=None):
    """The rows of the episodes of a stream, as many as there are steps."""
    count = count or stream.pretraining.steps
    drawn = draw(stream.pretraining, count, generator(seed, "lessons", 0))
    return [EpisodeRows(*(part[number] for part in drawn)) for number in range(count)]


@over(st.integers(0, 50), st.sampled_from(["test", "validation"]))
def test_episodes_have_training_examples_of_held_out_classes_only(seed, classes_of):
    benchmark, data = sequence(classes_of=classes_of, split=(5, 2, 3), test_after=(1, 2))
    stream = benchmark.stream(data, seed)
    taught = {
        data.y_train[row]
        for episode in every_episode(stream, seed)
        for part in episode
        for row in part.row
    }
    trained = {data.y_train[row] for each in stream.experiences for row in each.row}
    assert taught == {0, 1, 2, 3, 4}
    assert trained <= ({5, 6} if classes_of == "validation" else {7, 8, 9})


def test_a_trajectory_is_class_after_class_and_its_query_is_of_the_same_classes():
    benchmark, data = sequence(trajectory_classes=2, shots=3, queries=2, remember_examples=7)
    for trajectory, query, remember_set in every_episode(benchmark.stream(data, 0)):
        assert np.array_equal(trajectory.y, np.repeat(trajectory.y[::3], 3))
        assert np.array_equal(query.y[::2], trajectory.y[::3])
        assert (
            len({*trajectory.row, *query.row}) == 2 * 5
        )  # no example is learned from and asked for
        assert [len(part) for part in (trajectory, query, remember_set)] == [6, 4, 7]
        assert np.array_equal(data.y_train[trajectory.row], trajectory.y)


def test_episodes_follow_from_the_seed_alone():
    one, company = (drawn_for(seeds) for seeds in ((1,), (0, 1)))
    assert len(one) == len(company) >= 60
    for mine, theirs in zip(one, company, strict=True):
        assert torch.equal(mine.x[0], theirs.x[1])
        assert torch.equal(mine.y[0], theirs.y[1])
        assert not torch.equal(mine.x[0], theirs.x[0])
    firsts = {tuple(episode.x[0].flatten().tolist()) for episode in one}
    assert len(firsts) == len(one)


def drawn_for(seeds):
    """The episodes that replicates of these seeds are pretrained on."""
    benchmark, data = sequence()
    streams = [benchmark.stream(data, 0) for _ in seeds]
    at_work = StreamReplicas(benchmark, strategy("oml"), streams, list(seeds), CPU)
    return [*pretrained_replicas(at_work).batches]


def test_the_stream_is_class_after_class_and_its_units_count_up():
    benchmark, data = sequence(test_after=(2, 3))
    stream = benchmark.stream(data, 0)
    units = np.concatenate(
        [train_rows(stream, n, benchmark, Schedule(), None, None, 0)[0].y[:, 0] for n in range(2)]
    )
    assert (np.diff(units) >= 0).all()
    assert set(units) == {0, 1, 2}


def test_a_joint_pool_of_an_ordered_stream_is_shuffled():
    benchmark, data = sequence()
    rows, _ = train_rows(
        benchmark.stream(data, 0), 1, benchmark, Schedule("all so far"), None, None, 0
    )
    assert (np.diff(rows.y[:, 0]) < 0).any()


def adapted(module, part, batches, learns):
    """The parameters after inner steps, as functions of the module's own."""
    params = dict(module.named_parameters())
    for x, y in batches:
        moving = {name: value for name, value in params.items() if learns(name)}
        loss = cross_entropy(functional_call(module, params, x), y)
        gradient = torch.autograd.grad(loss, [*moving.values()], create_graph=True)
        pairs = zip(moving.items(), gradient, strict=True)
        params |= {name: value - part.inner_lr * slope for (name, value), slope in pairs}
    return params


def one_by_one(x, y):
    return zip(x[:, None], y[:, None], strict=True)


def in_head(name):
    return name.startswith("head")


def learned_by_hand(name, module, part, support):
    """The parameters after the inner steps of an episode."""
    if name == "oml":
        return adapted(module, part, one_by_one(*support), in_head)
    if name == "anml":
        return adapted(module, part, one_by_one(*support), lambda name: "gate." not in name)
    if name == "maml_init":
        return adapted(module, part, [support] * part.inner_steps, in_head)
    return dict(module.named_parameters())


JUDGED = {"oml": (1, 2), "anml": (0, 2), "maml_init": (1, 2), "pretrained": (2,)}
"""The parts of an episode that the outer loss is taken on: support, query, remembered."""


def pretrained_by_hand(name, part, benchmark, stream, seed):
    """A module after pretraining in plain PyTorch."""
    data = stream.data
    outputs = stream.units.shape[1]
    module = build(benchmark.model, data.shape, outputs, torch_seed(seed, "weights"))
    momentum = 0.9 if benchmark.optimizer == "momentum" else 0
    optimizer = torch.optim.SGD(module.parameters(), lr=part.meta_lr, momentum=momentum)
    for episode in every_episode(stream, seed, BLOCK)[: stream.pretraining.steps]:
        parts = [
            (torch.from_numpy(data.x_train[rows.row]), torch.from_numpy(rows.y.copy()))
            for rows in episode
        ]
        support = parts[0]
        if name != "pretrained":
            module.head.weight.data[support[1]] = 0
            module.head.bias.data[support[1]] = 0
        params = learned_by_hand(name, module, part, support)
        x, y = (torch.cat(pair) for pair in zip(*(parts[i] for i in JUDGED[name]), strict=True))
        optimizer.zero_grad()
        cross_entropy(functional_call(module, params, x), y).backward()
        optimizer.step()
    return module


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
@pytest.mark.parametrize("name", PRETRAINED)
def test_pretraining_is_that_of_a_plain_pytorch_loop_of_meta_steps(name, optimizer):
    at_work = backend(strategy(name, meta_lr=0.05), optimizer=optimizer)
    before = at_work.state.params
    pretrain(at_work, Clocks(CPU))
    for replicate, stream in enumerate(at_work.streams):
        part, benchmark = at_work.strategy, at_work.benchmark
        module = pretrained_by_hand(name, part, benchmark, stream, replicate)
        for key, value in module.named_parameters():
            found = at_work.state.params[key][replicate]
            if in_head(key):
                assert not found.any()
            else:
                assert_close(found, value.detach(), rtol=1e-3, atol=1e-5)
                assert (found - before[key][replicate]).abs().max() > 1e-3


class Gated(PARTS.find("strategies", "pretrained")):
    """Has a module of its own, which pretraining does not know."""

    def modules(self, shape, outputs, features):
        return {"gate": torch.nn.Linear(features, 1)}


def test_own_modules_start_the_stream_as_they_were_built():
    at_work = backend(Gated(meta_lr=0.1))
    before = at_work.state.params
    pretrain(at_work, Clocks(CPU))
    assert set(at_work.state.params) == set(before)
    assert torch.equal(at_work.state.params["gate.weight"], before["gate.weight"])
    assert not torch.equal(at_work.state.params["1.weight"], before["1.weight"])


def test_pretraining_starts_from_given_weights(tmp_path):
    module = build("mlp-16", (12,), 10, seed=5)
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    part = strategy("pretrained", meta_lr=1e-9)
    at_work = backend(part, weights=str(tmp_path / "weights.pt"))
    pretrain(at_work, Clocks(CPU))
    for found in at_work.state.params["1.weight"]:
        assert_close(found, module[1].weight.detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", PRETRAINED)
def test_pretraining_changes_the_features_and_leaves_a_blank_head_and_fresh_slots(name):
    at_work = backend(strategy(name, optimizer="momentum"))
    before = at_work.state.params
    pretrain(at_work, Clocks(CPU))
    assert not at_work.state.params["head.weight"].any()
    assert not any(slot.any() for slot in at_work.state.slots["velocity"].values())
    assert any(
        (value != at_work.state.params[key]).any()
        for key, value in before.items()
        if not key.startswith("head")
    )


@pytest.mark.parametrize(("trainable", "others"), [("head", False), ("all", True)])
@pytest.mark.parametrize("name", PRETRAINED)
def test_along_the_stream_the_head_moves_alone_unless_all_is_to_move(name, trainable, others):
    at_work = backend(strategy(name, trainable=trainable))
    pretrain(at_work, Clocks(CPU))
    before = at_work.state.params
    at_work.learn(0, lambda _: None)
    moved = {key for key, value in at_work.state.params.items() if (value != before[key]).any()}
    assert {"head.weight", "head.bias"} <= moved
    assert any(not key.startswith("head") for key in moved) == others


def test_the_loop_has_a_clock_for_pretraining_and_reports_every_step():
    benchmark, data = sequence(train_examples=5)
    streams, told = [benchmark.stream(data, 0)], []
    outcome = train(benchmark, strategy("oml"), streams, [0], CPU, "off", told.append)[0]
    assert outcome.clocks["pretrain"] > 0
    counts = [each for each in told if isinstance(each, int)]
    assert sum(counts) == expected_steps(benchmark, strategy("oml"), streams[0]) == 60 + 10
    assert outcome.counts["steps"] == 10


def test_a_strategy_that_does_not_pretrain_is_given_no_episode():
    benchmark, data = sequence(train_examples=5)
    stream = benchmark.stream(data, 0)
    assert (
        "pretrain"
        not in train(benchmark, strategy("finetune"), [stream], [0], CPU, "off")[0].clocks
    )
    assert expected_steps(benchmark, strategy("finetune"), stream) == 10


def test_without_pretraining_data_a_strategy_that_pretrains_is_refused_before_anything_trains():
    benchmark = Blobs()
    with pytest.raises(
        UserError,
        match="OML learns from other classes before the stream begins, and Blobs has none",
    ):
        check(benchmark, strategy("oml"), benchmark.stream(blobs(), 0), CPU)


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"split": (5, 5, 5)}, "three numbers of classes"),
        ({"test_after": (3, 2)}, "rising numbers of classes, here at most the 4 for test"),
        ({"test_after": (2,), "classes_of": "validation"}, "at most the 1 for validation"),
        ({"trajectory_classes": 6}, "at most the 5 for pretraining"),
    ],
)
def test_a_sequence_that_cannot_be_cut_is_refused_with_the_rule(settings, rule):
    benchmark, data = sequence(**settings)
    with pytest.raises(UserError, match=rule):
        benchmark.stream(data, 0)


def test_episodes_that_want_more_examples_than_a_class_has_are_refused():
    benchmark, data = sequence(shots=900)
    with pytest.raises(
        UserError, match=r"different examples .* shots \+ queries is 90\d. Lower one of them"
    ):
        check(benchmark, strategy("oml"), benchmark.stream(data, 0), CPU)


def test_anml_refuses_a_model_without_a_gate():
    benchmark = Blobs(held=4)
    with pytest.raises(UserError, match="the model has none"):
        check(benchmark, strategy("anml"), benchmark.stream(blobs(held=4), 0), CPU)


def test_anmls_gate_stands_still_along_the_stream():
    anml = PARTS.get("strategies", "anml", {"trainable": "all"})
    assert not anml.learns("gated.gate.1.weight")
    assert anml.learns("gated.features.1.weight")


def test_a_schedule_that_reinitialises_starts_from_the_pretrained_state():
    at_work = backend(strategy("pretrained"))
    pretrain(at_work, Clocks(CPU))
    at_work.learn(0, lambda _: None)
    pretrained, after = at_work.initial, at_work.state
    assert any(value.any() for key, value in after.params.items() if in_head(key))
    assert not any(value.any() for key, value in pretrained.params.items() if in_head(key))
    at_work.schedule = Schedule("all so far", reinitialise=True)
    at_work.begin(1)
    assert at_work.state is pretrained
