"""The Avalanche bridge: the same weights from the same batches, nothing leaks out, and what does not suit is refused."""

import importlib
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from retrograde.contract.claims import global_state
from retrograde.data.sources import load
from retrograde.errors import UserError
from retrograde.interface.batch import Batch
from retrograde.interface.net import Net
from retrograde.interface.state import State
from retrograde.networks.functional import Networks
from retrograde.optim import OPTIMIZERS
from retrograde.parts.registry import Registry
from retrograde.parts.spec import as_pairs, parse
from retrograde.testing import toy_step
from retrograde.training.cell_check import check
from retrograde.training.opaque import OpaqueReplica
from retrograde.training.stream_loop import train
from retrograde.training.stream_replicas import StreamReplicas

pytestmark = pytest.mark.skipif(not find_spec("avalanche"), reason="avalanche-lib is not installed")
CPU = torch.device("cpu")
PARTS = Registry()
DIGITS = load("digits", Path())
ROWS = ["class", "domain", "task"]


def strategy(spec):
    return PARTS.get("strategies", *parse(spec))


def split(**settings):
    return PARTS.get("benchmarks", "split", {"tasks": "2", "epochs": "2", **settings})


def opaque(spec, benchmark, seed=0):
    return OpaqueReplica(benchmark, strategy(spec), benchmark.stream(DIGITS, seed), seed, CPU)


@pytest.fixture
def taken(monkeypatch):
    """The mini-batches that Avalanche's strategies train on, as (x, y)."""
    # The bridge makes PyPI's torchvision importable beside a CPU build of torch.
    importlib.import_module("retrograde.bridges.avalanche")
    from retrograde.strategies import _avalanche

    seen = []
    original = _avalanche.TrainingObserver.after_training_iteration

    def listening(self, strategy, **more):
        seen.append((strategy.mb_x.clone(), strategy.mb_y.clone()))
        original(self, strategy, **more)

    monkeypatch.setattr(_avalanche.TrainingObserver, "after_training_iteration", listening)
    return seen


def gap(params, others):
    return max(float((value - others[name]).abs().max()) for name, value in params.items())


@pytest.mark.parametrize(
    "optimizer", ["sgd", "momentum"]
)  # Adam makes a step of full size of a gradient that is rounding
@pytest.mark.parametrize("scenario", ROWS)
def test_finetune_follows_naive_over_more_than_100_steps(scenario, optimizer):
    benchmark, lr = (
        split(scenario=scenario, optimizer=optimizer),
        0.1 if optimizer == "sgd" else 0.01,
    )
    theirs = opaque(f"avalanche:class=Naive,lr={lr}", benchmark)
    ours = StreamReplicas(
        benchmark, strategy(f"finetune:lr={lr}"), [benchmark.stream(DIGITS, 0)], [0], CPU
    )
    start = ours.parameters()
    for number in range(2):
        assert (
            theirs.learn(number, lambda _: None).steps
            == ours.learn(number, lambda _: None).steps
            > [100]
        )
        assert gap(ours.parameters(), theirs.parameters()) < 1e-5
        assert gap(ours.parameters(), start) > 0.1
    assert np.array_equal(
        ours.evaluate(ours.test_rows).correct, theirs.evaluate(theirs.test_rows).correct
    )


def test_er_follows_replay_over_more_than_100_steps_on_the_batches_that_replay_drew(taken):
    backend = opaque("avalanche:class=Replay,mem_size=50,lr=0.1", split())
    er, net = strategy("er:lr=0.1"), Net(Networks(backend.twin), OPTIMIZERS["sgd"]())
    state = State(dict(backend.start), {}, {})
    for number in range(2):
        backend.learn(number, lambda _: None)
    for x, y in taken:
        batch = Batch(x, y, torch.zeros_like(y), torch.ones(len(y)))
        data = toy_step(batch.at(slice(10)), batch.at(slice(10, None)))
        state = er.step(net, state, data)
    assert sum(len(y) == 20 for _, y in taken) > 100
    assert gap(state.params, backend.parameters()) < 1e-5


@pytest.mark.parametrize("spec", ["Naive", "Replay,mem_size=50", "ER_ACE,mem_size=50"])
@pytest.mark.parametrize("scenario", ["class", "task"])
def test_incoming_examples_come_in_the_batches_and_in_the_order_of_every_other_strategy(
    spec, scenario, taken
):
    benchmark = split(scenario=scenario, updates_per_batch="2")
    backend, other = (
        opaque(f"avalanche:class={spec}", benchmark, 3),
        opaque("avalanche", benchmark, 3),
    )
    for number in range(2):
        given = []
        other.learner.learn = lambda experience, _, given=given: given.append(experience)
        other.learn(number, lambda _: None)
        taken.clear()
        backend.learn(number, lambda _: None)
        assert len(taken) == len(given[0].batches)
        for (x, y), batch in zip(taken, given[0].batches, strict=True):
            assert torch.equal(x[: len(batch)], given[0].x[batch])
            assert torch.equal(y[: len(batch)], given[0].y[batch])


def test_replayed_examples_are_counted():
    outcome = train(
        split(),
        strategy("avalanche:class=Replay,mem_size=50"),
        [split().stream(DIGITS, 0)],
        [0],
        CPU,
    )[0]
    assert outcome.counts["incoming"] == 2 * len(DIGITS.y_train)
    second_task = len(split().stream(DIGITS, 0).experiences[1].row)
    assert outcome.counts["replayed"] == 10 * 2 * -(-second_task // 10)
    assert outcome.how["backend"] == "opaque"


@pytest.mark.parametrize(
    "spec",
    [
        "Replay,mem_size=50",
        "GDumb,mem_size=50",
        "ICaRL,memory_size=50,buffer_transform=None,fixed_memory=true",
    ],
)
def test_the_global_generators_stay_where_they_are_and_the_seed_decides(spec):
    part, streams = strategy(f"avalanche:class={spec}"), [split().stream(DIGITS, 0)]
    torch.manual_seed(1)
    before = global_state()
    first = train(split(), part, streams, [0], CPU)[0]
    assert global_state() == before
    torch.manual_seed(2)
    again, other = train(split(), part, streams * 2, [0, 1], CPU)
    assert first.correct == again.correct != other.correct


@pytest.mark.parametrize("spec", ["Naive", "Replay,mem_size=50", "EWC,ewc_lambda=1"])
def test_evaluations_during_a_task_change_nothing_that_avalanches_strategy_learns(spec):
    def outcome(**settings):
        benchmark = split(train_examples="60", epochs="1", **settings)
        return train(
            benchmark,
            strategy(f"avalanche:class={spec}"),
            [benchmark.stream(DIGITS, 0)],
            [0],
            CPU,
            "off",
        )[0]

    evaluated, plain = outcome(eval_every="2", eval_examples="20"), outcome()
    assert evaluated.online_accuracy.step == [0, 2, 4, 6, 8, 10, 12]
    assert (evaluated.correct, evaluated.counts) == (plain.correct, plain.counts)


def test_a_loss_that_is_no_number_is_a_divergence():
    outcome = train(
        split(),
        strategy("avalanche:class=Replay,mem_size=50,lr=1e9"),
        [split().stream(DIGITS, 0)],
        [0],
        CPU,
    )[0]
    assert "non-finite in experience 1" in outcome.divergence


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("class=Repaly", r"no strategy 'Repaly'\. Did you mean Replay"),
        ("class=LaMAML", r"Did you mean lamaml(_v2)?\.LaMAML"),
        ("class=Replay,memsize=3", r"Replay takes no 'memsize'\. Did you mean mem_size\?"),
        ("class=EWC", "no default for ewc_lambda"),
        ("class=EWC,ewc_lambda=1,mode=neither", "cannot be built"),
        ("class=Naive,train_epochs=3", "takes no 'train_epochs'"),
        ("class=PNNStrategy", "requires a PNN model"),
        ("class=ExpertGateStrategy", "requires an ExpertGate model"),
        ("class=AR1", "makes one of its own"),
        ("class=LearningToPrompt,model_name=any", "makes one of its own"),
        ("lr=0", "above 0"),
    ],
)
def test_a_strategy_that_does_not_fit_is_refused_before_training(spec, why):
    with pytest.raises(UserError, match=why):
        check(split(), strategy(f"avalanche:{spec}"), split().stream(DIGITS, 0), CPU)


def test_without_avalanche_the_parts_are_listed_and_a_run_is_refused_with_how_to_install_it():
    hidden = "import sys; sys.modules['avalanche'] = None; from retrograde.cli import main; main()"
    run = ("run", "--benchmark", "split", "--strategy", "avalanche:class=Replay")
    listed, refused = (
        subprocess.run(
            [sys.executable, "-c", hidden, *words], capture_output=True, text=True, check=False
        )
        for words in (("list", "strategies"), run)
    )
    assert (listed.returncode, "class=Naive" in listed.stdout) == (0, True)
    assert refused.returncode == 2
    assert "pip install" in refused.stderr
    assert "avalanche-lib" in refused.stderr


@pytest.mark.parametrize(
    "changed",
    [
        "",
        "class=EWC,lr=0.01,ewc_lambda=0.5,mode=online",
        "class=GSS_greedy,mem_size=100,input_size=1,8,8",
        "class=ICaRL,a=None,b=true",
    ],
)
def test_the_settings_are_those_that_are_written(changed):
    part = strategy(f"avalanche:{changed}" if changed else "avalanche")
    assert as_pairs(part.overrides()) == changed
    assert type(part).configured(part.settings()).settings() == part.settings()


def test_arguments_are_values_and_part_of_the_identity():
    settings = strategy(
        "avalanche:class=X,lr=0.5,n=3,x=0.5,flag=true,none=None,shape=1,8,mode=online"
    ).settings()
    assert settings == {
        "class": "X",
        "lr": 0.5,
        "n": 3,
        "x": 0.5,
        "flag": True,
        "none": None,
        "shape": [1, 8],
        "mode": "online",
    }


@pytest.mark.parametrize("scenario", ROWS)
def test_a_stream_comes_back_from_avalanche_as_it_went(scenario):
    from retrograde.bridges.avalanche import as_avalanche, from_avalanche

    benchmark = PARTS.get(
        "benchmarks",
        "permuted" if scenario == "domain" else "split",
        {"scenario": scenario, "tasks": "2"},
    )
    stream = benchmark.stream(DIGITS, 0)
    back = from_avalanche(as_avalanche(stream, scenario))
    assert np.array_equal(back.units, stream.units)
    for mine, again in zip(stream, back, strict=True):
        for name in ("x_train", "y_train", "task_train", "x_test", "y_test", "outputs"):
            assert np.array_equal(getattr(mine, name), getattr(again, name))


def test_experiences_have_the_classes_timeline_and_task_labels_of_avalanches_own():
    from avalanche.benchmarks import task_incremental_benchmark, with_classes_timeline

    from retrograde.bridges.avalanche import as_avalanche

    ours = as_avalanche(split(tasks="5").stream(DIGITS, 0), "task")
    plain = as_avalanche(split(tasks="5").stream(DIGITS, 0), "class")
    theirs = with_classes_timeline(task_incremental_benchmark(plain, reset_task_labels=True))
    names = (
        "classes_in_this_experience",
        "previous_classes",
        "classes_seen_so_far",
        "future_classes",
        "task_label",
        "task_labels",
    )
    for stream in ("train_stream", "test_stream"):
        for mine, other in zip(getattr(ours, stream), getattr(theirs, stream), strict=True):
            assert [getattr(mine, name) for name in names] == [
                getattr(other, name) for name in names
            ]
            assert mine.dataset[0][1:] == other.dataset[0][1:]


def test_experiences_that_share_some_classes_only_are_refused():
    from retrograde.bridges.avalanche import as_avalanche, from_avalanche

    made = as_avalanche(split(tasks="5").stream(DIGITS, 0), "class")
    first, second, *_ = made.train_stream
    first.dataset = first.dataset.concat(second.dataset)
    with pytest.raises(UserError, match="all of their classes or none"):
        from_avalanche(made)


def parts(stream):
    """The training examples of each experience, then the test examples of each task."""
    return [*stream.experiences, *(task.test for task in stream.tasks)]


@pytest.mark.parametrize("scenario", ROWS)
def test_a_class_incremental_benchmark_of_avalanches_is_a_split_of_ours(scenario):
    benchmark = PARTS.get(
        "benchmarks",
        "avalanche",
        {"scenario": scenario, "num_experiences": "2", "class_order": "8,1,2,0,9,4,3,7,6,5"},
    )
    ours = split(
        scenario=scenario, class_order="1,2,8,0,9,3,4,5,6,7"
    )  # by rank where the label set is one
    pairs = zip(parts(benchmark.stream(DIGITS, 0)), parts(ours.stream(DIGITS, 0)), strict=True)
    for part, again in pairs:
        order = np.argsort(part.row)
        assert np.array_equal(part.row[order], again.row)
        if scenario != "domain":
            assert np.array_equal(part.y[order], again.y)
        assert set(part.y) == set(again.y)


def test_a_benchmark_of_which_every_experience_has_all_classes_gives_them_apart_unless_domain_incremental():
    settings = {"class": "new_instances_benchmark", "num_experiences": "3"}
    domain, apart = (
        PARTS.get("benchmarks", "avalanche", {**settings, "scenario": scenario}).stream(DIGITS, 0)
        for scenario in ("domain", "class")
    )
    assert domain.units.all()
    assert domain.units.shape == (3, 10)
    assert apart.units.shape == (3, 30)
    for number, task in enumerate(domain.tasks):
        shifted = domain.experiences[number].y + 10 * number
        assert np.array_equal(shifted, apart.experiences[number].y)
        assert np.array_equal(task.test.row, np.arange(len(DIGITS.y_test)))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"class": "SplitMNST", "n_experiences": "5"}, "Did you mean SplitMNIST"),
        ({"num_experience": "5"}, r"takes no 'num_experience'\. Did you mean num_experiences"),
        ({"num_experiences": "0"}, "cannot be made: ValueError"),
    ],
)
def test_a_benchmark_that_cannot_be_made_is_refused(settings, why):
    with pytest.raises(UserError, match=why):
        PARTS.get("benchmarks", "avalanche", settings).stream(DIGITS, 0)
