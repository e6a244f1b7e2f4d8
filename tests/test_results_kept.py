"""The figure `confusion` and the table `calibration` show kept predictions."""

import numpy as np
import pytest

import retrograde as rg
from retrograde.parts.registry import Registry

STREAM = "split:tasks=2,train_examples=80"


@pytest.fixture(scope="module")
def records():
    return rg.run(STREAM, ["finetune", "er"], 2, keep="predictions", progress=False)


def test_the_calibration_is_that_of_the_predictions(records):
    tidy = rg.report(records).tables["calibration"].tidy
    own = [record for record in records if record.cell.strategy.name == "er"]
    errors = [record.predictions.calibration_error() for record in own]
    accuracies = [np.mean(each.predictions.predicted[-1] == each.predictions.y) for each in own]
    found = tidy[tidy.strategy.isin(["ER"])].set_index("measure")["mean"]
    assert found["calibration error"] == pytest.approx(np.mean(errors))
    assert found["accuracy"] == pytest.approx(np.mean(accuracies))


def test_a_row_of_the_confusion_sums_to_one_hundred(records):
    figure = Registry().get("results", "confusion").figure(records)
    images = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    assert len(images) >= 2
    assert np.allclose(images[0].sum(1), 100)


def test_classes_stand_in_the_order_in_which_they_come(records):
    """Fine-tuning predicts the classes of the last task alone, whatever their numbers."""
    own = [record for record in records if record.cell.strategy.name == "finetune"]
    figure = Registry().get("results", "confusion").figure(own)
    shares = figure.axes[0].images[0].get_array()
    assert shares[:, 5:].sum() > 90 * len(shares)


def test_without_predictions_there_is_neither(records):
    (record,) = rg.run(STREAM, "finetune", 1, progress=False)
    assert "calibration" not in rg.report([record]).tables
    assert Registry().get("results", "confusion").figure([record]) is None
