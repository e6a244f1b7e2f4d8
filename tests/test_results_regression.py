"""Records of regression: their form, their scores, and the tables and figures that show them."""

import json
from dataclasses import replace

import numpy as np
import pytest

import retrograde as rg
from retrograde.errors import UserError
from retrograde.parts.registry import Registry
from retrograde.records.presentation import Presentation
from retrograde.records.record import Damaged, Record
from retrograde.reporting.report import report
from retrograde.reporting.request import Request

SUMS = ([50.0, 60.0], [10.0, 80.0], [30.0, 20.5])


@pytest.fixture
def lines(make_record):
    """Two strategies on regression, of two replicates each."""

    def of(strategy, seed):
        given = [[value + 10 * seed for value in row] for row in SUMS]
        if strategy == "er":
            given[2] = [12.0 + seed, 20.5]
        return make_record(
            strategy, seed, (), benchmark="lines", test_examples=[10, 10], squared_errors=given
        )

    return [of(strategy, seed) for strategy in ("er", "finetune") for seed in (0, 1)]


def test_a_record_has_mean_squared_errors_and_no_accuracy(lines):
    record = Record.from_json(lines[2].to_json())
    assert record == lines[2]
    assert record.MSE.tolist() == [[5, 6], [1, 8], [3, 2.05]]
    with pytest.raises(UserError, match="Regression has no accuracy; lines has mean squared"):
        _ = record.R


def test_a_record_of_classification_has_no_squared_errors(make_record):
    assert make_record().MSE is None
    document = json.loads(make_record().to_json())
    # Records from before the field are read as they were.
    del document["squared_errors"]
    assert Record.from_json(json.dumps(document)) == make_record()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"squared_errors": [[1.0, 2.0]] * 2}, "the sums do not fit the number of tasks, 2"),
        ({"squared_errors": [[1.0]] * 3}, "the sums do not fit the number of tasks, 2"),
        ({"squared_errors": [[1.0, -2.0]] * 3}, "greater than or equal to 0"),
        ({"correct": [[1, 2]] * 3}, "it has correct answers too"),
    ],
)
def test_sums_that_contradict_the_record_are_found(lines, change, fault):
    document = json.loads(lines[0].to_json()) | change
    with pytest.raises(Damaged, match=fault):
        Record.from_json(json.dumps(document))


def test_scores_are_those_of_errors_alone(lines):
    frame = rg.scores(lines)
    assert set(frame.metric) == {"MSE", "stream_MSE", "learning_MSE", "MSE_forgetting"}
    of_first = frame[(frame.strategy == "finetune") & (frame.seed == 0)]
    values = dict(zip(of_first.metric, of_first.value, strict=True))
    assert values == pytest.approx(
        {
            "MSE": (3 + 2.05) / 2,
            "stream_MSE": (1 + (3 + 2.05) / 2) / 2,
            "learning_MSE": (1 + 2.05) / 2,
            "MSE_forgetting": 2,
        }
    )


def test_a_table_has_columns_of_errors_without_percent(lines):
    (section,) = rg.report(lines).tables["scores"].sections
    assert section.columns == (
        "strategy",
        "MSE",
        "stream_MSE",
        "learning_MSE",
        "MSE_forgetting",
        "n",
    )
    rows = {row[0].text.split()[0]: [entry.text for entry in row] for row in section.rows}
    # The replicates of fine-tuning have 2.525 and 3.525 in the end.
    assert rows["Fine-tuning"][1].startswith("3.025 ± 6.353")


def test_other_streams_keep_their_columns_beside_regression(lines, make_record):
    records = [*lines, *(make_record(seed=seed) for seed in range(2))]
    sections = rg.report(records).tables["scores"].sections
    columns = {section.heading: section.columns for section in sections}
    assert "MSE" in columns["lines"]
    assert "ACC" not in columns["lines"]
    (other,) = [names for heading, names in columns.items() if heading != "lines"]
    assert "ACC" in other
    assert "MSE" not in other


def test_tables_and_figures_of_accuracy_leave_regression_out(lines, make_record):
    alone = report(lines, Request(("md", "svg")), Registry(), Presentation("regression"))
    assert set(alone.tables) == {"scores", "significance", "timing"}
    assert alone.figures == {}
    accuracy = [make_record(strategy, seed) for strategy in ("er", "finetune") for seed in range(2)]
    both = report([*lines, *accuracy], Request(("md", "svg")), Registry(), Presentation("both"))
    of_accuracy = report(accuracy, Request(("md", "svg")), Registry(), Presentation("accuracy"))
    assert set(both.tables) == set(of_accuracy.tables)
    assert set(both.figures) == set(of_accuracy.figures)
    assert both.tables["tasks"].sections == of_accuracy.tables["tasks"].sections


def test_two_stores_are_compared_by_their_errors(lines):
    assert "2 identical" in rg.compare(lines, lines).notes[0]
    worse = [
        replace(record, squared_errors=[[9 * value for value in row] for row in SUMS])
        for record in lines
    ]
    (section,) = rg.compare(lines, worse).sections
    shown = {tuple(entry.text for entry in row[2:5]) for row in section.rows}
    assert {metric for metric, _, _ in shown} == {"MSE", "MSE_forgetting"}
    assert ("MSE", "3.025", "22.725") in shown


def test_a_run_is_stored_resumed_and_reported(tmp_path):
    cell = ("waves:tasks=2,batches=3,model=mlp-8", ["finetune:lr=0.01"])
    first = rg.run(*cell, seeds=1, store=tmp_path / "store", progress=False)
    both = rg.run(*cell, seeds=2, store=tmp_path / "store", progress=False)
    assert [record.status for record in both] == ["done", "done"]
    assert both[0].to_json() == first[0].to_json()
    assert rg.load(tmp_path / "store") == both
    assert np.shape(both[1].MSE) == (3, 2)
    made = rg.report(both, out=tmp_path / "tables", formats=["md", "svg", "html"])
    assert {"scores", "alignment", "account"} <= set(made.tables)
    (alignment, *_) = made.tables["alignment"].sections
    assert alignment.columns[1:3] == ("MSE", "MSE forgetting")
    assert "squared error" in (tmp_path / "tables" / "alignment_tasks.svg").read_text()
