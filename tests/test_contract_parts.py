"""The contracts of benchmarks, models, results and datasets, and strategies on a benchmark."""

import re
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import retrograde as rg
from retrograde import (
    Benchmark,
    Dataset,
    DataSource,
    Learner,
    Model,
    Rate,
    Strategy,
    TableResult,
    split_classes,
)
from retrograde.contract.parts import verdicts
from retrograde.contract.results import made_up
from retrograde.contract.toys import IMAGES
from retrograde.networks.build import model
from retrograde.parts.registry import Registry
from retrograde.reporting.table import Entry, Section, Table

PARTS = Registry()
Split = PARTS.find("benchmarks", "split")
MLP = PARTS.find("models", "mlp")
Finetune = PARTS.find("strategies", "finetune")
ALL = [
    (kind, name)
    for kind in ("benchmarks", "results", "models")
    for name in PARTS.names(kind)
    if name
    not in (
        "avalanche",
        "given",
        "omniglot",
        "omniglot_sequence",
        "sequence",
        "stream",
        "efficientnet_lite0",
    )
]
NAMED = {
    "conv4": "conv4-4",
    "plainconv": "plainconv-4",
    "gated": "gated-mlp-4",
    "mlpdropout": "mlpdropout-0.5-16",
}


def failures(part, **more):
    return {v.claim: v.why for v in verdicts(part, **more) if v.outcome == "failed"}


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_every_part_that_ships_keeps_the_contract_of_its_kind(kind, name):
    given = {"dataset": "digits"} if name == "mnist360" else None
    part = model(NAMED.get(name, name)) if kind == "models" else PARTS.get(kind, name, given)
    assert failures(part) == {}


def test_a_benchmark_of_several_datasets_keeps_the_contract(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
    y = np.arange(40) % 4
    np.savez(tmp_path / "other.npz", x_train=x, y_train=y, x_test=x[::-1], y_test=y[::-1])
    joined = f"digits+{tmp_path / 'other.npz'}"
    assert failures(PARTS.get("benchmarks", "sequence", {"dataset": joined})) == {}


def test_a_benchmark_of_given_tasks_keeps_the_contract(tmp_path):
    data = rg.benchmark("split").stream(seed=0).data
    parts = {f"task_{part}": data.arrays[f"y_{part}"] % 3 for part in ("train", "test")}
    scale = {f"x_{part}": data.arrays[f"x_{part}"] * 15 for part in ("train", "test")}
    np.savez(tmp_path / "mine.npz", **{**data.arrays, **scale}, **parts)
    given = {"dataset": str(tmp_path / "mine.npz")}
    assert failures(PARTS.get("benchmarks", "given", given)) == {}


def test_a_stream_of_a_file_keeps_the_contract(tmp_path):
    path = tmp_path / "stream.json"
    rg.save_stream(PARTS.get("benchmarks", "gradual").stream(seed=1), path)
    assert failures(PARTS.get("benchmarks", "stream", {"file": str(path)})) == {}


@dataclass(frozen=True, kw_only=True)
class Late(Split):
    def cut(self, data, seed):
        return replace(super().cut(data, seed), learned_after=(0, 0))


@dataclass(frozen=True, kw_only=True)
class Outside(Split):
    def cut(self, data, seed):
        return replace(super().cut(data, seed), learned_after=(0, 1, 2, 3, 5))


@dataclass(frozen=True, kw_only=True)
class Beyond(Split):
    def cut(self, data, seed):
        stream = super().cut(data, seed)
        stream.experiences[1].row[0] = 10**6
        return stream


@dataclass(frozen=True, kw_only=True)
class ForeignLabel(Split):
    def cut(self, data, seed):
        stream = super().cut(data, seed)
        stream.units[0] = ~stream.units[0]
        return stream


@dataclass(frozen=True, kw_only=True)
class Short(Split):
    def cut(self, data, seed):
        return split_classes(data, [np.arange(5), np.arange(5, 10)], self.scenario)


@dataclass(frozen=True, kw_only=True)
class Restless(Split):
    def cut(self, data, seed):
        return super().cut(data, int(np.random.default_rng().integers(10**6)))


@dataclass(frozen=True, kw_only=True)
class Moves(Split):
    def stream(self, data=None, seed=0):
        np.random.rand()
        return super().stream(data, seed)


@dataclass(frozen=True, kw_only=True)
class Leaks(Split):
    def cut(self, data, seed):
        again = Dataset("again", data.x_train, data.y_train, data.x_train, data.y_train)
        return super().cut(again, seed)


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (Beyond(), "rows are from 0 to"),
        (ForeignLabel(), "task 0 has the label"),
        (Late(), "each of the 5 tasks; it is"),
        (Outside(), "from 0 to 4, for each of the 5 tasks; it is"),
        (Short(), "tasks=5, and the stream has 2"),
        (Restless(), "two streams of seed 3 differ"),
        (Moves(), "a global generator moved"),
        (Leaks(), r"test examples of task \d are training examples too"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Benchmark) else None,
)
def test_a_benchmark_that_breaks_a_claim_is_found(part, why):
    assert any(re.search(why, each) for each in failures(part).values())


@dataclass(frozen=True, kw_only=True)
class Fixed(Split):
    class_order: tuple[int, ...] = tuple(range(10))


def test_a_benchmark_without_random_choices_declares_that():
    declared = [v.why for v in verdicts(Fixed()) if v.outcome == "declared"]
    assert declared == ["seeds 0 to 4 give one stream: nothing in it is random"]


@dataclass(frozen=True)
class Pair(MLP):
    def build(self, shape, outputs, running):
        return nn.Sequential(super().build(shape, outputs, running), _Twice())


class _Twice(nn.Module):
    def forward(self, x):
        return x, x


@dataclass(frozen=True)
class Wide(MLP):
    def build(self, shape, outputs, running):
        return super().build(shape, outputs + 1, running)


@dataclass(frozen=True)
class Centred(MLP):
    def build(self, shape, outputs, running):
        return nn.Sequential(super().build(shape, outputs, running), _Centre())


class _Centre(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


@dataclass(frozen=True)
class Constant(MLP):
    def build(self, shape, outputs, running):
        module = super().build(shape, outputs, running)
        for value in module.parameters():
            nn.init.constant_(value, 0.1)
        return module


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (Pair(), "gave a tuple"),
        (Wide(), "must give 5 outputs"),
        (Centred(), "may not depend on the others"),
        (Constant(), "modules of two seeds have equal weights"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Model) else None,
)
def test_a_model_that_breaks_a_claim_is_found(part, why):
    assert any(why in each for each in failures(part).values())


@dataclass(frozen=True)
class Sums(TableResult):
    """The last accuracies."""

    def table(self, records):
        rows = [(Entry(f"{r.R[-1].mean():.2f}"),) for r in records if r.status == "done"]
        return Table("Sums", (), (Section("all", ("accuracy",), tuple(rows)),), _frame())


@dataclass(frozen=True)
class NeedsAll(Sums):
    def table(self, records):
        return Table("One", (), (Section("all", ("R",), ((Entry(str(records[0].R)),),)),), _frame())


@dataclass(frozen=True)
class Sorts(Sums):
    def table(self, records):
        records.sort(key=lambda record: -record.seed)
        return super().table(records)


def _frame():
    import pandas as pd

    return pd.DataFrame()


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (Sums(), "it depends on the order of the records"),
        (NeedsAll(), "IndexError"),
        (Sorts(), "it changes the list of records"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, TableResult) else None,
)
def test_a_result_that_breaks_a_claim_is_found(part, why):
    assert any(why in each for each in failures(part).values())


def test_a_result_that_imports_what_trains_is_found(tmp_path):
    text = (
        "from retrograde.training.clocks import Clocks\n"
        "from retrograde.results.scores import Scores\n"
        "class Trains(Scores):\n    pass\n"
    )
    path = tmp_path / "trains.py"
    path.write_text(text)
    part = Registry((path,)).get("results", "trains")
    assert failures(part) == {
        "It imports nothing that trains.": "trains.py imports retrograde.training.clocks; a result "
        "reads records alone"
    }


def test_the_made_up_store_has_a_replicate_of_every_status():
    assert {record.status for record in made_up()} == {"done", "diverged", "failed"}


@dataclass(frozen=True)
class Cloud(DataSource):
    """Another cloud at each load."""

    def load(self, folder):
        y = np.arange(8) % 2
        x = np.random.default_rng().normal(size=(8, 2)).astype(np.float32)
        return Dataset("cloud", x, y, x, y)


def test_a_dataset_that_is_another_one_at_each_load_is_found():
    assert failures(Cloud()) == {
        "It loads a dataset, the same again.": "two loads give two datasets; draw from "
        "generator(0, axis)"
    }


@dataclass(frozen=True)
class Flips(Finetune):
    """It needs images, which it flips by chance."""

    contract_model: ClassVar[str] = "conv"

    def step(self, net, state, data):
        _, _, _, width = data.incoming.x.shape
        chance = net.uniform(len(data.incoming.x), name="flip")[:, None, None, None]
        x = torch.where(chance < 0.5, data.incoming.x.flip(3), data.incoming.x)
        assert width == IMAGES[0][2]
        return net.update(state, net.grad(state.params, data.incoming._replace(x=x)), self.lr)


@dataclass(frozen=True)
class FlipsInSecret(Flips):
    contract_model: ClassVar[str] = "mlp-16"


def test_a_strategy_that_declares_a_model_for_images_is_tried_on_images():
    assert failures(Flips()) == {}


@dataclass(frozen=True)
class FlipsAtRandom(Flips):
    contract_model: ClassVar[str] = "mlp-16"

    def step(self, net, state, data):
        _, _, height, _ = data.incoming.x.shape
        torch.rand(height)
        return state


@dataclass
class ConvolvesInSecret(Learner):
    def setup(self, model):
        self.model = model

    def observe(self, x, y, task):
        _, _, self.height, _ = x.shape

    def predict(self, x, task):
        return self.model(x)


@dataclass
class ConvolvesToTooFew(ConvolvesInSecret):
    def predict(self, x, task):
        return self.model(x)[:, :2]


@dataclass(frozen=True)
class Compares(Strategy):
    lr: Rate = 0.1

    def step(self, net, state, data):
        hits = net.logits(state.params, data.incoming.x).gather(1, data.incoming.y[:, None])
        assert hits.shape[1] == 1
        return net.update(state, net.grad(state.params, data.incoming), self.lr)


@pytest.mark.parametrize(
    ("part", "remedy"),
    [
        (FlipsAtRandom(), r'declare contract_model.*"conv"\. Of these, .*net\.uniform'),
        (ConvolvesInSecret(), r'On images .* declare contract_model: ClassVar\[str\] = "conv"\.$'),
        (ConvolvesToTooFew(), r'"conv"\. Of these, ConvolvesToTooFew\.predict .* gave'),
        (Compares(), r"declare classes_only: ClassVar\[bool\] = True\.$"),
    ],
    ids=[
        "a further fault on images",
        "a learner",
        "a learner of another width",
        "labels as classes",
    ],
)
def test_a_part_that_stops_on_toy_data_alone_is_told_its_remedy(part, remedy):
    first = next(v for v in verdicts(part) if v.outcome == "failed")
    assert re.search(remedy, first.why)


def test_a_strategy_that_needs_images_and_does_not_say_so_is_told_and_reported_once():
    outcomes = list(verdicts(FlipsInSecret()))
    failed = [v.why for v in outcomes if v.outcome == "failed"]
    assert len(failed) == 1
    assert "not enough values to unpack" in failed[0]
    assert failed[0].endswith('declare contract_model: ClassVar[str] = "conv".')
    stopped = [v.why for v in outcomes if v.outcome == "not reached"]
    assert len(stopped) > 5
    assert set(stopped) == {stopped[0]}


SEEN = set()


@dataclass(frozen=True)
class Watching(Finetune):
    def step(self, net, state, data):
        SEEN.add((net.shape, net.units is not None, type(net.module[0]).__name__))
        return super().step(net, state, data)


def test_a_strategy_is_checked_on_the_shape_scenario_and_model_of_a_benchmark():
    SEEN.clear()
    outcomes = rg.check(Watching(), "permuted:model=mlpbn-8,tasks=3,scenario=task")
    assert [v.why for v in outcomes if v.outcome == "failed"] == []
    # Values are learned without tasks.
    assert {((1, 8, 8), True, "Flatten"), ((1, 8, 8), False, "Flatten")} == SEEN
    assert outcomes[0].claim == "It trains on Permuted of digits."


@pytest.mark.parametrize(
    ("part", "ground", "why"),
    [
        ("maml", "split", "A meta-strategy is checked on lines"),
        ("er", "sinusoid", "on a benchmark of streams"),
        (Split(), "split", "Strategies are checked on a benchmark"),
        ("er", "splti", "Did you mean split"),
    ],
)
def test_a_benchmark_that_does_not_go_with_a_part_is_refused(part, ground, why):
    with pytest.raises(rg.UserError, match=why):
        rg.check(part, ground)


def test_a_strategy_that_does_another_scenario_fails_on_the_benchmark_with_the_reason():
    class OnlyTask(Finetune):
        scenarios = ("task",)

    first, *_ = verdicts(OnlyTask(), Split())
    assert first.outcome == "failed"
    assert "the benchmark has scenario=class" in first.why
