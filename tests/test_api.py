"""The Python API: what the command line does, in calls."""

import copy
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType

import jaxtyping
import numpy as np
import pytest
import torch

import retrograde as rg
from retrograde.parts.class_code import code_digest

SPLIT = "split:tasks=2,train_examples=30,test_examples=20"


@dataclass(frozen=True)
class Halving(rg.Strategy):
    """Fine-tuning at half of its rate."""

    lr: rg.Rate = 0.2

    def step(self, net, state, data):
        return net.update(state, net.grad(state.params, data.incoming), self.lr / 2)


@pytest.fixture(scope="module")
def records():
    return rg.run(
        SPLIT, ["er:buffer_size=20", Halving(lr=0.1)], seeds=2, compile="off", progress=False
    )


def test_text_and_objects_run_alike(records):
    assert [record.cell.strategy.spec for record in records] == ["er:buffer_size=20"] * 2 + [
        "halving:lr=0.1"
    ] * 2
    assert {record.status for record in records} == {"done"}
    assert {len(record.R) for record in records} == {3}


def test_an_object_gives_what_its_text_gives(records):
    parts = rg.benchmark(SPLIT), rg.strategy("er:buffer_size=20")
    again = rg.run(*parts, seeds=2, compile="off", progress=False)
    assert [record.cell for record in again] == [record.cell for record in records[:2]]
    assert [record.correct for record in again] == [record.correct for record in records[:2]]


def test_a_store_is_kept_and_taken_up(tmp_path):
    first = rg.run(SPLIT, Halving(), seeds=1, store=tmp_path, compile="off", progress=False)
    both = rg.run(SPLIT, Halving(), seeds=2, store=tmp_path, compile="off", progress=False)
    assert both[0] == first[0]
    assert rg.load(tmp_path) == both


def test_scores_are_those_of_the_matrix(records):
    found = rg.scores(records)
    assert list(found) == [
        "benchmark",
        "strategy",
        "settings",
        "seed",
        "upper_bound",
        "metric",
        "value",
    ]
    own = found[(found.strategy == "halving") & (found.seed == 0)].set_index("metric").value
    bare = rg.scores(records[2].R).set_index("metric").value
    assert own["ACC"] == records[2].R[-1].mean()
    assert bare.to_dict() == own[bare.index].to_dict()
    counted = rg.scores(records[2].correct, tests=records[2].test_examples)
    of_counts = counted.set_index("metric").value
    assert of_counts[bare.index].to_dict() == bare.to_dict()
    assert {*of_counts.index} - {*bare.index} == {"AIA", "ACC_pooled"}
    assert of_counts.to_dict() == pytest.approx(own[of_counts.index].to_dict())


def test_a_matrix_without_the_row_before_training_has_no_forward_transfer():
    whole = np.array([[0.1, 0.2], [0.9, 0.3], [0.7, 0.8]])
    found = [rg.scores(given).set_index("metric").value for given in (whole, whole[1:].tolist())]
    assert found[0]["FWT"] == pytest.approx(0.1)
    assert found[0].drop("FWT").to_dict() == found[1].to_dict()
    assert found[1]["BWT"] == pytest.approx(-0.2)


def test_a_matrix_whose_experiences_are_not_its_tasks_is_scored_with_them():
    rows = [[0.1, 0.2], [0.9, 0.3], [0.7, 0.8], [0.8, 0.6]]
    comes_back = rg.Experiences(3, [0, 1], [2, 1])
    found = [
        rg.scores(given, experiences=comes_back).set_index("metric").value
        for given in (rows, rows[1:])
    ]
    expected = {"LA": 0.8, "BWT": -0.2, "FWT": 0.1, "forgetting": 0.2}
    assert found[0][[*expected]].to_dict() == pytest.approx(expected)
    assert found[0].drop("FWT").to_dict() == found[1].to_dict()


@pytest.mark.parametrize(
    ("experiences", "why"),
    [
        (None, r"There are 2 experiences, and its shape is \(4, 2\).*experiences=rg.Experiences"),
        (rg.Experiences(2, [0, 1], [0, 1]), r"There are 2 experiences"),
        (rg.Experiences(3, [0], [0]), "fit its 2 tasks"),
        (rg.Experiences(3, [0, 1], [0, 3]), "after the last of 3"),
        (rg.Experiences(3, [0, 0.5], [2, 1]), "whole numbers"),
        ([3, 2], r"experiences is an Experiences.*\[3, 2\]"),
    ],
    ids=str,
)
def test_experiences_that_do_not_fit_a_matrix_are_refused(experiences, why):
    with pytest.raises(rg.UserError, match=why):
        rg.scores(np.full((4, 2), 0.5), experiences=experiences)


def test_a_stack_of_matrices_is_of_replicates():
    found = rg.scores(np.full((3, 2, 2), 0.5))
    assert found[found.metric == "ACC"].seed.tolist() == [0, 1, 2]


def test_a_file_holds_a_matrix(tmp_path):
    path = tmp_path / "accuracy.csv"
    path.write_text("0.9,0.1\n0.5,0.8\n")
    assert rg.scores(path).set_index("metric").value["ACC"] == pytest.approx(0.65)
    path.write_text("0.9,0.1\n0.5,0.8\n", encoding="utf-8-sig")
    assert rg.scores(path).set_index("metric").value["ACC"] == pytest.approx(0.65)


@pytest.mark.parametrize("text", ["task,accuracy\n", "0.9;0.1\n0.5;0.8\n"])
def test_a_file_without_a_matrix_is_refused_in_sentences(tmp_path, text):
    path = tmp_path / "accuracy.csv"
    path.write_text(text)
    with pytest.raises(rg.UserError, match=r"CSV file of numbers.*, with commas .*[^.]\.$"):
        rg.scores(path)


@pytest.mark.parametrize(
    ("given", "tests", "why"),
    [
        ([[0.5, np.nan], [0.5, 0.5]], None, "NaN"),
        ([[50.0, 10.0], [40.0, 60.0]], None, "Divide percentages by 100"),
        ([[0.5, -0.1], [0.4, 0.6]], None, "between 0 and 1"),
        ([0.5, 0.5], None, "its shape is"),
        (3.5, None, r"its shape is \(\)"),
        ([[0.5, 0.5]], None, "its shape is"),
        ([[0.5], [0.5, 0.4]], None, "as many in each row"),
        ([["a", "b"], ["c", "d"]], None, "holds numbers"),
        (np.zeros((0, 0)), None, "its shape is"),
        (object(), None, "holds numbers"),
        ([[5, 1], [4, 6]], [10], "for each of 2 tasks"),
        ([[5, 1], [4, 6]], [10, 0], "at least 1"),
        ([[5, 1], [4, 6]], "ten", "number of test examples"),
        ([[0.9, 0.1], [0.5, 0.8]], [50, 50], "whole numbers"),
        ([[5, 1], [4, 6]], [10, float("inf")], "at least 1"),
        (np.ma.masked_array(np.full((2, 2), 0.5), mask=np.eye(2)), None, "holds numbers"),
        (np.full((2, 2), 0.5 + 1j), None, "holds numbers"),
        ([[10**400]], None, "holds numbers"),
        ("nowhere", None, "there is none at nowhere"),
        ("nowhere.csv", None, "nowhere.csv"),
    ],
)
def test_a_matrix_that_is_none_is_refused(given, tests, why):
    with pytest.raises(rg.UserError, match=why):
        rg.scores(given, tests=tests)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"benchmarks": "splt"}, "Did you mean split"),
        ({"strategies": "er:memry=3"}, "has no setting 'memry'"),
        ({"strategies": "er:lr=-1"}, "lr='-1' is not possible"),
        ({"strategies": Halving}, r"Make one of it: Halving\(\)"),
        ({"strategies": object()}, "is none of them"),
        ({"strategies": [3]}, "is none of them"),
        ({"strategies": rg.benchmark("split")}, "is none of them"),
        ({"strategies": (name for name in ["er"])}, "is none of them"),
        ({"strategies": []}, "one of the two is empty"),
        ({"strategies": "maml"}, "learns from few-shot tasks"),
        ({"seeds": 0}, "from 1 to"),
        ({"seeds": -1}, "from 1 to"),
        ({"seeds": 2.5}, "from 1 to"),
        ({"jobs": 0}, "at least 1"),
        ({"timeout": "5"}, "from 1 to"),
        ({"timeout": -1}, "from 1 to"),
        ({"store": 5}, "store is a path"),
        ({"data": {"mine": np.zeros(3)}}, "rg.Dataset by name"),
        ({"strategies": type("a/b", (Halving,), {})()}, "called 'a/b'"),
        ({"device": "tpu"}, "device is cpu or cuda"),
        ({"compile": "fast"}, "compile is one of auto, on, off"),
        ({"changed": "perhaps"}, "changed is one of rerun, keep, stop"),
    ],
)
def test_what_cannot_be_run_is_one_error(change, why):
    with pytest.raises(rg.UserError, match=why):
        rg.run(**{"benchmarks": SPLIT, "strategies": "er", "seeds": 1, "progress": False} | change)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"device": "tpu"}, "^device is"),
        ({"compile": "fast"}, "^compile is"),
        ({"changed": "perhaps"}, "^changed is"),
    ],
)
def test_errors_name_the_parameters_of_python(change, why):
    with pytest.raises(rg.UserError, match=why) as refusal:
        rg.run(SPLIT, "er", seeds=1, progress=False, **change)
    assert "--" not in str(refusal.value)


def test_an_edited_strategy_is_refused_in_the_words_of_python(tmp_path):
    run_alone(factored(1), store=tmp_path)
    with pytest.raises(rg.UserError, match="changed=rerun to .* changed=keep") as refusal:
        run_alone(factored(0.5), store=tmp_path, changed="stop")
    assert "--" not in str(refusal.value)


def test_pickling_a_class_does_not_change_what_identifies_it():
    """Python notes the names of its slots on a class that it pickles."""
    before = code_digest(Halving)
    copy.copy(Halving())
    assert "__slotnames__" in vars(Halving)
    assert code_digest(Halving) == before


def test_a_class_may_not_bear_the_name_of_another():
    taken = type("ER", (Halving,), {"__doc__": "Another."})
    with pytest.raises(rg.UserError, match="would be called er, as another one is"):
        rg.run(SPLIT, taken(), seeds=1, progress=False)


def factored(factor):
    """A class that differs from others of its name in what its method holds alone."""

    @dataclass(frozen=True)
    class Factored(rg.Strategy):
        """Fine-tuning at a fraction of its rate."""

        lr: rg.Rate = 0.1

        def step(self, net, state, data):
            gradient = net.grad(state.params, data.incoming)
            return net.update(state, gradient, factor * self.lr)

    return Factored()


def run_alone(*strategies, **options):
    return rg.run(SPLIT, [*strategies], seeds=1, compile="off", progress=False, **options)


def test_two_classes_of_one_name_do_not_run_together():
    with pytest.raises(rg.UserError, match="two different ones are called Factored"):
        run_alone(factored(1), factored(0.1))


def test_a_class_that_holds_another_value_is_trained_anew(tmp_path):
    first, again, other = (run_alone(factored(f), store=tmp_path)[0] for f in (1, 1, 1e-4))
    assert first == again
    assert first.correct != other.correct
    assert other.correct == run_alone(factored(1e-4))[0].correct


def test_a_version_that_fails_is_no_record_of_the_one_before(tmp_path):
    assert run_alone(factored(1), store=tmp_path)[0].status == "done"
    with pytest.warns(UserWarning, match="not done"):
        (record,) = run_alone(factored(1e30), store=tmp_path)
    assert record.status == "diverged"


NOTEBOOK = """
from dataclasses import dataclass
import sys
import retrograde as rg

factor = float(sys.argv[1])

def scaled(lr):
    return factor * lr

@dataclass(frozen=True)
class Mine(rg.Strategy):
    lr: rg.Rate = 0.1

    def step(self, net, state, data):
        return net.update(state, net.grad(state.params, data.incoming), scaled(self.lr))

records = rg.run("SPLIT", Mine(), seeds=1, jobs=int(sys.argv[2]), store="store", compile="off", progress=False)
print(records[0].sources["strategy"], records[0].correct[-1])
"""


def test_a_class_of_a_notebook_runs_and_is_told_from_its_edited_self(tmp_path):
    def called(*words):
        command = [sys.executable, "-c", NOTEBOOK.replace("SPLIT", SPLIT), *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.stdout

    first = called("1", "1")
    assert "class Mine" in first
    assert called("1", "1") == first
    assert called("1e-4", "1") != first
    assert len(list(tmp_path.rglob("*.superseded-*"))) == 1


def test_a_file_that_is_replaced_is_read_anew(tmp_path):
    path, y = tmp_path / "mine.npz", np.arange(60) % 4
    found = []
    for shift in (0, 1):
        x = np.random.default_rng(0).random((60, 6)) + shift
        np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
        (record,) = rg.run(f"split:tasks=2,dataset={path}", "finetune", seeds=1, progress=False)
        found.append(record.cell.data)
    assert found[0] != found[1]


@pytest.mark.parametrize(
    "call",
    [
        lambda: rg.check([]),
        lambda: rg.load(5),
        lambda: rg.suite(5),
        lambda: rg.benchmark("split").stream(0),
        lambda: rg.benchmark("split").stream(seed=-1),
        lambda: rg.benchmark("fewshot").distribution(0),
        lambda: rg.benchmark("fewshot").distribution(seed="one"),
        lambda: rg.benchmark(3),
        lambda: rg.Suite(title="one"),
        lambda: rg.Suite("quick"),
        lambda: rg.Suite(title="one", cells=[]),
        lambda: rg.Suite(title="one", cells=[{"benchmarks": ["split"], "strategies": "er"}]),
        lambda: rg.Suite(title=3, seeds=-1, cells="many", part=""),
        lambda: rg.report([]),
        lambda: rg.scores([[0.5]], convention=["own"]),
    ],
)
def test_a_call_that_makes_no_sense_is_one_error(call, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as for users
    with pytest.raises(rg.UserError):
        call()


def test_what_is_not_done_is_warned_of():
    with pytest.warns(UserWarning, match="1 of 1 replicates are not done; .* diverged"):
        (record,) = rg.run(SPLIT, "finetune:lr=1e30", seeds=1, compile="off", progress=False)
    assert record.status == "diverged"


def test_own_data_comes_as_arrays():
    random = np.random.default_rng(0)
    y = np.arange(80) % 4
    x = (random.random((80, 6)) + y[:, None]).astype(np.float32)
    data = {"mine": rg.Dataset("mine", x[:60], y[:60], x[60:], y[60:])}
    (record,) = rg.run(
        "split:dataset=mine,tasks=2", "finetune", seeds=1, data=data, compile="off", progress=False
    )
    assert record.test_examples == [10, 10]


def test_a_stream_is_gone_through_task_by_task():
    stream = rg.benchmark("split:tasks=5,scenario=task").stream(seed=3)
    tasks = list(stream)
    assert len(stream) == len(tasks) == 5
    assert all(set(task.y_train) == set(task.outputs) for task in tasks)
    assert tasks[0].x_train.shape[1:] == (1, 8, 8)
    train, test = tasks[0].datasets()
    assert (len(train), len(test)) == (len(tasks[0].x_train), len(tasks[0].x_test))
    assert torch.equal(train[0][0], torch.from_numpy(tasks[0].x_train[0]))


def test_a_stream_and_a_distribution_need_no_data_of_their_own(monkeypatch, tmp_path):
    monkeypatch.setenv("RETROGRADE_DATA", str(tmp_path))
    waves = rg.benchmark("sinusoid").distribution()
    digits = rg.benchmark("fewshot").distribution()
    assert (waves.shape, digits.shape) == ((1,), (1, 8, 8))
    assert len(rg.benchmark("split").stream()) == 5


def test_a_suite_is_made_of_cells():
    cells = [{"benchmarks": [SPLIT], "strategies": ["finetune"]}]
    assert rg.Suite(title="One cell", cells=cells).pairs() == [(SPLIT, "finetune", "")]


def test_a_report_is_made_of_records_or_of_a_store(records, tmp_path):
    made = rg.report(records, out=tmp_path / "tables", formats=["md", "tex"])
    assert {"scores.md", "scores.tex", "scores.csv"} <= {
        path.name for path in (tmp_path / "tables").iterdir()
    }
    assert set(made.tables["scores"].tidy.strategy) == {"ER", "halving"}
    assert "halving" in records._repr_markdown_()
    with pytest.raises(rg.UserError, match="no format 'docx'"):
        rg.report(records, formats="docx")


def test_records_are_compared(records):
    table = rg.compare(records, records)
    assert set(table.tidy.verdict) == {"identical"}


def test_the_contract_is_run_on_an_object():
    assert {verdict.outcome for verdict in rg.check(Halving())} <= {"passed", "declared"}


def test_a_foreign_folder_is_refused(tmp_path):
    with pytest.raises(rg.UserError, match="there is none at"):
        rg.load(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("not a record")
    with pytest.raises(rg.UserError, match="holds none"):
        rg.load(tmp_path)


def test_a_suite_runs_with_a_strategy_of_ones_own(tmp_path):
    (tmp_path / "own.toml").write_text(
        f'title = "own"\nseeds = 1\n[[cells]]\nbenchmarks = ["{SPLIT}"]\nstrategies = ["finetune"]\n'
    )
    found = rg.run(rg.suite(str(tmp_path / "own.toml")), Halving(), compile="off", progress=False)
    assert [record.cell.strategy.name for record in found] == ["finetune", "halving"]


def test_importing_it_imports_neither_torch_nor_pandas():
    code = "import sys, retrograde; print(sorted({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )


def test_every_public_name_is_there_and_its_classes_and_functions_are_documented():
    assert "run" in rg.__all__
    for name in rg.__all__:
        value = getattr(rg, name)
        assert name in dir(rg)
        # the name of a shape is a class to Python, and has no docstring of its own
        is_shape = isinstance(value, type) and value.__module__ == "jaxtyping"
        if isinstance(value, type | FunctionType) and not is_shape:
            assert value.__doc__, name


SCRIPT = '''
from dataclasses import dataclass
import retrograde as rg

@dataclass(frozen=True)
class Mine(rg.Strategy):
    """A strategy of this script."""

    lr: rg.Rate = 0.1

    def step(self, net, state, data):
        return net.update(state, net.grad(state.params, data.incoming), self.lr)

if __name__ == "__main__":
    records = rg.run(["SPLIT", "SPLIT,epochs=2"], Mine(), seeds=2, jobs=2, store="store", compile="off", progress=False)
    print([record.status for record in records], list(records[0].sources["strategy"]))
'''


def test_a_script_runs_its_own_class_in_two_processes(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT.replace("SPLIT", SPLIT))
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == (
        "['done', 'done', 'done', 'done'] ['class Mine']\n",
        "",
    )


def test_a_matrix_is_scored_from_the_shell(tmp_path):
    Path(tmp_path, "accuracy.csv").write_text("0.9,0.1\n0.5,0.8\n")
    command = [sys.executable, "-m", "retrograde", "score", "accuracy.csv"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0].split() == ["ACC", "65.00", "%"]
