import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st

from retrograde.records.cell import CellSpec, PartSpec
from retrograde.records.few_shot import Adaptation, Fit, MetaEvaluation
from retrograde.records.online_accuracy import OnlineAccuracy
from retrograde.records.record import SCHEMA, Damaged, OtherSchema, Record

VALUE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
SETTINGS = st.dictionaries(st.text(), VALUE | st.lists(VALUE, max_size=3), max_size=5)
BENCHMARK = PartSpec("split", {"task_size": 2, "hidden": [100, 100]}, {"task_size": 2})
STRATEGY = PartSpec("er", {"buffer_size": 500, "lr": 0.1}, {"buffer_size": 500})
CELL = CellSpec(BENCHMARK, STRATEGY, "digest")
EVALUATION = {
    "iteration": 0,
    "loss": [2.0, 1.0, 1.0],
    "accuracy": [0.25, 0.5, 0.5],
    "cosine": -0.125,
    "cosine_seen": 1.0,
}
CURVE = [0.5, -1.0]
FIT = {"x": CURVE, "y": CURVE, "support_x": [0.5], "support_y": [0.5], "predicted": [CURVE] * 3}


def refuse(name):
    raise AssertionError(f"{name} is not JSON")


@pytest.fixture
def whole(make_record):
    return make_record(
        correct=((1, 0), (7, 2), (5, 6)), of=7, correct_given_task=[[3, 3], [7, 4], [6, 7]]
    )


@pytest.fixture
def adapted(make_record):
    """A record of episodes: two inner steps on three tasks of four queries."""
    loss, correct = (
        [[2.0, 3.5, 1e-7], [1.0, 3.0, 0.5], [1.0, 2.5, 0.0]],
        [[0, 1, 2], [4, 1, 3], [4, 2, 3]],
    )
    adaptation = Adaptation(
        loss, correct, 4, [0.5, 0.25, -1.0], [MetaEvaluation(**EVALUATION)], [Fit(**FIT)]
    )
    return make_record(correct=(), adaptation=adaptation)


@pytest.mark.parametrize("kind", ["whole", "adapted"])
def test_a_record_comes_back_from_its_json_as_it_was(kind, request):
    record = request.getfixturevalue(kind)
    assert Record.from_json(record.to_json()) == record


def test_a_record_of_episodes_has_adaptation_and_no_accuracies_of_a_stream(adapted):
    assert (adapted.test_examples, adapted.R.size, adapted.R_task_aware) == ([], 0, None)
    assert adapted.adaptation.accuracy.tolist() == [[0, 0.25, 0.5], [1, 0.25, 0.75], [1, 0.5, 0.75]]


def test_a_record_of_regression_has_losses_and_no_right_answers(adapted):
    record = replace(adapted, adaptation=replace(adapted.adaptation, correct=[], evaluations=[]))
    assert Record.from_json(record.to_json()) == record
    assert record.adaptation.accuracy.size == 0


@given(SETTINGS, SETTINGS, st.text())
def test_a_cell_keeps_its_place_when_its_record_is_written_and_read(benchmark, strategy, data):
    parts = PartSpec("split", benchmark, benchmark), PartSpec("er", strategy, strategy)
    cell = CellSpec(*parts, data)
    back = Record.from_json(Record(cell, 0, "failed").to_json()).cell
    assert back == cell
    assert back.path == cell.path


def test_accuracies_are_the_quotients_of_the_counts_task_by_task(make_record):
    counts, tests = [[1, 0], [7, 2], [5, 6]], [7, 11]
    record = replace(make_record(correct=counts), test_examples=tests)
    exact = [[float(Fraction(k, n)) for k, n in zip(row, tests, strict=True)] for row in counts]
    assert record.R.tolist() == exact


def test_accuracies_with_the_task_given_are_there_exactly_if_they_were_counted(whole):
    assert whole.R_task_aware.tolist() == [[3 / 7, 3 / 7], [1, 4 / 7], [6 / 7, 1]]
    assert replace(whole, correct_given_task=[]).R_task_aware is None


@pytest.mark.parametrize("text", ['{"schema": %d}', '{"schema": %d, "cell": "of another shape"}'])
@pytest.mark.parametrize(
    ("schema", "remedy"),
    [
        (SCHEMA + 1, "a later version .* Upgrade retrograde"),
        *((old, "retrograde 0.1 .* tools/migrate_from_0_1.py") for old in range(1, SCHEMA)),
    ],
)
def test_a_record_of_another_schema_is_not_damaged_and_its_error_has_the_remedy(
    text, schema, remedy
):
    with pytest.raises(OtherSchema, match=remedy) as caught:
        Record.from_json(text % schema)
    assert f"schema {schema};" in str(caught.value)


def test_a_whole_record_of_an_earlier_schema_is_refused(whole):
    with pytest.raises(OtherSchema, match="migrate_from_0_1"):
        Record.from_json(replace(whole, schema=SCHEMA - 1).to_json())


@pytest.mark.parametrize("share", [0, 0.001, 0.25, 0.5, 0.75, 0.999])
def test_a_record_cut_off_anywhere_is_damaged(whole, share):
    text = whole.to_json().rstrip()
    with pytest.raises(Damaged, match="document"):
        Record.from_json(text[: int(share * len(text))])


@pytest.mark.parametrize(
    "change",
    [
        {"schema": None},
        {"schema": "new"},
        {"cell": {}},
        {"seed": "first"},
        {"seed": 0.5},
        {"status": "lost"},
        {"test_examples": 7},
        {"correct": [["many"]]},
        {"clocks": {"train": "long"}},
        {"how": []},
    ],
    ids=str,
)
def test_a_record_with_a_value_of_the_wrong_type_is_damaged_and_the_error_names_the_field(
    whole, change
):
    with pytest.raises(Damaged, match=next(iter(change))):
        Record.from_json(json.dumps(json.loads(whole.to_json()) | change))


@pytest.mark.parametrize(
    "change",
    [
        {"correct": []},
        {"correct": [[1, 0], [7, 2]]},
        {"correct": [[1, 0], [7, 2], [5, 6], [5, 6]]},
        {"correct": [[1, 0], [7, 2], [5]]},
        {"correct_given_task": [[3, 3]]},
        {"correct_given_task": [[3], [7], [6]]},
        {"test_examples": [7]},
        {"test_examples": [7, 0]},
        {"correct": [[1, 0], [7, 2], [5, 8]]},
        {"correct": [[1, 0], [7, 2], [5, -1]]},
        {"correct_given_task": [[3, 3], [7, 4], [6, 8]]},
        {"test_examples": [], "correct": [[]], "correct_given_task": []},
    ],
    ids=str,
)
def test_a_record_whose_counts_cannot_be_is_damaged(whole, change):
    with pytest.raises(Damaged):
        Record.from_json(json.dumps(json.loads(whole.to_json()) | change))


@pytest.mark.parametrize(
    "change",
    [
        {"loss": []},
        {"loss": [[2.0, 3.5, 1.0]]},
        {"loss": [[2.0, 3.5, 1.0], [1.0, 3.0], [1.0, 2.5, 0.0]]},
        {"loss": [[], [], []], "correct": [[], [], []]},
        {"loss": [[2.0], [1.0], [1.0]]},
        {"correct": [[0, 1, 2], [4, 1, 3]]},
        {"correct": [[0, 1], [4, 1], [4, 2]]},
        {"correct": [[0, 1, 2], [4, 1, 3], [5, 2, 3]]},
        {"correct": [[0, 1, 2], [4, 1, 3], [4, 2, -1]]},
        {"queries": 3},
        {"queries": 0, "correct": []},
        {"cosine": [0.5, 0.25]},
        {"cosine": []},
        {"evaluations": [EVALUATION | {"loss": [2.0, 1.0]}]},
        {"evaluations": [EVALUATION, EVALUATION | {"accuracy": [0.25, 0.5]}]},
        {"evaluations": [EVALUATION | {"accuracy": []}]},
        {"fits": [FIT | {"y": [0.5]}]},
        {"fits": [FIT | {"support_y": []}]},
        {"fits": [FIT, FIT | {"predicted": [[0.5, -1.0]] * 2}]},
        {"fits": [FIT | {"predicted": [[0.5, -1.0], [0.5, -1.0], [0.5]]}]},
    ],
    ids=str,
)
def test_a_record_whose_adaptation_does_not_fit_together_is_damaged(adapted, change):
    document = json.loads(adapted.to_json())
    with pytest.raises(
        Damaged,
        match="do not fit together|correct answers is below 0 or above the number of queries",
    ):
        Record.from_json(json.dumps(document | {"adaptation": document["adaptation"] | change}))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"loss": [[None, 3.5, 1.0]] * 3}, "adaptation.loss"),
        ({"loss": "low"}, "adaptation.loss"),
        ({"correct": [[0.5, 1, 2]] * 3}, "adaptation.correct"),
        ({"queries": None}, "adaptation.queries"),
        ({"evaluations": [{"iteration": 0}]}, "adaptation.evaluations"),
        ({"fits": [[]]}, "adaptation.fits"),
    ],
    ids=str,
)
def test_a_damaged_adaptation_is_called_by_the_name_of_what_is_wrong(adapted, change, fault):
    document = json.loads(adapted.to_json())
    with pytest.raises(Damaged, match=fault):
        Record.from_json(json.dumps(document | {"adaptation": document["adaptation"] | change}))


@pytest.mark.parametrize("status", ["done", "diverged", "failed"])
def test_only_a_record_that_is_done_must_have_tasks_or_adaptation(adapted, status):
    record = replace(adapted, adaptation=None, status=status)
    if status == "done":
        with pytest.raises(Damaged, match="it is done, but lacks tasks"):
            Record.from_json(record.to_json())
    else:
        assert Record.from_json(record.to_json()) == record


def test_a_record_whose_online_accuracy_does_not_fit_its_stream_is_damaged(whole):
    history = OnlineAccuracy(
        [7, 7], [0, 0, 1], [0, 5, whole.counts["steps"]], [[1], [7, 2], [5, 6]]
    )
    with pytest.raises(Damaged, match="not after the last step"):
        Record.from_json(replace(whole, online_accuracy=replace(history, step=[0, 5, 6])).to_json())
    assert (
        Record.from_json(replace(whole, online_accuracy=history).to_json()).online_accuracy
        == history
    )
    for tests, fault in (
        ([7, 8], "not among those of its tasks"),
        ([4, 7], "above the number of test examples"),
    ):
        with pytest.raises(Damaged, match=fault):
            Record.from_json(
                replace(whole, online_accuracy=replace(history, test_examples=tests)).to_json()
            )


@pytest.mark.parametrize(
    ("field", "unknown"), [("online_accuracy", None), ("knows_ahead", None), ("sources", {})]
)
def test_a_record_may_lack_what_was_not_measured(whole, field, unknown):
    document = json.loads(whole.to_json())
    document.pop(field, None)
    record = Record.from_json(json.dumps(document))
    assert getattr(record, field) == unknown


def test_a_record_says_what_the_strategy_knew_ahead(whole):
    record = replace(whole, knows_ahead=["length"])
    assert Record.from_json(record.to_json()) == record


def test_a_record_has_the_digests_of_its_files(whole):
    record = replace(whole, sources={"strategy": {"er.py": "abc", "_buffer_settings.py": "def"}})
    assert Record.from_json(record.to_json()) == record


@pytest.mark.parametrize("document", ["", "[]", "null", "3", "{}", '"text"', "\x00"])
def test_a_document_that_is_no_record_is_damaged(document):
    with pytest.raises(Damaged):
        Record.from_json(document)


def test_a_diverged_record_may_stop_before_the_last_task(make_record):
    record = make_record(correct=((1, 0), (7, 2)), status="diverged")
    assert Record.from_json(record.to_json()) == record


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf], ids=str)
def test_the_json_holds_no_number_that_json_lacks(make_record, odd):
    record = make_record(clocks={"train": odd}, how={"replicates": odd}, buffer_size=odd)
    assert json.loads(record.to_json(), parse_constant=refuse)["seed"] == 0


@given(SETTINGS, st.randoms())
def test_a_cells_path_does_not_depend_on_the_order_of_its_settings(settings, random):
    shuffled = dict(random.sample(list(settings.items()), len(settings)))
    first, second = (
        CellSpec(PartSpec("split", each, each), PartSpec("er", each, each), "digest")
        for each in (settings, shuffled)
    )
    assert first.path == second.path
    assert hash(first) == hash(second)


@pytest.mark.parametrize(
    "other",
    [
        replace(CELL, data="other"),
        replace(CELL, benchmark=replace(BENCHMARK, overrides={"task_size": 5})),
        replace(CELL, benchmark=replace(BENCHMARK, name="rotated")),
        replace(CELL, benchmark=replace(BENCHMARK, version=2)),
        replace(CELL, strategy=replace(STRATEGY, overrides={"lr": 0.01})),
        replace(CELL, strategy=replace(STRATEGY, overrides={})),
        replace(CELL, strategy=replace(STRATEGY, name="finetune")),
        replace(CELL, strategy=replace(STRATEGY, version=2)),
        replace(
            CELL,
            benchmark=replace(BENCHMARK, overrides=STRATEGY.overrides),
            strategy=replace(STRATEGY, overrides=BENCHMARK.overrides),
        ),
    ],
    ids=[
        "data",
        "benchmark's overrides",
        "benchmark",
        "benchmark's version",
        "strategy's overrides",
        "no overrides",
        "strategy",
        "strategy's version",
        "overrides exchanged",
    ],
)
def test_cells_that_differ_in_what_was_run_lie_apart(other):
    assert other.path != CELL.path


def test_a_setting_at_its_default_changes_no_path():
    settings = STRATEGY.settings | {"replay_batch": 10}
    assert replace(CELL, strategy=replace(STRATEGY, settings=settings)).path == CELL.path


def test_a_cell_reads_as_the_command_line_takes_it():
    assert CELL.spec == "split:task_size=2  er:buffer_size=500"


def test_a_record_is_outdated_by_another_default(whole):
    """Its path has its overrides alone, so that a cell with another default would share it."""
    assert whole.outdated_by(whole.cell, whole.sources) == []
    strategy = replace(whole.cell.strategy, settings=whole.cell.strategy.settings | {"lr": 0.2})
    now = replace(whole.cell, strategy=strategy)
    assert now.path == whole.cell.path
    (change,) = whole.outdated_by(now, whole.sources)
    assert (change.what, change.digests) == ("the default of lr", "0.1 -> 0.2")
