"""A run that goes on from a shorter stream leaves the record of the whole stream."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

import retrograde as rg
from retrograde.training.stream_run import StreamRun

MEASURED = "train_examples=60,plasticity_examples=20,predict_first=true,eval_every=2,validation=0.1"
SPLIT = "split:tasks=4,train_examples=60,epochs=2"
PERMUTED = "permuted:train_examples=60,test_examples=50,tasks="
NORMS = PERMUTED.replace("tasks=", "optimizer=adam,model=mlpbn-20,schedule=cosine,tasks=")
CELLS = [
    ("finetune", f"{PERMUTED}1", f"{PERMUTED}3"),
    ("er", f"split:tasks=4,first_experiences=2,{MEASURED}", f"split:tasks=4,{MEASURED}"),
    ("ewc", f"{PERMUTED}2", f"{PERMUTED}4"),
    ("derpp:buffer_size=30", f"{NORMS}2", f"{NORMS}3"),
    ("icarl", f"{SPLIT},first_experiences=2", SPLIT),
    ("lwf", f"{SPLIT},first_experiences=3", SPLIT),
    ("progressive", f"{SPLIT},scenario=task,first_experiences=2", f"{SPLIT},scenario=task"),
    ("joint", "waves:tasks=3,first_experiences=2", "waves:tasks=3"),
]
OTHER = {"clocks", "environment", "how", "memory"}
"""Fields of a record that differ between any two runs."""


def train(benchmark, strategy, store, **options):
    options = {"compile": "off", "progress": False} | options
    return rg.run(benchmark, strategy, 2, store=store, **options)


def results(records):
    documents = [json.loads(record.to_json()) for record in records]
    return [
        {name: value for name, value in document.items() if name not in OTHER}
        for document in documents
    ]


@pytest.mark.parametrize(("strategy", "shorter", "longer"), CELLS)
def test_a_run_that_goes_on_leaves_the_records_of_the_whole_stream(
    strategy, shorter, longer, tmp_path
):
    keep = ["model", "predictions"]
    begun = train(shorter, strategy, tmp_path / "short", keep="snapshots")
    later = train(longer, strategy, tmp_path / "long", keep=keep, continue_from=tmp_path / "short")
    whole = train(longer, strategy, tmp_path / "whole", keep=keep)
    benchmark = begun[0].cell.benchmark.spec
    experiences = len(begun[0].R if strategy != "joint" else begun[0].MSE) - 1
    for record in later:
        assert record.how["continued"] == {"benchmark": benchmark, "experiences": experiences}
    assert results(later) == results(whole)


def test_a_run_that_went_on_can_be_gone_on_from(tmp_path):
    stores = [tmp_path / name for name in ("first", "second", "third")]
    train(f"{PERMUTED}1", "er", stores[0], keep="snapshots")
    train(f"{PERMUTED}2", "er", stores[1], keep="snapshots", continue_from=stores[0])
    later = train(f"{PERMUTED}3", "er", stores[2], continue_from=stores[1])
    assert later[0].how["continued"]["benchmark"] == later[0].cell.benchmark.spec.replace(
        "=3", "=2"
    )
    assert results(later) == results(train(f"{PERMUTED}3", "er", tmp_path / "whole"))


def test_only_later_experiences_are_trained(tmp_path, monkeypatch):
    trained = []
    learn = StreamRun._learn

    def noted(run, number, *rest):
        trained.append(number)
        return learn(run, number, *rest)

    monkeypatch.setattr(StreamRun, "_learn", noted)
    train(f"{PERMUTED}2", "er", tmp_path, keep="snapshots")
    train(f"{PERMUTED}4", "er", tmp_path, continue_from=tmp_path)
    assert trained == [0, 1, 2, 3]


def stopped_in_the_second(learn):
    """Learning that is stopped in the second experience."""

    def stopped(run, number, *rest):
        if number == 1:
            raise KeyboardInterrupt
        return learn(run, number, *rest)

    return stopped


def test_a_run_that_was_stopped_keeps_every_snapshot(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(StreamRun, "_learn", stopped_in_the_second(StreamRun._learn))
        with pytest.raises(KeyboardInterrupt):
            train(f"{PERMUTED}2", "er", tmp_path, keep="snapshots")
    train(f"{PERMUTED}2", "er", tmp_path, keep="snapshots")
    later = train(f"{PERMUTED}3", "er", tmp_path, continue_from=tmp_path)
    assert later[0].how["continued"]["experiences"] == 2
    assert results(later) == results(train(f"{PERMUTED}3", "er", tmp_path / "whole"))


def test_a_finished_record_without_its_snapshots_is_made_again(tmp_path):
    train(f"{PERMUTED}1", "er", tmp_path)
    assert not [*tmp_path.rglob("*.pt")]
    train(f"{PERMUTED}1", "er", tmp_path, keep="snapshots")
    kept = {path.name for path in tmp_path.rglob("*.pt")}
    assert kept == {"seeds-0-1-after-0.pt", "seeds-0-1-after-1.pt"}


def test_so_is_one_of_which_a_stopped_run_has_left_some_snapshots(tmp_path, monkeypatch):
    train(f"{PERMUTED}2", "er", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(StreamRun, "_learn", stopped_in_the_second(StreamRun._learn))
        with pytest.raises(KeyboardInterrupt):
            train(f"{PERMUTED}2", "er", tmp_path, keep="snapshots")
    train(f"{PERMUTED}2", "er", tmp_path, keep="snapshots")
    assert len([*tmp_path.rglob("*-after-*.pt")]) == 3
    assert not [*tmp_path.rglob("checkpoint-*")]


def emptied(path):
    path.write_bytes(b"")


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_folder_without_snapshots_is_named(tmp_path):
    train(f"{PERMUTED}1", "er", tmp_path, keep="snapshots")
    for path in tmp_path.rglob("*.pt"):
        path.unlink()
    with pytest.raises(rg.UserError, match=r"snapshots-0-1 is missing or damaged: there is no"):
        train(f"{PERMUTED}2", "er", tmp_path, continue_from=tmp_path)


@pytest.mark.parametrize("damage", [emptied, flipped, Path.unlink])
def test_a_damaged_snapshot_is_named_before_anything_trains(damage, tmp_path):
    train(f"{PERMUTED}2", "er", tmp_path / "short", keep="snapshots")
    (path,) = tmp_path.rglob("*-after-1.pt")
    damage(path)
    with pytest.raises(rg.UserError, match=r"seeds-0-1-after-1\.pt is missing or damaged: \w"):
        train(f"{PERMUTED}3", "er", tmp_path / "long", continue_from=tmp_path / "short")
    assert not (tmp_path / "long").exists()


class Own(NamedTuple):
    """A class that no snapshot brings back."""

    seen: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class KeepsOwnClass(rg.Strategy):
    """A state with an object of the strategy's own class."""

    lr: float = 0.1

    def init(self, net, params):
        return {"own": Own(torch.zeros(()))}

    def step(self, net, state, data):
        return net.update(state, net.grad(state.params, data.combined), self.lr)


def test_a_state_that_no_snapshot_brings_back_is_named(tmp_path):
    train(f"{PERMUTED}1", KeepsOwnClass(), tmp_path, keep="snapshots")
    with pytest.warns(UserWarning, match="has objects of its own classes, which no snapshot"):
        train(f"{PERMUTED}2", KeepsOwnClass(), tmp_path, continue_from=tmp_path)


REFUSED = {
    "other settings": (
        (f"{PERMUTED}1", "er"),
        (f"{PERMUTED}2,epochs=2", "er:lr=0.05"),
        r"has epochs 1 in place of 2; strategy er in place of er:lr=0\.05\. Make them the same",
    ),
    "a stream that is no longer": (
        (f"{PERMUTED}2", "er"),
        (f"{PERMUTED}1", "er"),
        "has 2 experiences in place of fewer than 1",
    ),
    "a larger head": (
        (f"{PERMUTED}1,scenario=class", "er"),
        (f"{PERMUTED}2,scenario=class", "er"),
        "number of outputs 10 in place of 20; .*tasks=2,first_experiences=1 with keep=snapshots",
    ),
    "another beginning": (
        ("rotated:train_examples=60,tasks=1", "er"),
        ("rotated:train_examples=60,tasks=2", "er"),
        "has another experience 1. Run rotated:.*tasks=2,first_experiences=1 with",
    ),
    "a schedule over the stream": (
        (f"{PERMUTED}1,schedule=cosine,schedule_over=stream", "er"),
        (f"{PERMUTED}2,schedule=cosine,schedule_over=stream", "er"),
        "number of steps of the schedule 6 in place of 12. Run the whole stream anew",
    ),
    "a method that knows the number of tasks": (
        (f"{SPLIT},first_experiences=2", "gem"),
        (SPLIT, "gem"),
        "number of tasks, known ahead, 2 in place of 4. Run the whole stream anew",
    ),
    "a state with room for each task": (
        (f"{PERMUTED}1", "hal:buffer_size=30"),
        (f"{PERMUTED}2", "hal:buffer_size=30"),
        "numbers in the state 18360 in place of 19010. Run the whole stream anew",
    ),
    "another method": (
        (f"{PERMUTED}1", "er"),
        (f"{PERMUTED}2", "ewc"),
        "has none of permuted with ewc for the seeds 0 to 1. Run the shorter stream with keep",
    ),
    "few-shot training": (
        (f"{PERMUTED}1", "er"),
        ("sinusoid", "maml"),
        "few-shot training has no experiences",
    ),
}


@pytest.mark.parametrize(("begun", "wanted", "why"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_gone_on_from_is_refused_before_anything_trains(
    begun, wanted, why, tmp_path
):
    train(*begun, tmp_path / "short", keep="snapshots")
    with pytest.raises(rg.UserError, match=why):
        train(*wanted, tmp_path / "long", continue_from=tmp_path / "short")
    assert not (tmp_path / "long").exists()


def test_other_seeds_are_refused_with_those_that_there_are(tmp_path):
    train(f"{PERMUTED}1", "er", tmp_path, keep="snapshots")
    why = r"for the seeds 0 to 2\. It has those of seeds 0-1\. Run"
    with pytest.raises(rg.UserError, match=why):
        rg.run(f"{PERMUTED}2", "er", 3, continue_from=tmp_path, progress=False)


def test_snapshots_need_a_store():
    with pytest.raises(rg.UserError, match="keep has snapshots, and store is None"):
        rg.run("split", "er", 1, keep="snapshots", progress=False)
