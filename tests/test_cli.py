"""The command line as a person uses it: every command, and every mistake answered by one clear line."""

import io
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from retrograde.cli import main
from retrograde.records.record import Record
from retrograde.records.store import Store

CELL = ("--benchmark", "split:tasks=2,train_examples=30,test_examples=20", "--strategy", "finetune")


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


def test_list_names_every_kind_of_part_and_the_suites(call):
    code, out, _ = call("list")
    assert code == 0
    assert all(
        word in out
        for word in (
            "split",
            "permuted",
            "rotated",
            "finetune",
            "joint",
            "er",
            "scores",
            "timing",
            "quick",
            "plainconv",
            "omniglot",
        )
    )
    assert len(out.splitlines()) < 250


def test_list_of_one_kind_names_no_other_and_has_settings(call):
    _, out, _ = call("list", "strategies")
    assert "lr=0.1,buffer_size=200,replay_batch=10,policy=reservoir" in out
    assert "rotated" not in out


def test_list_of_benchmarks_has_their_own_settings_without_those_of_every_stream(call):
    _, out, _ = call("list", "benchmarks")
    assert "degrees=" in out
    assert "weight_decay" not in out


def test_show_tells_what_a_metric_is(call):
    code, out, _ = call("show", "BWT")
    assert code == 0
    assert "Lopez-Paz and Ranzato 2017" in out


def test_list_tells_what_strategies_know_ahead_and_their_answer_to_weighting(call):
    _, out, _ = call("list", "strategies")
    lines = [line.strip() for line in out.splitlines()]
    declared = {
        lines[i - 2].split()[0]: line
        for i, line in enumerate(lines)
        if line.startswith("knows ahead")
    }
    assert declared["agem"] == (
        "knows ahead: length, classes; weighting=tasks: not needed; needs boundaries: tasks"
    )
    assert declared["mer"] == (
        "knows ahead: classes; weighting=tasks: refused; needs boundaries: experiences"
    )
    assert declared["lwf"] == (
        "knows ahead: nothing; weighting=tasks: applied; needs boundaries: experiences"
    )
    assert "maml" not in declared


def test_the_record_and_the_tables_say_what_a_strategy_knew_ahead(call, tmp_path):
    words = (
        "--benchmark",
        CELL[1],
        "--strategy",
        "er:policy=ring",
        "--strategy",
        "er",
        "--seeds",
        1,
        "--compile",
        "off",
    )
    assert call("run", *words)[0] == 0
    records = {
        record.cell.strategy.pairs: record.knows_ahead
        for record in Store(tmp_path / "runs" / "cells")
    }
    assert records == {"policy=ring": ["length", "classes"], "": ["classes"]}
    call("report", "runs/cells", "--format", "md", "--out", "tables")
    note = "tasks or classes of the whole stream, which they know ahead: ER policy=ring."
    assert note in (tmp_path / "tables" / "scores.md").read_text()


def test_a_run_leaves_records_that_a_report_turns_into_tables(call, tmp_path):
    assert (
        call("run", *CELL, "--strategy", "er:buffer_size=10", "--seeds", 2, "--compile", "off")[0]
        == 0
    )
    records = sorted((tmp_path / "runs" / "cells").glob("split/*/*/seed-*.json"))
    assert len(records) == 4
    code, out, err = call("report", "runs/cells", "--format", "md,tex", "--out", "tables")
    assert code == 0
    assert "| ER " in out
    assert "ER: buffer_size=10" in err
    names = ("account", "alignment", "classes", "scores", "significance", "tasks", "timing")
    assert {p.name for p in (tmp_path / "tables").iterdir()} == {"replicates.csv"} | {
        f"{name}.{form}" for name in names for form in ("csv", "md", "tex")
    }
    assert list(pd.read_csv(tmp_path / "tables" / "scores.csv").columns) == (
        ["benchmark", "strategy", "settings", "metric", "mean", "ci_low", "ci_high", "n"]
    )


def test_a_report_prints_the_scores_and_its_files_and_all_the_rest_if_asked(
    call, tmp_path, make_record
):
    for seed in range(2):
        Store(tmp_path / "runs").write(make_record(seed=seed))
    _, out, err = call("report", "runs")
    assert re.findall("^# (.*)", out, re.MULTILINE) == ["Scores"]
    assert "Percent: the mean" not in out
    assert "scores.csv,md" in err
    assert "replicates.csv" in err
    _, out, _ = call("report", "runs", "--all")
    assert {"Scores", "Timing"} < set(re.findall("^# (.*)", out, re.MULTILINE))
    assert "Percent: the mean" in out


SUITE_WITH_NAMES = """
title = "My paper"
seeds = 1

[names]
"split:tasks=2" = "S-digits"
"er:buffer_size=10" = "ER (ours)"

[[cells]]
benchmarks = ["split:tasks=2,train_examples=20,probe_examples=0"]
strategies = ["er:buffer_size=10", "finetune"]
"""


def test_a_report_has_the_title_and_the_names_of_its_suite(call, tmp_path):
    (tmp_path / "paper.toml").write_text(SUITE_WITH_NAMES)
    assert call("run", "paper.toml", "--compile", "off")[0] == 0
    code, out, _ = call("report", "runs/paper", "--format", "html", "--strategies", "ER (ours)")
    assert code == 0
    assert "## S-digits" in out
    assert ("| ER (ours) " in out, "Fine-tuning" in out) == (True, False)
    assert "<h1>My paper</h1>" in (tmp_path / "runs/paper/tables/report.html").read_text()


def test_names_change_with_the_suite_and_nothing_trains_again(call, tmp_path):
    (tmp_path / "paper.toml").write_text(SUITE_WITH_NAMES)
    call("run", "paper.toml", "--compile", "off")
    (tmp_path / "paper.toml").write_text(SUITE_WITH_NAMES.replace("S-digits", "Digits"))
    assert "0 replicates to run, 2 done already" in call("run", "paper.toml")[1]
    assert "## Digits" in call("report", "runs/paper")[1]


def test_names_and_a_caption_are_given_to_a_report_alone(call, tmp_path):
    call("run", *CELL, "--strategy", "er:buffer_size=20", "--out", "store")
    names = ("--name", "er:buffer_size=20=ER (ours)", "--name", "finetune=Plain")
    words = ("report", "store", "--format", "tex", "--only", "scores")
    code, out, _ = call(*words, *names, "--caption", "My table")
    assert (code, "ER (ours)" in out, "| Plain" in out) == (0, True, True)
    assert r"\caption{My table}" in (tmp_path / "store/tables/scores.tex").read_text()
    assert "ER (ours)" not in call("report", "store")[1]
    for wrong, why in [
        ("er", "A name is written NAME[:key=value,...]=TEXT"),
        ("ER=Mine", "'ER' is none. Did you mean er"),
    ]:
        code, _, err = call(*words, "--name", wrong)
        assert (code, why in err) == (2, True)
    code, _, err = call(*words, "--name", "er=Plain", "--name", "finetune=Plain")
    assert (code, "Each strategy has a name of its own" in err) == (2, True)


def test_two_reports_of_one_store_are_byte_identical(call, tmp_path):
    call("run", *CELL, "--seeds", 2, "--compile", "off")
    for folder in ("a", "b"):
        call("report", "runs/cells", "--format", "md,csv,tex", "--out", folder)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_second_run_trains_nothing(call, tmp_path):
    call("run", *CELL)
    before = {p: p.read_bytes() for p in tmp_path.rglob("seed-*.json")}
    _, out, _ = call("run", *CELL)
    assert "0 replicates to run, 1 done already" in out
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("seed-*.json")}


def test_more_seeds_add_replicates_and_leave_the_old_ones(call, tmp_path):
    call("run", *CELL)
    old = next(tmp_path.rglob("seed-0.json")).read_bytes()
    call("run", *CELL, "--seeds", 3)
    assert len(list(tmp_path.rglob("seed-*.json"))) == 3
    assert next(tmp_path.rglob("seed-0.json")).read_bytes() == old


def test_a_damaged_record_is_warned_about_set_aside_and_run_again(call, tmp_path):
    call("run", *CELL)
    path = next(tmp_path.rglob("seed-0.json"))
    whole = json.loads(path.read_text())
    path.write_text(path.read_text()[:100])
    assert "damaged" in call("report", "runs/cells")[2]
    code, _, err = call("run", *CELL)
    assert code == 0
    assert "damaged" in err
    assert json.loads(path.read_text())["correct"] == whole["correct"]
    assert len(path.with_suffix(".damaged").read_text()) == 100


def test_a_diverged_cell_is_said_and_kept_and_does_not_fail_the_run(call, tmp_path):
    code, out, err = call("run", *CELL[:3], "finetune:lr=1e30")
    assert code == 0
    assert "diverged" in out
    assert "smaller lr" in err
    assert json.loads(next(tmp_path.rglob("seed-0.json")).read_text())["status"] == "diverged"


BROKEN = """
from dataclasses import dataclass
from retrograde.interface.strategy import Strategy

@dataclass(frozen=True)
class Broken(Strategy):
    def step(self, net, state, data):
        return state

    def end_experience(self, net, state, finished):
        raise ValueError("on purpose")
"""


def test_a_failed_cell_gives_exit_code_1_its_reason_and_spares_the_others(call, tmp_path):
    (tmp_path / "broken.py").write_text(BROKEN)
    words = ("run", *CELL, "--strategy", "broken", "--plugin", "broken.py")
    code, out, err = call(*words)
    assert code == 1
    assert "seeds 0: broken.py:11: ValueError: on purpose (--traceback shows all of it)" in err
    assert ("in end_experience" in err, "in end_experience" in call(*words, "--traceback")[2]) == (
        False,
        True,
    )
    assert not any(
        folder in err for folder in (str(tmp_path), sys.prefix, "site-packages")
    )  # records leave the machine
    assert "done" in out
    (tmp_path / "broken.py").write_text(
        BROKEN.replace('raise ValueError("on purpose")', "return state")
    )
    code, out, _ = call(*words)
    assert code == 0
    assert "1 replicates to run, 1 done already" in out


def test_a_scaffold_passes_its_check_and_stands_in_the_tables_of_a_suite(call, tmp_path):
    assert call("new", "strategy", "my_replay")[0] == 0
    code, out, _ = call("check", "--plugin", "my_replay.py")
    assert (code, "FAILED" in out) == (0, False)
    cells = 'benchmarks = ["split:tasks=2,train_examples=20,test_examples=20"]\nstrategies = ["finetune"]\n'
    suite = f'title = "t"\nseeds = 1\n[[cells]]\n{cells}'
    (tmp_path / "s.toml").write_text(suite)
    assert (
        call("run", "s.toml", "--plugin", "my_replay.py", "--strategy", "my_replay:lr=0.05")[0] == 0
    )
    _, out, err = call("report", "runs/s")
    assert "| my_replay " in out
    assert "my_replay: lr=0.05" in err


def test_a_scaffold_of_a_meta_strategy_passes_its_check_and_stands_in_the_tables_of_a_suite(
    call, tmp_path
):
    assert call("new", "metastrategy", "my_maml")[0] == 0
    code, out, _ = call("check", "--plugin", "my_maml.py")
    assert (code, out.count("passed"), "FAILED" in out) == (0, 10, False)
    (tmp_path / "s.toml").write_text(MIXED)
    assert (
        call("run", "s.toml", "--plugin", "my_maml.py", "--strategy", "my_maml:support_weight=0.5")[
            0
        ]
        == 0
    )
    assert (
        call("report", "runs/s", "--all")[1].count("| my_maml ") == 8
    )  # adaptation, its account, significance and timing of two benchmarks


@pytest.mark.parametrize("kind", ["learner", "benchmark", "result", "model", "dataset"])
def test_a_scaffold_of_any_kind_passes_its_check_unchanged(call, kind):
    assert call("new", kind, "my_own")[0] == 0
    code, out, _ = call("check", "--plugin", "my_own.py")
    assert (code, "keeps the contract" in out) == (0, True), out


@pytest.mark.parametrize(
    ("kind", "original"),
    [
        ("strategy", "er_ace"),
        ("strategy", "icarl"),
        ("metastrategy", "maml"),
        ("benchmark", "split"),
    ],
)
def test_a_copy_of_a_part_that_ships_passes_its_check_unchanged(call, tmp_path, kind, original):
    assert call("new", kind, "my_copy", "--from", original)[0] == 0
    text = (tmp_path / "my_copy.py").read_text()
    assert "class MyCopy(" in text
    assert "from ._" not in text
    code, out, _ = call("check", "--plugin", "my_copy.py")
    assert (code, "FAILED" in out) == (0, False)


def test_a_copy_of_nothing_is_refused_with_the_nearest_name(call, tmp_path):
    code, _, err = call("new", "strategy", "mine", "--from", "er_aec")
    assert (code, "Did you mean er_ace" in err) == (2, True)
    assert not (tmp_path / "mine.py").exists()


def test_a_strategy_is_checked_on_a_benchmark(call):
    words = ("check", "finetune", "--benchmark", "split:model=conv,tasks=2")
    code, out, _ = call(*words)
    assert code == 0
    assert "finetune on split:model=conv,tasks=2" in out
    assert "passed    It trains on Split of digits." in out


def test_a_part_that_does_not_exist_is_refused_by_check_with_the_nearest_name(call):
    code, _, err = call("check", "finetun")
    assert (code, "There is no part 'finetun'. Did you mean finetune" in err) == (2, True)


@pytest.mark.parametrize(
    ("kind", "setting"), [("model", "model=my_own-8"), ("dataset", "dataset=my_own")]
)
def test_a_scaffold_of_a_model_or_a_dataset_runs_and_stands_in_the_tables(call, kind, setting):
    assert f"split:{kind}=my_own" in call("new", kind, "my_own")[1]
    words = ("--plugin", "my_own.py", "--benchmark", f"split:tasks=2,train_examples=20,{setting}")
    assert call("run", *words, "--strategy", "finetune")[0] == 0
    assert setting in "".join(call("report", "runs/cells")[1:]).replace("Split my_own", setting)
    assert "my_own" in call("list", f"{kind}s", "--plugin", "my_own.py")[1]


def test_a_scaffold_of_no_kind_is_refused(call):
    assert "writes no 'thing'. Known: benchmark, dataset, " in call("new", "thing", "mine")[2]
    assert "writes no 'stratgy'. Did you mean strategy" in call("new", "stratgy", "mine")[2]


WHOLE = '''
from dataclasses import dataclass
import numpy as np
from torch import nn
from retrograde import Benchmark, Dataset, DataSource, Model, Rate, Size, Strategy, split_classes

@dataclass(frozen=True)
class MyNet(Model):
    """A net."""
    width: Size
    def build(self, shape, outputs, running):
        return nn.Sequential(nn.Linear(shape[0], self.width), nn.ReLU(), nn.Linear(self.width, outputs))

@dataclass(frozen=True)
class MyData(DataSource):
    """Points."""
    def load(self, folder):
        y = np.repeat(np.arange(4), 10)
        x = np.eye(4, dtype=np.float32)[y]
        return Dataset("mine", x, y, x, y)

@dataclass(frozen=True, kw_only=True)
class MyStream(Benchmark):
    """A stream."""
    def cut(self, data, seed):
        return split_classes(data, np.split(np.arange(4), 2), self.scenario)

@dataclass(frozen=True)
class MyStrategy(Strategy):
    """A strategy."""
    lr: Rate = 0.1
    def step(self, net, state, data):
        return net.update(state, net.grad(state.params, data.incoming), self.lr)
'''


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_plugin_file_may_define_a_model_a_dataset_a_benchmark_and_a_strategy(
    call, tmp_path, jobs
):
    (tmp_path / "mine.py").write_text(WHOLE)
    words = ("run", "--plugin", "mine.py", "--seeds", 2, "--jobs", jobs, "--compile", "off")
    settings = "model=mine-8,dataset=mine"
    cells = ("--benchmark", f"split:tasks=2,{settings}", "--benchmark", f"mine:{settings}")
    code, _, err = call(*words, *cells, "--strategy", "finetune", "--strategy", "mine")
    assert (code, err.strip()) == (0, "")
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("seed-*.json")]
    assert [record["status"] for record in records] == 8 * ["done"]
    assert all(record["sources"]["model"].keys() == {"mine.py"} for record in records)
    assert {record["environment"]["jobs"] for record in records} == {jobs}


def test_after_an_edit_of_a_model_of_a_plugin_a_replicate_is_measured_anew(call, tmp_path):
    (tmp_path / "mine.py").write_text(WHOLE)
    words = ("run", "--plugin", "mine.py", "--strategy", "finetune", "--benchmark")
    words += ("split:tasks=2,train_examples=9,model=mine-8,dataset=mine",)
    assert call(*words)[0] == 0
    assert "1 done already" in call(*words)[1]
    edit(tmp_path / "mine.py")
    _, out, err = call(*words)
    assert "1 replicates to run, 0 done already" in out
    assert "model mine.py changed since seed 0 of split:" in err


def test_check_gives_exit_code_1_to_a_strategy_that_breaks_the_contract(call, tmp_path):
    (tmp_path / "broken.py").write_text(BROKEN)
    code, out, _ = call("check", "--plugin", "broken.py")
    assert code == 1
    assert "it raised broken.py:11: ValueError: on purpose" in out


def test_check_holds_a_meta_strategy_to_the_contract_of_its_kind(call):
    code, out, _ = call("check", "maml")
    assert (code, out.count("passed"), "FAILED" in out) == (0, 10, False)
    assert "keeps the contract of a meta-strategy" in out


EPISODES = (
    "--benchmark",
    "sinusoid:iterations=4,meta_batch_size=2,test_tasks=3,evaluations=1,model=mlp-4",
    "--strategy",
    "maml:test_steps=2",
)


def test_a_run_of_episodes_leaves_records_of_adaptation(call, tmp_path):
    code, out, _ = call("run", *EPISODES, "--seeds", 2)
    assert (code, "loss after 2 inner steps" in out) == (0, True)
    texts = [path.read_text() for path in sorted(tmp_path.rglob("seed-*.json"))]
    records = [Record.from_json(text) for text in texts]
    assert [record.to_json() for record in records] == texts
    assert [np.shape(record.adaptation.loss) for record in records] == [(3, 3)] * 2
    assert [
        (record.status, record.test_examples, record.counts["steps"]) for record in records
    ] == [("done", [], 4)] * 2


def test_a_damaged_adaptation_is_warned_about_and_run_again(call, tmp_path):
    call("run", *EPISODES)
    path = next(tmp_path.rglob("seed-0.json"))
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | {"adaptation": whole["adaptation"] | {"cosine": []}}))
    _, out, err = call("run", *EPISODES)
    assert (
        "is damaged and will be run again (the numbers of tasks, inner steps and queries do not fit together)"
        in err
    )
    assert "1 replicates to run, 0 done already" in out
    assert json.loads(path.read_text())["adaptation"] == whole["adaptation"]


def test_meta_learning_that_diverges_is_said_and_leaves_no_numbers(call, tmp_path):
    code, out, err = call(
        "run", *EPISODES[:3], "maml:meta_lr=1e30", "--strategy", "scratch:inner_lr=1e30"
    )
    assert (code, len(re.findall("^diverged ", out, re.MULTILINE))) == (0, 2)
    assert "2 diverged of 2 replicates" in out
    assert "A parameter became non-finite by meta-iteration 4. A smaller lr may help." in err
    assert (
        "The loss of 3 test tasks became non-finite after 1 inner step. A smaller lr may help."
        in err
    )
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("seed-0.json")]
    assert [(record["status"], record["adaptation"]) for record in records] == [
        ("diverged", None)
    ] * 2


MIXED = f"""
title = "t"
seeds = 1
[[cells]]
benchmarks = ["{CELL[1]}"]
strategies = ["finetune"]
[[cells]]
benchmarks = ["{EPISODES[1]}", "fewshot:iterations=4,meta_batch_size=2,test_tasks=3,evaluations=1,ways=2"]
strategies = ["scratch:test_steps=1"]
"""


@pytest.mark.parametrize(
    ("added", "takers"),
    [("er", {"split"}), ("maml", {"sinusoid", "fewshot"}), ("oracle", {"sinusoid"})],
)
def test_a_strategy_added_to_a_mixed_suite_goes_to_the_benchmarks_that_take_it(
    call, tmp_path, added, takers
):
    (tmp_path / "s.toml").write_text(MIXED)
    assert call("run", "s.toml", "--strategy", added)[0] == 0
    cells = {
        path.relative_to(tmp_path / "runs" / "s").parts[:2]
        for path in tmp_path.rglob("seed-0.json")
    }
    own = {("split", "finetune"), ("sinusoid", "scratch"), ("fewshot", "scratch")}
    assert cells == own | {(taker, added) for taker in takers}


@pytest.mark.parametrize(
    ("kept", "added"), [("split", "maml"), ("sinusoid", "er"), ("fewshot", "oracle")]
)
def test_a_strategy_added_to_a_suite_that_has_nothing_for_it_is_refused(
    call, tmp_path, kept, added
):
    (tmp_path / "s.toml").write_text(MIXED)
    code, _, err = call("run", "s.toml", "--strategy", added, "--only", f"benchmark={kept}")
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert f"{added} was added, and no benchmark of the suite takes it" in err
    assert not list(tmp_path.rglob("seed-*.json"))


PARTED = """
title = "Parts"
seeds = 1
[[cells]]
benchmarks = ["split:tasks=2,train_examples=20"]
strategies = ["finetune"]
[[cells]]
part = "more"
benchmarks = ["split:tasks=2,train_examples=30"]
strategies = ["finetune", "er"]
"""


@pytest.mark.parametrize(
    ("words", "count"),
    [((), 1), (("--part", "more"), 2), (("--part", "more", "--only", "strategy=er"), 1)],
)
def test_a_part_of_a_suite_runs_where_it_is_asked_for(call, tmp_path, words, count):
    (tmp_path / "s.toml").write_text(PARTED)
    assert call("run", "s.toml", *words)[0] == 0
    assert len(list(tmp_path.rglob("seed-*.json"))) == count


def test_an_unknown_part_is_refused_with_the_known_ones(call, tmp_path):
    (tmp_path / "s.toml").write_text(PARTED)
    code, _, err = call("run", "s.toml", "--part", "mor")
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert "more" in err


def test_only_runs_the_cells_it_names(call):
    _, out, _ = call("run", *CELL, "--strategy", "er", "--only", "strategy=er")
    assert "1 replicates to run" in out


@pytest.mark.parametrize("jobs", [1, 2])
def test_jobs_give_the_same_records(call, tmp_path, jobs):
    words = (
        "run",
        *CELL,
        "--strategy",
        "er",
        "--seeds",
        2,
        "--compile",
        "off",
        "--jobs",
        jobs,
        "--out",
        "store",
    )
    assert call(*words)[0] == 0
    records = [json.loads(p.read_text()) for p in sorted((tmp_path / "store").rglob("seed-*.json"))]
    assert [r["seed"] for r in records] == [0, 1, 0, 1]
    assert np.array([r["correct"] for r in records]).shape == (4, 3, 2)
    assert {r["environment"]["jobs"] for r in records} == {jobs}


MISTAKES = {
    "an unknown benchmark": (
        ["--benchmark", "splt", "--strategy", "er"],
        "no benchmark 'splt'. Did you mean split?",
    ),
    "an unknown strategy": (["--benchmark", "split", "--strategy", "ewr"], "no strategy 'ewr'"),
    "an unknown setting": (
        ["--benchmark", "split", "--strategy", "er:buffer_szie=5"],
        "Did you mean buffer_size?",
    ),
    "a value out of range": (
        ["--benchmark", "split", "--strategy", "er:lr=-1"],
        "lr='-1' is not possible",
    ),
    "a value of the wrong type": (
        ["--benchmark", "split:tasks=two", "--strategy", "er"],
        "tasks='two' is not possible",
    ),
    "a value that is not a choice": (
        ["--benchmark", "split:scenario=all", "--strategy", "er"],
        "scenario='all'",
    ),
    "an infinite rate": (
        ["--benchmark", "split", "--strategy", "er:lr=inf"],
        "lr='inf' is not possible",
    ),
    "a malformed setting": (["--benchmark", "split:tasks", "--strategy", "er"], "NAME:key=value"),
    "too many tasks": (
        ["--benchmark", "split:tasks=11", "--strategy", "er"],
        "at most one task per class",
    ),
    "a number too large": (
        ["--benchmark", "split:batch_size=99999999999999999999", "--strategy", "er"],
        "batch_size=",
    ),
    "a layer without units": (
        ["--benchmark", "split:model=mlp-0", "--strategy", "er"],
        "model='mlp-0' is not possible",
    ),
    "a missing dataset": (
        ["--benchmark", "split:dataset=nowhere.npz", "--strategy", "er"],
        "neither a name nor a file",
    ),
    "an unknown model": (["--benchmark", "split:model=vgg", "--strategy", "er"], "A model is NAME"),
    "a ring too small": (
        ["--benchmark", "split", "--strategy", "er:policy=ring,buffer_size=3"],
        "buffer_size=3",
    ),
    "a strategy on episodes": (
        ["--benchmark", "sinusoid", "--strategy", "er"],
        "ER learns from a stream, and Sinusoid has",
    ),
    "a meta-strategy on a stream": (
        ["--benchmark", "split", "--strategy", "maml"],
        "MAML learns from few-shot tasks, and Split",
    ),
    "an oracle without facts": (
        ["--benchmark", "fewshot:ways=2", "--strategy", "oracle"],
        "FewShot has none. Leave it out",
    ),
    "too many ways": (
        ["--benchmark", "fewshot:ways=9", "--strategy", "maml"],
        "has classes, here 8; ways=9. Lower ways",
    ),
    "another inner optimiser": (
        ["--benchmark", "sinusoid", "--strategy", "metasgd:inner_optimizer=adam"],
        "inner_optimizer='adam'",
    ),
    "a strategy without a benchmark": (["--strategy", "er"], "both --benchmark and --strategy"),
    "nothing": ([], "nothing to run"),
    "an unknown fate of changed records": (
        [*CELL, "--changed", "ask"],
        "changed is one of rerun, keep, stop; it was 'ask'",
    ),
    "an unknown suite": (["quik"], "no suite 'quik'"),
    "something that a run does not keep": (
        [*CELL, "--keep", "modl"],
        "A run keeps no 'modl' besides records. Did you mean model?",
    ),
    "a memory of nothing": (
        ["--benchmark", "split", "--strategy", "er:buffer_size=0"],
        "buffer_size='0' is not possible. It should be at least 1.",
    ),
    "an unknown device": ([*CELL, "--device", "tpu"], "cpu or cuda"),
    "an unknown compile mode": ([*CELL, "--compile", "maybe"], "auto, on, off"),
    "an unknown key of --only": ([*CELL, "--only", "seed=1"], "benchmark=NAME"),
    "an --only that leaves nothing": ([*CELL, "--only", "strategy=joint"], "leaves no cell"),
    "a plugin that is not there": ([*CELL, "--plugin", "no.py"], "there is none at no.py"),
    "the name of a field of cells for --only": ([*CELL, "--only", "added"], "it was 'added'"),
    "a field of cells for --only": ([*CELL, "--only", "added=1"], "it was 'added=1'"),
    "an --only without a name": ([*CELL, "--only", "strategy="], "it was 'strategy='"),
    "a part without a suite": ([*CELL, "--part", "more"], "--part names cells of a suite"),
    "a suite of an unknown user": (["~nobody-of-that-name"], "no suite '~nobody-of-that-name'"),
    "data of an unknown user": (
        ["--benchmark", "split:dataset=~nobody-of-that-name/x", "--strategy", "er"],
        "home folder",
    ),
    "a suite with a long name": (["a" * 300], "File name too long"),
    "a dataset with a long name": (
        ["--benchmark", f"split:dataset={'a' * 300}", "--strategy", "er"],
        "File name too long",
    ),
    "a plugin with a long name": ([*CELL, "--plugin", "a" * 300], "File name too long"),
    "a store with a long name": ([*CELL, "--out", "a" * 300], "File name too long"),
    "a device as data": (
        ["--benchmark", "split:dataset=/dev/zero", "--strategy", "er"],
        "Only regular files",
    ),
    "epochs beside steps": (
        ["--benchmark", "split:steps=5,epochs=3", "--strategy", "er"],
        "with steps=5, epochs=3 has none",
    ),
    "examples of evaluations without evaluations": (
        ["--benchmark", "split:eval_examples=5", "--strategy", "er"],
        "eval_examples=5 has none",
    ),
    "probes of nothing": (
        ["--benchmark", "split:probe_examples=0,probe_every=5", "--strategy", "er"],
        "probe_every=5 has none",
    ),
    "angles beside degrees": (
        ["--benchmark", "rotated:tasks=1,degrees=9,max_angle=90", "--strategy", "er"],
        "max_angle=90 draw",
    ),
    "a dataset of sinusoids": (
        ["--benchmark", "sinusoid:dataset=digits", "--strategy", "maml"],
        "take no dataset",
    ),
    "an error of many characters": (
        ["--benchmark", f"split:tasks=1,a{'b' * 9000}=1", "--strategy", "er"],
        "no setting 'abbb",
    ),
    "an output that is a file": ([*CELL, "--out", __file__], "cannot be written"),
}


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("run", "--benchmark", "split", "--strategy", "ER"), "Did you mean er?"),
        (("run", "--benchmark", "Split", "--strategy", "Finetune"), "Did you mean split?"),
        (("run", "mnst"), "Did you mean mnist"),
        (("show", "La_Maml"), "Did you mean lamaml"),
        (("list", "Metric"), "Did you mean metrics?"),
        (("rn", "quick"), "Did you mean 'run'?"),
    ],
)
def test_a_mistyped_name_is_answered_before_pytorch_is_loaded(words, remedy, tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None; from retrograde.cli import main; "
        f"sys.argv = ['retrograde', *{list(words)!r}]; main()"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert found.returncode == 2
    assert remedy in found.stderr


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_clear_line_and_nothing_is_trained(call, tmp_path, mistake):
    words, remedy = MISTAKES[mistake]
    code, out, err = call("run", *words)
    assert code == 2
    assert remedy in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err + out
    assert not list(tmp_path.rglob("seed-*.json"))


@pytest.mark.parametrize(
    "words",
    [("--timeout", "1e300"), ("--timeout", "inf"), ("--timeout", "nan"), ("--seeds", 10**400)],
)
def test_a_number_beyond_the_limits_is_refused_before_anything_is_trained(call, tmp_path, words):
    code, _, err = call("run", *CELL, *words)
    assert code == 2
    name = words[0].removeprefix("--")
    assert f"Invalid value for '--{name}'" in err or f"error: {name} is the number" in err
    assert len(err) < 1000
    assert not list(tmp_path.rglob("seed-*.json"))


@pytest.mark.parametrize("encoding", ["cp932", "ascii"])
def test_a_console_that_lacks_a_character_shows_its_code(call, monkeypatch, encoding):
    console = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", console)
    assert call("run", *CELL, "--seeds", 3, "--compile", "off")[0] == 0
    console.flush()
    assert (
        b"\\xb1" in console.buffer.getvalue() or "±".encode(encoding) in console.buffer.getvalue()
    )


@pytest.mark.parametrize("width", ["0", "1"])
def test_a_terminal_of_any_width_is_printed_to(width):
    words = [sys.executable, "-m", "retrograde", "list", "suites"]
    found = subprocess.run(
        words, check=False, env=os.environ | {"COLUMNS": width}, capture_output=True, text=True
    )
    assert (found.returncode, "quick" in found.stdout) == (0, True)


@pytest.mark.parametrize("words", [("run", *CELL), ("report", "runs/cells")])
def test_a_command_whose_reader_has_gone_goes_on(words, call, tmp_path):
    call("run", *CELL, "--compile", "off")
    reader, writer = os.pipe()
    os.close(reader)
    if words[0] == "run":
        shutil.rmtree("runs")
    command = [sys.executable, "-m", "retrograde", *words]
    found = subprocess.run(command, check=False, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (found.returncode, "Error" in found.stderr) == (0, False)
    made = {"run": "runs/cells/split/finetune/*/seed-0.json", "report": "runs/cells/tables/*.csv"}
    assert list(tmp_path.glob(made[words[0]]))


ONE = '[[cells]]\nbenchmarks = ["split"]\nstrategies = ["er"]'
SUITES = {
    "not TOML": ("title = ", "not valid TOML"),
    "no title": (f'seeds = "3"\n{ONE}', "title is missing. seeds='3' is not possible"),
    "an unknown key": (f'title = "t"\nseed = 3\n{ONE}', "no key 'seed'. Did you mean seeds?"),
    "no cells": ('title = "t"\ncells = []', "cells"),
    "a number of seeds that is none": (f'title = "t"\nseeds = "many"\n{ONE}', "seeds='many'"),
    "an unknown key of cells": (
        f'title = "t"\n{ONE.replace("benchmarks", "benchmark")}',
        "benchmark",
    ),
}


@pytest.mark.parametrize("fault", SUITES)
def test_a_faulty_suite_is_refused_with_its_fault(call, tmp_path, fault):
    text, remedy = SUITES[fault]
    (tmp_path / "s.toml").write_text(text)
    code, _, err = call("run", "s.toml")
    assert code == 2
    assert remedy in err


def test_a_record_in_the_wrong_place_is_damaged_and_run_again(call, tmp_path):
    call("run", *CELL)
    path = next(tmp_path.rglob("seed-0.json"))
    path.with_name("seed-1.json").write_bytes(path.read_bytes())
    _, out, err = call("run", *CELL, "--seeds", 2)
    assert "1 replicates to run, 1 done already" in out
    assert "it belongs at" in err
    assert json.loads(path.with_name("seed-1.json").read_text())["seed"] == 1


PROJECT = {
    "mine.py": "import mine_aid\nfrom retrograde.strategies.finetune import Finetune\nclass Mine(Finetune): pass\n",
    "mine_aid.py": "",
    "mine_stream.py": "from retrograde.benchmarks.split import Split\nclass Mine(Split): pass\n",
    "net.py": (
        "import math\nfrom torch import nn\n\n"
        "def make(shape, outputs):\n    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), outputs))\n"
    ),
}
EDITS = {
    "mine.py": "strategy mine.py",
    "mine_aid.py": "mine_aid.py (imported by strategy mine.py)",
    "mine_stream.py": "benchmark mine_stream.py",
    "net.py": "model net.py",
}
OWN = (
    "run",
    "--plugin",
    "mine.py",
    "--plugin",
    "mine_stream.py",
    "--strategy",
    "mine",
    "--compile",
    "off",
    "--jobs",
    1,
)
OWN += ("--benchmark", "mine_stream:tasks=2,train_examples=20,test_examples=20,model=net.py:make")


@pytest.fixture
def project(call, tmp_path):
    """A strategy with a helper, a benchmark and a model of one's own, run once; gives their folder."""
    for name, text in PROJECT.items():
        (tmp_path / name).write_text(text)
    assert call(*OWN)[0] == 0
    return tmp_path


def edit(path):
    path.write_text(path.read_text() + "# edited\n")


@pytest.mark.parametrize("name", EDITS)
def test_after_an_edit_of_any_file_of_its_parts_a_replicate_is_measured_anew(call, project, name):
    (path,) = project.rglob("seed-0.json")
    old = path.read_bytes()
    edit(project / name)
    code, out, err = call(*OWN)
    assert (code, "1 replicates to run, 0 done already" in out) == (0, True)
    assert f"{EDITS[name]} changed since seed 0 of mine_stream:" in err
    assert [aside.read_bytes() for aside in project.rglob("seed-0.superseded-*")] == [old]
    assert json.loads(path.read_text())["sources"] != json.loads(old)["sources"]
    assert "1 done already" in call(*OWN)[1]


@pytest.mark.parametrize("name", ["mine.py", "net.py"])
def test_kept_records_of_an_edited_file_stand_in_a_row_of_their_own(call, project, name):
    edit(project / name)
    _, out, err = call(*OWN, "--seeds", 2, "--changed", "keep")
    assert "1 replicates to run, 1 done already" in out
    assert "They are kept, and other seeds make rows of their own." in err
    assert f"{name} " in call("report", "runs/cells")[2]
    scores = pd.read_csv(
        project / "runs" / "cells" / "tables" / "scores.csv", keep_default_na=False
    )
    scores = scores[scores.metric == "ACC"]
    assert scores.n.tolist() == [1, 1]
    labels = (scores.benchmark + scores.settings).tolist()
    assert all(f"({name} " in label for label in labels)
    assert labels[0] != labels[1]


@pytest.mark.parametrize("name", EDITS)
def test_where_a_file_was_edited_a_run_may_stop_before_anything_trains(call, project, name):
    before = {path: path.read_bytes() for path in project.rglob("seed-*")}
    edit(project / name)
    code, _, err = call(*OWN, "--seeds", 2, "--changed", "stop")
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert f"{EDITS[name]} changed since seed 0 of mine_stream:" in err
    assert " -> " in err
    assert {path: path.read_bytes() for path in project.rglob("seed-*")} == before


def test_an_edit_that_fails_leaves_the_record_of_the_version_that_did_not(call, project):
    text = (project / "mine.py").read_text()
    (path,) = project.rglob("seed-0.json")
    old = path.read_bytes()
    broken = "    def end_experience(self, net, state, finished): raise ValueError('on purpose')\n"
    (project / "mine.py").write_text(text.replace(" pass", f"\n{broken}"))
    assert call(*OWN)[0] == 1
    assert [each.read_bytes() for each in project.rglob("seed-*")] == [old]
    (project / "mine.py").write_text(text)
    assert "0 replicates to run, 1 done already" in call(*OWN)[1]


def test_a_bug_of_an_author_is_said_once_with_its_line_and_all_of_it_where_that_is_wanted(
    call, tmp_path
):
    (tmp_path / "broken.py").write_text(BROKEN.replace("return state", "return state.param", 1))
    words = ("--plugin", "broken.py")
    line = "broken.py:8: AttributeError: 'State' object has no attribute 'param'"
    code, out, _ = call("check", *words)
    assert (code, out.count(line)) == (1, 1)
    assert re.search(rf"FAILED    A step leaves .*: it raised {line}", out)
    assert re.search(r"\d+ further checks stop there: not reached", out)
    assert "in step" not in out
    assert "in step" in call("check", *words, "--traceback")[1]
    code, _, err = call("run", *CELL[:2], "--strategy", "broken", *words)
    assert (code, err.count(line), "in step" in err) == (2, 1, False)
    assert "in step" in call("run", *CELL[:2], "--strategy", "broken", *words, "--traceback")[2]


def test_a_check_that_takes_too_long_is_stopped_with_its_name_and_line(call, tmp_path, monkeypatch):
    (tmp_path / "slow.py").write_text(
        BROKEN.replace("return state", "import time; time.sleep(10**6)", 1)
    )
    monkeypatch.setenv("RETROGRADE_CHECK_SECONDS", "1")
    code, out, _ = call("check", "--plugin", "slow.py")
    assert (
        code,
        out.count(
            "Broken takes longer than 1 s, the limit of a check, and was stopped at slow.py:8"
        ),
    ) == (1, 1)
    code, _, err = call("run", *CELL[:2], "--strategy", "slow", "--plugin", "slow.py")
    assert (code, "Setting up slow for split" in err, "stopped at slow.py:8" in err) == (
        2,
        True,
        True,
    )


STEP = "    def step(self, net, state, data): return state\n"
PLUGINS = {
    "a setting without a default": (
        "from retrograde.parts.fields import Rate",
        "    lr: Rate\n",
        "has no default for lr",
    ),
    "no step": ("", "    pass\n", "Define step"),
    "an init that raises": (
        "",
        f"{STEP}    def init(self, net, params): return {{}}['x']\n",
        "cannot be set up",
    ),
    "an import that stops the program": ("raise SystemExit(3)", "    pass\n", "cannot be imported"),
}


@pytest.mark.parametrize("fault", PLUGINS)
def test_a_faulty_plugin_is_one_clear_line(call, tmp_path, fault):
    first, body, remedy = PLUGINS[fault]
    head = f"from dataclasses import dataclass\nfrom retrograde.interface.strategy import Strategy\n{first}\n"
    (tmp_path / "mine.py").write_text(
        f"{head}@dataclass(frozen=True)\nclass Mine(Strategy):\n{body}"
    )
    code, _, err = call("run", *CELL[:2], "--strategy", "mine", "--plugin", "mine.py")
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert remedy in err


def test_a_plugin_cannot_take_the_name_of_a_built_in_part(call, tmp_path):
    (tmp_path / "er.py").write_text(BROKEN)
    assert "name of one of the built-in strategies" in call("run", *CELL, "--plugin", "er.py")[2]


def test_a_record_of_a_newer_schema_stops_the_run_before_it_trains(call, tmp_path):
    call("run", *CELL)
    path = next(tmp_path.rglob("seed-0.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 99}))
    newer = path.read_bytes()
    for words in (("run", *CELL), ("report", "runs/cells")):
        code, _, err = call(*words)
        assert (code, "later version" in err) == (2, True)
    assert path.read_bytes() == newer


def test_a_report_of_nothing_is_refused_and_of_an_empty_store_says_so(call, tmp_path):
    assert call("report", "nowhere")[0] == 2
    (tmp_path / "empty").mkdir()
    code, _, err = call("report", "empty")
    assert code == 0
    assert "There is nothing to show" in err


def test_a_report_follows_the_convention_of_another_suite_and_says_so(call, tmp_path):
    call("run", *CELL, "--compile", "off")
    ours, theirs = (call("report", "runs/cells", *more)[1] for more in ((), ("--as", "mammoth")))
    assert ("forgetting_mammoth" in ours, "forgetting_mammoth" in theirs) == (False, True)
    assert "Forgetting and transfer as in Mammoth's first release of 2020" in theirs
    assert (
        "forgetting_mammoth" in (tmp_path / "runs" / "cells" / "tables" / "scores.csv").read_text()
    )
    code, _, err = call("report", "runs/cells", "--as", "mine")
    assert (code, "Known: avalanche, gem, lamaml, mammoth" in err) == (2, True)


def test_an_unknown_format_is_refused(call, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no format 'docx'" in call("report", "empty", "--format", "md,docx")[2]


@pytest.mark.parametrize("name", ["My-Replay", "class", "1st"])
def test_a_scaffold_needs_a_python_name(call, name):
    assert "Python name" in call("new", "strategy", name)[2]


def test_a_scaffold_has_a_name_of_its_own(call, tmp_path):
    code, _, err = call("new", "strategy", "er")
    assert (code, "Choose another name" in err) == (2, True)
    assert not (tmp_path / "er.py").exists()


def test_a_scaffold_replaces_no_file(call, tmp_path):
    (tmp_path / "mine.py").write_text("precious")
    assert call("new", "strategy", "mine")[0] == 2
    assert (tmp_path / "mine.py").read_text() == "precious"


UNKNOWN = """
from dataclasses import dataclass
from retrograde.reporting.result import TableResult

@dataclass(frozen=True)
class Odd(TableResult):
    def table(self, records):
        raise ValueError("so\\x1b[2J\\nmuch")
"""


def test_a_report_goes_on_without_a_result_that_fails_and_ends_with_code_1(
    call, tmp_path, make_record
):
    Store(tmp_path / "runs").write(make_record())
    (tmp_path / "odd.py").write_text(UNKNOWN)
    code, out, err = call("report", "runs", "--plugin", "odd.py")
    assert code == 1
    assert "error: the result odd failed and is left out: odd.py:8: ValueError: so [2J much" in err
    assert "# Scores" in out
    assert (tmp_path / "runs" / "tables" / "scores.md").is_file()


def test_a_report_names_the_remedy_where_a_strategy_or_a_benchmark_is_not_known(
    call, tmp_path, make_record
):
    Store(tmp_path / "runs").write(make_record("my_er", benchmark="mine"))
    code, _, err = call("report", "runs", "--format", "html")
    assert code == 0
    assert err.count("give that file again with --plugin FILE.py") == 2
    page = (tmp_path / "runs" / "tables" / "report.html").read_text()
    assert "Not available here: no strategy is called &#39;my_er&#39; here." in page
