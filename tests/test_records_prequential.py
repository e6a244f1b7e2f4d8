"""Prequential accuracy in a record."""

from dataclasses import replace

import pytest

from retrograde.records.prequential import Prequential
from retrograde.records.record import Damaged, Record

TWO = Prequential([3, 40], [10, 50])


def test_a_record_with_predictions_before_training_comes_back_as_it_was(make_record):
    record = make_record(prequential=TWO)
    assert Record.from_json(record.to_json()) == record


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"correct": [3]}, "do not fit the experiences"),
        ({"examples": [10, 50, 1]}, "do not fit the experiences"),
        ({"correct": [0, 0], "examples": [0, 0]}, "do not fit the experiences"),
        ({"correct": [11, 40]}, "above that of examples"),
    ],
    ids=str,
)
def test_impossible_counts_of_predictions_say_why(make_record, change, fault):
    record = make_record(prequential=replace(TWO, **change))
    with pytest.raises(Damaged, match=f"^prequential: .*{fault}"):
        Record.from_json(record.to_json())
