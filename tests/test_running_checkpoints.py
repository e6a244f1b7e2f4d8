"""A run that was stopped goes on from its last finished experience, with the same records."""

import json
import pickle
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_flatten

from retrograde import Strategy, UserError, run
from retrograde.contract.toys import Blobs, blobs
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse
from retrograde.running.checkpoints import Checkpoint
from retrograde.training import episode_loop, stream_loop
from retrograde.training.stream_replicas import StreamReplicas

CPU = torch.device("cpu")
PARTS = Registry()
STREAM = "split:tasks=3,train_examples=60,plasticity_examples=20,predict_first=true,eval_every=2,validation=0.1"
METHODS = {
    "er": STREAM,
    "ewc": STREAM,
    "derpp": STREAM,
    "icarl": STREAM.replace("predict_first=true", "epochs=2"),
    "gdumb:epochs=2": STREAM,
    "si": STREAM,
    "lamaml": STREAM,
    "gem": STREAM,
    "lwf": STREAM,
    "cls_er": STREAM,
    "gpm": STREAM.replace(",predict_first=true", ",scenario=domain"),
    "progressive": STREAM.replace(",predict_first=true", ",scenario=task"),
    "er:buffer_size=30": "permuted:tasks=3,train_examples=60,optimizer=adam,model=mlpbn-20,schedule=cosine",
    "joint": "waves:tasks=3",
}


class Stopped(Exception):
    """The end of a run in the middle."""


class Stopping:
    """A checkpoint that stops its run after some snapshots."""

    def __init__(self, file, after):
        self.file = file
        self.left = after

    def of(self, seeds):
        return self

    def read(self):
        return self.file.read()

    def beginning(self):
        return self.file.beginning()

    def write(self, snapshot):
        self.file.write(snapshot)
        self.left -= 1
        if self.left == 0:
            raise Stopped


def part(kind, text):
    return PARTS.get(kind, *parse(text))


def results(outcomes):
    """The outcomes without their clocks."""
    return [asdict(replace(outcome, clocks={})) for outcome in outcomes]


@pytest.fixture
def file(tmp_path):
    return Checkpoint(tmp_path / "seeds.pt", CPU)


@pytest.mark.parametrize("after", [1, 2])
@pytest.mark.parametrize(("strategy", "stream"), METHODS.items())
def test_a_stream_goes_on_to_the_same_results(strategy, stream, after, file):
    where, method = part("benchmarks", stream), part("strategies", strategy)
    data = stream_data(where) if where.dataset else None
    streams = [where.stream(data, seed) for seed in (0, 1)]
    cell = where, method, streams, [0, 1], CPU
    whole = stream_loop.train(*cell, keep=["model", "predictions"])
    with pytest.raises(Stopped):
        stream_loop.train(*cell, keep=["model", "predictions"], checkpoints=Stopping(file, after))
    begun = file.read()["run"]["begun"]
    later = stream_loop.train(
        *cell, keep=["model", "predictions"], checkpoints=Stopping(file, after=-1)
    )
    assert begun == after
    assert results(later) == results(whole)


def test_ten_stops_at_random_steps_give_the_results_of_an_undisturbed_run(file):
    where, method = (
        part("benchmarks", STREAM.replace("tasks=3", "tasks=5")),
        part("strategies", "er"),
    )
    streams = [where.stream(stream_data(where), seed) for seed in (0, 1)]
    cell = where, method, streams, [0, 1], CPU
    told = []
    whole = stream_loop.train(*cell, progress=told.append)
    steps = [each for each in told if isinstance(each, int)]
    in_one_go = Stopping(file, after=-1)

    def stopped_after(count):
        left = [count]

        def progress(told):
            left[0] -= isinstance(told, int)
            if left[0] < 0:
                raise Stopped

        return progress

    begun = set()
    for count in np.random.default_rng(1).integers(len(steps) // 5 + 3, size=10):
        with pytest.raises(Stopped):
            stream_loop.train(*cell, progress=stopped_after(count), checkpoints=in_one_go)
        begun.add(file.read()["run"]["begun"] if file.path.exists() else 0)
    later = stream_loop.train(*cell, checkpoints=in_one_go)
    assert len(begun) > 2
    assert results(later) == results(whole)


def stream_data(benchmark):
    from retrograde.data.sources import data_folder, load

    return load(benchmark.dataset, data_folder())


def test_a_run_that_had_ended_says_whether_its_step_was_compiled(file, monkeypatch):
    begun = property(lambda backend: backend.begun >= 0)
    monkeypatch.setattr(stream_loop.StreamReplicas, "compiled", begun)
    where = part("benchmarks", "split:tasks=2,train_examples=60")
    stream = where.stream(stream_data(where), 0)
    cell = where, part("strategies", "er"), [stream], [0], CPU
    with pytest.raises(Stopped):
        stream_loop.train(*cell, checkpoints=Stopping(file, after=3))
    (later,) = stream_loop.train(*cell, checkpoints=Stopping(file, after=-1))
    assert later.how["compiled"]


def test_pretraining_is_not_repeated(file, monkeypatch):
    method = part("strategies", "oml")
    where = Blobs(held=4)
    cell = where, method, [where.stream(blobs(held=4), 0)], [0], CPU
    whole = stream_loop.train(*cell)
    with pytest.raises(Stopped):
        stream_loop.train(*cell, checkpoints=Stopping(file, after=1))
    monkeypatch.delattr(stream_loop, "pretrain")
    later = stream_loop.train(*cell, checkpoints=Stopping(file, after=-1))
    assert results(later) == results(whole)


def test_meta_training_goes_on_to_the_same_results(file):
    text = "sinusoid:iterations=130,meta_batch_size=2,test_tasks=5,evaluations=3,model=mlp-8"
    benchmark, method = part("benchmarks", text), part("strategies", "maml")
    cell = benchmark, method, [benchmark.distribution(None, seed) for seed in (0, 1)], [0, 1], CPU
    whole = episode_loop.train(*cell)
    with pytest.raises(Stopped):
        episode_loop.train(*cell, checkpoints=Stopping(file, after=2))
    later = episode_loop.train(*cell, checkpoints=Stopping(file, after=-1))
    assert results(later) == results(whole)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", pickle.dumps(UserError, 2)])
def test_a_damaged_or_foreign_checkpoint_is_named_and_not_used(content, file):
    file.path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"seeds\.pt is damaged or no checkpoint"):
        assert file.read() is None


def test_a_checkpoint_with_a_flipped_bit_is_not_used(file):
    torch.save({"run": torch.zeros(1000)}, file.path)
    content = bytearray(file.path.read_bytes())
    content[len(content) // 2] ^= 1
    file.path.write_bytes(content)
    with pytest.warns(UserWarning, match="is damaged"):
        assert file.read() is None


ON_STREAMS = [
    name
    for name in sorted(PARTS.names("strategies"))
    if issubclass(PARTS.find("strategies", name), Strategy)
]


@pytest.mark.parametrize("name", ON_STREAMS)
def test_the_state_of_every_strategy_comes_back(name, file):
    method = part("strategies", name)
    scenario = "scenario=class" if "class" in method.scenarios else "scenario=task"
    where = part("benchmarks", f"split:tasks=2,train_examples=40,model=mlp-8,{scenario}")
    backend = StreamReplicas(where, method, [where.stream(stream_data(where), 0)], [0], CPU)
    file.write(backend.snapshot())
    found = file.read()
    assert tree_flatten(found["carried"])[1] == tree_flatten(backend.carried)[1]


def test_a_checkpoint_runs_no_code_of_others(file):
    torch.save({"run": Stopped()}, file.path)
    with pytest.warns(UserWarning, match="no checkpoint"):
        assert file.read() is None


def test_a_run_that_ends_leaves_no_checkpoint(tmp_path):
    run("split:tasks=2,train_examples=60", "er", 1, store=tmp_path, checkpoint=True, progress=False)
    kept = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert kept == ["seed-0.json"]


def test_a_job_goes_on_in_the_way_that_it_was_begun(tmp_path, monkeypatch):
    from retrograde.running import jobs

    def stop(*_):
        raise KeyboardInterrupt

    text, method = "split:tasks=2,train_examples=60", "er"
    with monkeypatch.context() as patch:
        patch.setattr(stream_loop.StreamRun, "_learn", stop)
        with pytest.raises(KeyboardInterrupt):
            run(text, method, 2, store=tmp_path, checkpoint=True, progress=False)
    monkeypatch.setattr(jobs, "fastest_mode", stop)
    (first, _) = run(text, method, 2, store=tmp_path, checkpoint=True, progress=False)
    assert first.status == "done"


LONG = """
title = "longer cells"
seeds = 2
[[cells]]
benchmarks = ["split:tasks=5,epochs=2"]
strategies = ["er:buffer_size=50"]
"""


def stored(folder):
    """The results of every record in a store, without clocks."""
    paths = folder.rglob("seed-*.json")
    timed = {"clocks", "environment", "how", "memory"}
    return {
        path.relative_to(folder): {
            name: value for name, value in json.loads(path.read_text()).items() if name not in timed
        }
        for path in paths
    }


def test_kills_within_experiences_give_the_records_of_an_undisturbed_run(tmp_path):
    suite = tmp_path / "long.toml"
    suite.write_text(LONG)
    command = [sys.executable, "-m", "retrograde", "run", str(suite), "--compile", "off", "--jobs"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run([*command, "1", "--out", str(whole)], check=True, capture_output=True)
    words = [*command, "1", "--checkpoint", "--out", str(cut)]
    for snapshots in (1, 3):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seen = set()
        while process.poll() is None and len(seen) < snapshots:
            seen |= {path.stat().st_mtime_ns for path in found(cut)}
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(words, check=True, capture_output=True)
    assert stored(cut) == stored(whole)


def found(folder):
    """The checkpoints in a store; one may be replaced at any moment."""
    with warnings.catch_warnings():
        return [path for path in folder.rglob("seeds-*.pt") if path.exists()]


def test_a_cluster_and_a_checkpoint_are_refused_together(tmp_path):
    from retrograde.running.console import plan_all
    from retrograde.running.options import Options

    options = Options((), None, "cpu", "off", None, None, "localhost:1", None, checkpoint=True)
    with pytest.raises(UserError, match="--checkpoint writes to a folder of this machine"):
        plan_all([], options, None)
