"""Cells on a Ray cluster: the records of a local run, whatever becomes of a node."""

import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from retrograde.cli import main
from retrograde.data.dataset import ARRAYS, Dataset
from retrograde.data.sources import load
from retrograde.parts.registry import Registry
from retrograde.records.store import Store
from retrograde.running.jobs import run_here
from retrograde.running.plan import Context, plan

CELL = ("--benchmark", "split:tasks=2,train_examples=30,test_examples=20", "--strategy", "finetune")
GATED = """
import time
from dataclasses import dataclass
from pathlib import Path

import ray
from retrograde.strategies.er import ER

@dataclass(frozen=True)
class Gated(ER):
    def end_experience(self, net, state, finished):
        if ray.is_initialized():
            node = ray.get_runtime_context().get_node_id()
            Path({folder!r}, "at-" + node).touch()
            while not Path({folder!r}, "go-" + node).exists():
                time.sleep(0.05)
        return super().end_experience(net, state, finished)
"""
BROKEN = """
from dataclasses import dataclass

from retrograde.errors import UserError
from retrograde.interface.strategy import Strategy

@dataclass(frozen=True)
class Broken(Strategy):
    def step(self, net, state, data):
        return state

    def end_experience(self, net, state, finished):
        raise UserError("On purpose.")
"""
KILLER = BROKEN.replace("Broken", "Killer").replace(
    'raise UserError("On purpose.")', "import os; os.kill(os.getpid(), 9)"
)


NODE = {"num_cpus": 1, "object_store_memory": 100_000_000}


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster of one node with one CPU; it ends with everything that was started on it."""
    ray = pytest.importorskip("ray", reason="ray is not installed")
    utils = pytest.importorskip("ray.cluster_utils")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        made = utils.Cluster(
            initialize_head=True, head_node_args=NODE | {"include_dashboard": False}
        )
        yield made
        ray.shutdown()
        made.shutdown()


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Run `retrograde WORDS` in an empty folder; returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["retrograde", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def one_thread():
    """Train here as a worker does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def both(cluster, one_thread, tmp_path_factory):
    """Records of the same cells, from here and from two nodes of which one is removed while a cell waits there, and steps."""
    from retrograde.running.cluster import run_on_cluster

    folder = tmp_path_factory.mktemp("both")
    files = [
        _written(folder / "waiting.py", GATED.format(folder=str(folder))),
        _written(folder / "broken.py", BROKEN),
    ]
    data = _npz(folder / "own.npz")
    context = Context(tuple(files), folder, compile="off", cluster=cluster.address)
    benchmarks = [
        f"split:dataset={data},tasks=2,train_examples=30",
        "permuted:tasks=2,train_examples=30",
        "rotated:tasks=2,train_examples=30",
    ]
    requests = [
        (benchmarks[0], "broken"),
        *((each, "waiting:buffer_size=20") for each in benchmarks),
    ]
    registry, steps_here, steps = Registry(context.plugins), [], []
    jobs = plan(requests, 2, registry, context, Store(folder / "store"))

    def counting(_, news):
        steps_here.append(news if isinstance(news, int) else 0)

    here = [
        record for _, records in run_here(jobs, registry, context, counting) for record in records
    ]
    data.unlink()
    doomed = cluster.add_node(**NODE)

    def told(_, news):
        steps.append(news if isinstance(news, int) else 0)
        for file in files:  # all are on their way
            file.unlink(missing_ok=True)
        if len(list(folder.glob("at-*"))) == 2 and doomed in cluster.worker_nodes:
            cluster.remove_node(doomed, allow_graceful=False)
            (folder / f"go-{cluster.head_node.node_id}").touch()

    there = [record for _, records in run_on_cluster(jobs, context, told) for record in records]
    return here, there, sum(steps_here), sum(steps)


def _written(path, text):
    path.write_text(text)
    return path


def _npz(path):
    random = np.random.default_rng(0)
    y = np.arange(60) % 4
    arrays = {f"x_{part}": random.random((60, 8)) + y[:, None] for part in ("train", "test")}
    np.savez(path, **arrays, y_train=y, y_test=y)
    return path


def results(records):
    """What records say, in the order of their cells, without clocks, environment and the peak of memory."""

    def said(record):
        memory = {key: value for key, value in record.memory.items() if key != "peak_bytes"}
        return replace(record, clocks={}, environment={}, memory=memory).to_json()

    return sorted(map(said, records))


@pytest.mark.slow
def test_a_node_lost_in_mid_run_costs_no_record_and_all_equal_those_of_a_local_run(both):
    here, there, *_ = both
    assert results(there) == results(here)
    assert sorted(record.status for record in there) == ["done"] * 6 + ["failed"] * 2


@pytest.mark.slow
def test_a_cell_that_fails_there_says_why(both):
    assert {record.reason for record in both[1] if record.status == "failed"} == {"On purpose."}


@pytest.mark.slow
def test_a_record_from_a_cluster_has_one_thread_and_as_many_jobs_as_its_node_has_room_for(both):
    done = [record.environment for record in both[1] if record.status == "done"]
    assert {(where["threads"], where["jobs"]) for where in done} == {(1, 1)}


@pytest.mark.slow
def test_progress_counts_each_step_once_though_a_cell_was_begun_twice(both):
    *_, here, there = both
    assert there == here > 0


@pytest.mark.slow
def test_what_ran_here_is_not_run_there_and_the_other_way_round(cluster, call, tmp_path):
    call("run", *CELL, "--seeds", 1)
    code, out, _ = call("run", *CELL, "--seeds", 2, "--cluster", cluster.address)
    assert code == 0
    assert "1 replicates to run, 1 done already" in out
    assert len(list(tmp_path.rglob("seed-*.json"))) == 2
    assert "0 replicates to run, 2 done already" in call("run", *CELL, "--seeds", 2)[1]


@pytest.mark.slow
def test_settings_are_chosen_on_a_cluster_too(cluster, call, tmp_path, monkeypatch):
    from retrograde.running import cluster as on_cluster

    run_there, asked = on_cluster.run_on_cluster, []

    def noted(jobs, context, told):
        asked.append(context.cluster)
        return run_there(jobs, context, told)

    monkeypatch.setattr(on_cluster, "run_on_cluster", noted)
    search = "tune", *CELL[:2], "--strategy", "er:lr=0.01|0.1", "--fresh", "100-101"
    code, _, err = call(*search, "--out", tmp_path / "tuned", "--cluster", cluster.address)
    assert code == 0, err
    assert asked == [cluster.address] * 2  # the trials, then the fresh seeds
    assert len(list((tmp_path / "tuned").rglob("seed-*.json"))) == 4


@pytest.mark.slow
def test_a_cell_whose_worker_dies_at_every_attempt_fails_and_says_so(
    cluster, monkeypatch, tmp_path
):
    from retrograde.running import cluster as on_cluster

    monkeypatch.setattr(on_cluster, "RETRIES", 1)
    context = Context(
        (_written(tmp_path / "killer.py", KILLER),), compile="off", cluster=cluster.address
    )
    jobs = plan(
        [(CELL[1], "killer")],
        2,
        Registry(context.plugins),
        context,
        Store(tmp_path / "store"),
    )
    [(_, records)] = on_cluster.run_on_cluster(jobs, context, lambda *_: None)
    assert [(record.seed, record.status) for record in records] == [(0, "failed"), (1, "failed")]
    assert "was lost, 2 times" in records[0].reason
    assert "WorkerCrashedError" in records[0].reason


@pytest.mark.slow
def test_a_node_that_cannot_import_a_plugin_gives_failed_records_that_say_why(cluster, tmp_path):
    from retrograde.running.cluster import run_on_cluster

    elsewhere = "import ray\nif ray.is_initialized():\n    raise ImportError('no such library on this node')\n"
    context = Context(
        (_written(tmp_path / "mine.py", elsewhere + BROKEN),),
        compile="off",
        cluster=cluster.address,
    )
    jobs = plan(
        [(CELL[1], "mine")], 1, Registry(context.plugins), context, Store(tmp_path / "store")
    )
    [(_, [record])] = run_on_cluster(jobs, context, lambda *_: None)
    assert record.status == "failed"
    assert "UserError" in record.reason
    assert "no such library on this node" in record.reason


@pytest.mark.slow
def test_ctrl_c_keeps_what_had_finished_and_this_machine_goes_on_from_there(
    cluster, call, tmp_path
):
    (tmp_path / "waiting.py").write_text(GATED.format(folder=str(tmp_path)))
    words = ("run", *CELL, "--plugin", "waiting.py", "--strategy", "waiting")
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a background job ignores it, and so do its children
    process = subprocess.Popen(
        [sys.executable, "-m", "retrograde", *words, "--cluster", cluster.address],
        stderr=subprocess.PIPE,
    )
    signal.signal(signal.SIGINT, before)
    while process.poll() is None and not (
        list(tmp_path.rglob("seed-0.json")) and list(tmp_path.glob("at-*"))
    ):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert "Interrupted. What had finished is kept" in process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130
    assert "1 replicates to run, 1 done already" in call(*words)[1]


def test_an_address_where_no_cluster_listens_is_refused_at_once_with_a_remedy(call):
    pytest.importorskip("ray", reason="ray is not installed")
    code, _, err = call("run", *CELL, "--cluster", "127.0.0.1:1")
    assert code == 2
    assert "'127.0.0.1:1' gave ConnectionRefusedError" in err
    assert "ray start --head" in err


def test_a_gpu_that_the_cluster_lacks_is_asked_for_in_one_line(cluster, call):
    code, _, err = call("run", *CELL, "--cluster", cluster.address, "--device", "cuda")
    assert code == 2
    assert "needs a GPU in the cluster" in err
    assert "--num-gpus 1" in err


def test_without_ray_the_error_says_how_to_install_it(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "retrograde.running.cluster", raising=False)
    code, _, err = call("run", *CELL, "--cluster", "auto")
    assert code == 2
    assert "pip install -c constraints.txt ray" in err


def test_jobs_and_cluster_exclude_each_other(call):
    code, _, err = call("run", *CELL, "--cluster", "auto", "--jobs", 2)
    assert code == 2
    assert "Leave one of them out." in err


@pytest.mark.parametrize(
    "cell",
    [
        ("split:tasks=2,train_examples=30", "er:buffer_size=20"),
        ("rotated:tasks=2,train_examples=30", "gdumb:buffer_size=20"),
        ("fewshot:iterations=2,meta_batch_size=2,test_tasks=2,evaluations=1,model=mlp-8", "maml"),
    ],
)
def test_data_that_nobody_may_write_to_trains_as_any_other(cell, tmp_path):
    found = load("digits", tmp_path)
    shared = Dataset(
        found.name, *(_frozen(getattr(found, name)) for name in ARRAYS), scale=found.scale
    )
    jobs = plan([cell], 1, Registry(), Context(), Store(tmp_path))
    contexts = [Context(data=data, compile="off") for data in (tmp_path, {"digits": shared})]
    [[(_, one)], [(_, other)]] = [
        list(run_here(jobs, Registry(), context, lambda *_: None)) for context in contexts
    ]
    assert other[0].status == "done"
    assert results(one) == results(other)


def _frozen(array):
    array = array.copy()
    array.flags.writeable = False
    return array
