"""The table of the accuracy on each class, and the scores of records that count classes."""

import pytest

from retrograde.metrics.pooled import POOLED
from retrograde.parts.registry import Registry
from retrograde.records.class_counts import ClassCounts
from retrograde.records.experiences import Experiences
from retrograde.records.prequential import Prequential
from retrograde.reporting.formats import FORMATS

PARTS = Registry()


def table(records, name="classes"):
    return PARTS.get("results", name).table(records)


def counts(right, first=(0, 0, 1)):
    """Three classes of two tasks, with 40, 60 and 100 test examples, and what is right at the end."""
    start = [0] * 3
    return ClassCounts(
        [0, 0, 1], [0, 2, 1], [40, 60, 100], [*first], [start, start, [*right]], [[200, 0, 0]] * 3
    )


@pytest.fixture
def counted(make_record):
    """Make a record from the correct answers on each of three classes at the end."""

    def make(right, strategy="er", seed=0, **fields):
        ends = (right[0] + right[1], right[2])
        correct = ((0, 0), (0, 0), ends)
        return make_record(strategy, seed, correct, of=100, classes=counts(right), **fields)

    return make


@pytest.fixture
def records(counted):
    """ER is right on as many examples of a class as it has, or on half; SGD on few of the first two."""
    of_er = [counted((40, 30, 50), seed=seed) for seed in range(5)]
    of_sgd = [counted((0, seed, 100 - seed), "sgd", seed) for seed in range(5)]
    return [*of_er, *of_sgd]


def test_a_row_has_the_accuracy_of_a_strategy_on_each_class(records):
    (section,) = table(records).sections
    assert section.columns == ("strategy", "class 0", "class 1", "class 2", "n")
    rows = [[entry.text for entry in row] for row in section.rows]
    assert rows == [
        ["er", "100.00 ± 0.00", "50.00 ± 0.00", "50.00 ± 0.00", "5"],
        ["sgd", "0.00 ± 0.00", "98.00 ± 1.96", "3.33 ± 3.27", "5"],
    ]


def test_the_best_strategy_of_a_class_is_bold(records):
    (section,) = table(records).sections
    bold = {row[0].text: [entry.bold for entry in row[2:4]] for row in section.rows}
    assert bold == {"er": [False, True], "sgd": [True, False]}


def test_a_class_of_several_tasks_counts_its_examples_alike(make_record):
    """Two tasks have one class, with 30 and 10 examples; 12 and 8 are right."""
    both = ClassCounts([0, 1], [0, 0], [30, 10], [0, 1], [[0, 0], [0, 0], [12, 8]], [])
    (section,) = table([make_record(classes=both)]).sections
    assert [row[1].text for row in section.rows] == ["50.00"]


def test_of_many_classes_every_second_and_the_last_have_columns(make_record):
    n = 30
    each = [1] * n
    many = ClassCounts([0] * n, [*range(n)], each, [0] * n, [each, each, each], [])
    made = table([make_record(classes=many)])
    titles = made.sections[0].columns[1:-1]
    assert titles == (*(f"class {number}" for number in range(0, n, 2)), "class 29")
    assert made.tidy["class"].tolist() == [*range(n)]


def test_records_without_counts_by_class_have_no_table(make_record, make_adapted):
    assert table([make_record(), make_adapted()]).sections == ()


def test_the_order_of_the_records_changes_no_byte(records):
    for render in FORMATS.values():
        assert render(table(records)) == render(table(records[::-1]))


def test_scores_have_pooled_ones_exactly_if_a_record_has_what_they_are_for(counted, make_record):
    old = make_record("sgd")
    (section,) = table([counted((40, 30, 50)), old], "scores").sections
    assert {"AIA", "ACC_pooled", "recency_bias"} <= set(section.columns)
    (section,) = table([old], "scores").sections
    assert not {metric.name for metric in POOLED} & set(section.columns)


@pytest.mark.parametrize(
    "field",
    [
        {"experiences": Experiences(2, [0, 0], [1, 1])},
        {"prequential": Prequential([1, 2], [4, 4])},
    ],
    ids=lambda field: next(iter(field)),
)
def test_scores_of_other_streams_say_what_pooled_ones_mean(make_record, field):
    found = table([make_record(**field)], "scores")
    assert "AIA" in found.sections[0].columns
    assert any("average incremental accuracy" in note for note in found.notes)
