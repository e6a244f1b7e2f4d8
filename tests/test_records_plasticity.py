"""Measures of plasticity in a record, and the table and the figure of them."""

from dataclasses import replace

import pytest

from retrograde.parts.registry import Registry
from retrograde.records.plasticity import Plasticity
from retrograde.records.prequential import Prequential
from retrograde.records.record import Damaged, Record

PARTS = Registry()
TWO = Plasticity([90, 40], [0.0, 0.25], [0.5, 2.0])


def test_a_record_with_measures_comes_back_as_it_was(make_record):
    record = make_record(plasticity=TWO)
    assert Record.from_json(record.to_json()) == record


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"effective_rank": [90]}, "do not fit the experiences"),
        ({"mean_weight": [0.5, 2.0, 2.0]}, "do not fit the experiences"),
        ({"dead_units": [0.0, 1.5]}, "less than or equal to 1"),
    ],
    ids=str,
)
def test_impossible_measures_say_why(make_record, change, fault):
    record = make_record(plasticity=replace(TWO, **change))
    with pytest.raises(Damaged, match=f"plasticity.*{fault}"):
        Record.from_json(record.to_json())


@pytest.fixture
def records(make_record):
    """Two replicates with measures, of which one has the online accuracy too, and a record without."""
    other = Plasticity([80, 20], [0.5, 0.75], [1.5, 4.0])
    online = Prequential([3, 40], [10, 50])
    return [
        make_record("er", 0, plasticity=TWO, prequential=online),
        make_record("er", 1, plasticity=other),
        make_record("si", 0),
    ]


def test_the_table_has_means_of_the_first_and_of_the_last_experience(records):
    table = PARTS.get("results", "plasticity").table(records)
    (section,) = table.sections
    (row,) = section.rows
    found = dict(zip(section.columns, [entry.text for entry in row], strict=True))
    assert found == {
        "strategy": "er",
        "online accuracy, first": "30",
        "online accuracy, last": "80",
        "effective rank, first": "85",
        "effective rank, last": "30",
        "dead units, first": "25",
        "dead units, last": "50",
        "mean weight, first": "1",
        "mean weight, last": "3",
        "n": "2",
    }


def test_the_figure_has_a_panel_for_each_measure(records):
    figure = PARTS.get("results", "plasticity_stream").figure(records)
    lines = {axis.get_ylabel(): axis.lines[0].get_xydata().tolist() for axis in figure.axes}
    assert lines == {
        "online accuracy %": [[1, 30], [2, 80]],
        "effective rank": [[1, 85], [2, 30]],
        "dead units %": [[1, 25], [2, 50]],
        "mean weight": [[1, 1], [2, 3]],
    }


def test_without_measures_there_is_neither(make_record):
    records = [make_record(), make_record(prequential=Prequential([3, 40], [10, 50]))]
    assert not PARTS.get("results", "plasticity").table(records).sections
    assert PARTS.get("results", "plasticity_stream").figure(records) is None
