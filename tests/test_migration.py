"""A store of retrograde 0.1 moves to the present layout, and its cells count as done."""

import copy
import importlib.util
import json
import warnings
from pathlib import Path

import pytest

import retrograde as rg
from retrograde.cli import main as command
from retrograde.data.sources import load
from retrograde.errors import UserError
from retrograde.parts.provenance import files
from retrograde.parts.registry import Registry
from retrograde.records.record import SCHEMA
from retrograde.records.store import Store
from retrograde.running.plan import Context, plan

SCRIPT = Path(__file__).parents[1] / "tools" / "migrate_from_0_1.py"
DIGITS = load("digits", Path()).digest

# Two records of retrograde 0.1 from the suites `quick` and `stability_gap`, cut short.
SPLIT = {
    "name": "split",
    "settings": {
        "dataset": "digits",
        "scenario": "class",
        "examples": 20,
        "tests": 10,
        "epochs": 1,
        "batch": 10,
        "glances": 2,
        "probe": 100,
        "probe_every": 10,
        "test_every": 2,
        "test_examples": 10,
        "model": "mlp-4",
        "optimizer": "sgd",
        "tasks": 2,
        "class_order": [],
    },
    "changed": "examples=20,tests=10,glances=2,probe_every=10,test_every=2,test_examples=10,"
    "model=mlp-4,tasks=2",
}
ER = {
    "name": "er",
    "settings": {"lr": 0.05, "memory": 100, "draw": 10, "policy": "late"},
    "changed": "lr=0.05,memory=100,policy=late",
}
ENVIRONMENT = {
    "cpu": "AMD EPYC",
    "cores": 2,
    "system": "Linux x86_64",
    "python": "3.11.7",
    "retrograde": "0.1.0",
    "torch": "2.13.0+cpu",
    "numpy": "2.4.6",
    "commit": "0c923de9a89b",
    "device": "cpu",
    "threads": 1,
    "jobs": 1,
}
ON_STREAM = {
    "cell": {"benchmark": SPLIT, "strategy": ER, "data": DIGITS},
    "seed": 0,
    "status": "done",
    "reason": "",
    "upper_bound": False,
    "source": "a1386c335844",
    "tests": [10, 10],
    "correct": [[4, 1], [9, 0], [8, 7]],
    "correct_told": [[5, 4], [9, 4], [9, 8]],
    "adaptation": None,
    "gradients": [
        {"task": 0, "step": 4, "loss": [0.162, 4.879], "ceiling": [0.263, 0.626],
         "inner": [0.335, 0.783, 50.6], "layers": {}},
    ],
    "accounts": [
        {"task": 1, "windows": 1, "length": 1.5, "before": [0.162], "after": [0.393],
         "slope": [-1.038], "curvature": [1.268], "exposure": [7.749]},
    ],
    "course": {
        "tests": [10, 10],
        "task": [0, 0, 0, 1, 1],
        "step": [0, 2, 4, 6, 8],
        "correct": [[4], [6], [9, 0], [7, 3], [8, 7]],
    },
    "clocks": {"prepare": 0.5, "warm_up": 0.1, "evaluate": 0.2, "watch": 0.3, "train": 2.5,
               "trial": 0.15},
    "counts": {"steps": 8, "new": 80, "replayed": 60, "backward": 140, "forward": 140},
    "memory": {"examples": 100, "bytes": 7200, "state_bytes": 0, "peak_bytes": 482648064},
    "how": {
        "backend": "pure",
        "compiled": True,
        "note": None,
        "replicates": 5,
        "steps": 8,
        "trial": [
            {"together": 5, "threads": 1, "compiled": False, "ready": 0.165, "rest": 120.658},
            {"together": 1, "threads": 1, "compiled": True, "ready": 9.922, "rest": 100.767},
        ],
    },
    "environment": ENVIRONMENT,
    "knows": ["classes"],
    "sources": {"strategy": {"er.py": "1" * 12}, "benchmark": {"split.py": "2" * 12}},
    "schema": 6,
}  # fmt: skip
SINUSOID = {
    "name": "sinusoid",
    "settings": {
        "dataset": "",
        "iterations": 10,
        "tasks": 4,
        "shots": 10,
        "queries": 10,
        "test_shots": 5,
        "test_queries": 10,
        "test_tasks": 2,
        "checks": 2,
        "transductive": True,
        "model": "mlp-4",
        "optimizer": "adam",
    },
    "changed": "iterations=10,tasks=4,test_shots=5,test_queries=10,test_tasks=2,checks=2,"
    "model=mlp-4",
}
MAML = {
    "name": "maml",
    "settings": {
        "optimizer": "momentum",
        "lr": 0.1,
        "test_steps": 2,
        "meta_lr": 0.001,
        "clip": 0.0,
        "steps": 3,
    },
    "changed": "optimizer=momentum,lr=0.1,test_steps=2,steps=3",
}
FEW_SHOT = ON_STREAM | {
    "cell": {"benchmark": SINUSOID, "strategy": MAML, "data": ""},
    "tests": [],
    "correct": [],
    "correct_told": [],
    "adaptation": {
        "loss": [[3.445, 8.222], [1.393, 2.034], [1.235, 1.117]],
        "correct": [],
        "queries": 10,
        "cosine": [0.772, 0.629, 0.539],
        "checks": [
            {"iteration": 0, "loss": [4.146, 4.134, 4.123], "accuracy": [], "cosine": 0.477,
             "cosine_seen": 0.601},
        ],
        "fits": [],
        "accounts": [],
    },
    "gradients": [],
    "accounts": [],
    "course": None,
    "knows": [],
    "sources": {"strategy": {"maml.py": "1" * 12}, "benchmark": {"sinusoid.py": "2" * 12}},
}  # fmt: skip
PLUGIN = '''
from dataclasses import dataclass

from retrograde import Strategy


@dataclass(frozen=True)
class Mine(Strategy):
    """A strategy of the user's own, whose file is the same in both versions."""

    size: int = 10

    def step(self, net, state, data):
        return state
'''


def script():
    """The migration script as a module."""
    spec = importlib.util.spec_from_file_location("migrate_from_0_1", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lay(store, *records):
    """Write records of retrograde 0.1; the digest in their paths does not matter."""
    for number, record in enumerate(records):
        cell = record["cell"]
        folder = store / cell["benchmark"]["name"] / cell["strategy"]["name"] / f"{number:012}"
        folder.mkdir(parents=True)
        path = folder / f"seed-{record['seed']}.json"
        path.write_text(json.dumps(record), encoding="utf-8")
    return store


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN, encoding="utf-8")
    return path


@pytest.fixture
def of_plugin(plugin):
    """A record of a plugin part on a shipped benchmark."""
    record = copy.deepcopy(ON_STREAM)
    record["cell"]["strategy"] = {
        "name": "mine",
        "settings": {"size": 7},
        "changed": "size=7",
    }
    record["sources"] = {"strategy": files(plugin), "benchmark": {"split.py": "2" * 12}}
    return record


@pytest.fixture
def old(tmp_path, of_plugin):
    return lay(tmp_path / "old", ON_STREAM, FEW_SHOT, of_plugin)


@pytest.fixture
def new(tmp_path, old):
    """The store that the script makes of the old one."""
    script().main([str(old), str(tmp_path / "new")])
    return tmp_path / "new"


def by_strategy(store):
    return {record.cell.strategy.name: record for record in Store(store)}


def test_every_record_of_the_old_store_is_read_from_the_new_one(new):
    store = Store(new)
    assert sorted(record.cell.strategy.name for record in store) == ["er", "maml", "mine"]
    assert store.damaged == {}
    assert {record.schema for record in store} == {SCHEMA}


def test_the_old_store_is_unchanged(tmp_path, old):
    before = contents(old)
    said = script().main([str(old), str(tmp_path / "new")])
    assert said == f"3 records are in {tmp_path / 'new'}; {old} is as it was."
    assert contents(old) == before


STREAM_SPEC = (
    "split:train_examples=20,test_examples=10,updates_per_batch=2,probe_every=10,eval_every=2,"
    "eval_examples=10,model=mlp-4,tasks=2"
)
FEW_SHOT_SPEC = (
    "sinusoid:iterations=10,meta_batch_size=4,test_shots=5,test_queries=10,test_tasks=2,"
    "evaluations=2,model=mlp-4"
)


@pytest.mark.parametrize(
    ("learned", "strategy"),
    [
        (STREAM_SPEC, "er:lr=0.05,buffer_size=100,policy=ring-at-end"),
        (STREAM_SPEC, "mine:size=7"),
        (FEW_SHOT_SPEC, "maml:inner_optimizer=momentum,inner_lr=0.1,test_steps=2,inner_steps=3"),
    ],
)
def test_a_run_of_the_same_cell_finds_nothing_to_do(new, plugin, learned, strategy):
    registry = Registry((plugin,))
    (job,) = plan([(learned, strategy)], 1, registry, Context((plugin,)), Store(new))
    assert job.seeds == (0,)
    assert job.missing == ()
    assert job.outdated == {}


def test_the_numbers_of_a_stream_keep_their_values_under_new_names(new):
    record = by_strategy(new)["er"]
    assert record.test_examples == ON_STREAM["tests"]
    assert record.correct == ON_STREAM["correct"]
    assert record.correct_given_task == ON_STREAM["correct_told"]
    assert record.online_accuracy.test_examples == ON_STREAM["course"]["tests"]
    assert record.online_accuracy.correct == ON_STREAM["course"]["correct"]
    assert record.knows_ahead == ON_STREAM["knows"]
    assert record.counts["incoming"] == ON_STREAM["counts"]["new"]
    assert record.cell.strategy.settings["buffer_size"] == 100


def test_clocks_and_timings_have_their_new_names(new):
    record = by_strategy(new)["er"]
    old = ON_STREAM["clocks"]
    expected = {"pretrain": old["prepare"], "online": old["watch"], "autotune": old["trial"]}
    assert expected.items() <= record.clocks.items()
    assert {"prepare", "watch", "trial"}.isdisjoint(record.clocks)
    assert "trial" not in record.how
    assert record.how["timings"][0] == {
        "replicates": 5,
        "threads": 1,
        "compiled": False,
        "warm_up": 0.165,
        "training": 120.658,
    }


def test_a_few_shot_record_keeps_its_numbers(new):
    adaptation = by_strategy(new)["maml"].adaptation
    assert adaptation.loss == FEW_SHOT["adaptation"]["loss"]
    assert [each.loss for each in adaptation.evaluations] == [[4.146, 4.134, 4.123]]


def test_a_shipped_part_has_the_digests_of_its_present_files_and_a_plugin_keeps_its_own(
    new, plugin
):
    records = by_strategy(new)
    assert "1" * 12 not in records["er"].sources["strategy"].values()
    assert records["mine"].sources["strategy"] == files(plugin)
    assert records["mine"].cell.strategy.overrides == {"size": 7}


def test_a_record_of_a_plugin_that_does_not_know_its_files_keeps_the_digest_of_its_source(
    tmp_path, of_plugin
):
    del of_plugin["sources"]
    old = lay(tmp_path / "old", of_plugin | {"schema": 5})
    script().main([str(old), str(tmp_path / "new")])
    (record,) = Store(tmp_path / "new")
    assert record.sources == {"strategy": {"mine.py": of_plugin["source"]}}


def test_a_setting_of_a_plugin_keeps_its_value(tmp_path, of_plugin):
    strategy = of_plugin["cell"]["strategy"]
    strategy["settings"] |= {"policy": "late", "among": [1, 2]}
    old = lay(tmp_path / "old", of_plugin)
    script().main([str(old), str(tmp_path / "new")])
    (record,) = Store(tmp_path / "new")
    assert record.cell.strategy.settings["policy"] == "late"
    assert record.cell.strategy.settings["among"] == [1, 2]


def test_settings_that_a_plugin_inherits_have_their_new_names(tmp_path):
    record = copy.deepcopy(FEW_SHOT)
    record["cell"]["benchmark"]["name"] = "ripples"
    record["cell"]["strategy"]["name"] = "meta_mine"
    old = lay(tmp_path / "old", record)
    script().main([str(old), str(tmp_path / "new")])
    (record,) = Store(tmp_path / "new")
    assert record.cell.benchmark.overrides["meta_batch_size"] == 4
    assert record.cell.strategy.overrides["inner_lr"] == 0.1
    assert record.cell.strategy.overrides["steps"] == 3


@pytest.mark.parametrize("kind", ["benchmarks", "strategies"])
def test_every_part_with_new_names_has_some_of_them(kind):
    registry = Registry()
    for name, renamed in getattr(script(), kind.upper()).items():
        defaults = f",{registry.find(kind, name).defaults()}"
        assert any(f",{new}=" in defaults for new in renamed.values()), name


def refused(*arguments):
    with pytest.raises(UserError) as caught:
        script().main([str(argument) for argument in arguments])
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_arguments_that_are_not_two_folders_are_refused(tmp_path, old):
    (tmp_path / "there").mkdir()
    (tmp_path / "empty").mkdir()
    assert "Give two folders" in refused()
    assert "Give two folders" in refused(old)
    assert "The old store is a folder" in refused(tmp_path / "none", tmp_path / "new")
    assert "does not exist yet" in refused(old, tmp_path / "there")
    assert "is inside" in refused(old, old / "new")
    assert "has none" in refused(tmp_path / "empty", tmp_path / "new")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "cannot be read as a record"),
        ('{"schema": 8}', "has 8"),
        ('{"schema": 6}', "cannot be moved"),
    ],
)
def test_a_record_that_cannot_be_moved_is_named_and_nothing_is_written(tmp_path, old, text, reason):
    path = old / "split" / "er" / "000000000000" / "seed-1.json"
    path.write_text(text, encoding="utf-8")
    said = refused(old, tmp_path / "new")
    assert str(path) in said
    assert reason in said
    assert not (tmp_path / "new").exists()


def test_two_records_of_one_replicate_are_refused(tmp_path):
    old = lay(tmp_path / "old", ON_STREAM, ON_STREAM)
    assert "a second record of seed 0" in refused(old, tmp_path / "new")


def test_an_old_store_is_not_read_and_the_error_names_the_script(old, monkeypatch, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match=r"tools/migrate_from_0_1\.py"):
            rg.load(old)
    monkeypatch.setattr("sys.argv", ["retrograde", "report", str(old)])
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit) as stop:
        command()
    errors = capsys.readouterr().err
    assert stop.value.code
    assert errors.count("tools/migrate_from_0_1.py") == 1
    assert "Traceback" not in errors
