"""Streams whose tasks are columns of the dataset."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import retrograde as rg
from retrograde.data.sources import load
from retrograde.errors import UserError
from retrograde.parts.registry import Registry

Given = Registry().find("benchmarks", "given")
TRAIN = [7, 2, 7, 2, 5, 5, 2, 7]
CLASSES = [0, 1, 1, 0, 2, 0, 1, 0]


def dataset(**changes):
    """Tasks 2, 5 and 7; each example's only number is its row."""
    given = {
        "x_train": np.arange(8, dtype=np.float32)[:, None],
        "y_train": np.array(CLASSES),
        "x_test": np.arange(6, dtype=np.float32)[:, None],
        "y_test": np.array([0, 1, 2, 0, 1, 2]),
        "task_train": np.array(TRAIN),
    }
    return rg.Dataset("mine", **{**given, **changes})


def rows(examples):
    return [part.row.tolist() for part in examples]


@pytest.mark.parametrize("scenario", ["class", "task"])
def test_tasks_come_in_the_order_of_their_numbers_with_their_classes(scenario):
    stream = Given(scenario=scenario).stream(dataset(), 3)
    assert rows(stream.experiences) == [[1, 3, 6], [4, 5], [0, 2, 7]]
    assert [each.y.tolist() for each in stream.experiences] == [[1, 0, 1], [2, 0], [0, 1, 0]]
    assert [np.flatnonzero(each).tolist() for each in stream.units] == [[0, 1], [0, 2], [0, 1]]
    # Without a column, all test examples of the classes of a task.
    assert rows(task.test for task in stream.tasks) == [[0, 1, 3, 4], [0, 2, 3, 5], [0, 1, 3, 4]]


def test_a_column_of_the_tests_says_which_task_they_test():
    stream = Given().stream(dataset(task_test=np.array([7, 2, 5, 2, 7, 5])), 0)
    assert rows(task.test for task in stream.tasks) == [[1, 3], [2, 5], [0, 4]]


def test_domains_have_all_classes():
    data = dataset(task_train=np.array([0, 0, 1, 1, 0, 1, 0, 1]))
    with pytest.raises(UserError, match="task 1 of mine has no class 2. Take scenario=class"):
        Given(scenario="domain").stream(data, 0)
    two = replace(data, y_train=data.y_train % 2, y_test=data.y_test % 2)
    stream = Given(scenario="domain").stream(two, 0)
    assert stream.units.all()
    assert stream.units.shape == (2, 2)


def test_validation_examples_have_tasks_too():
    data = dataset(
        task_test=np.array([7, 2, 5, 2, 7, 5]),
        x_val=np.arange(100, 103, dtype=np.float32)[:, None],
        y_val=np.array([1, 2, 0]),
        task_val=np.array([7, 5, 2]),
    )
    seen = [experience.x_val[:, 0].tolist() for experience in Given().stream(data, 0)]
    assert seen == [[102], [101], [100]]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"task_train": None}, "in the column task_train; mine has none. Add it"),
        ({"task_test": np.array([2, 2, 5, 2, 2, 5])}, "task_train holds 2, 5, 7, task_test 2, 5"),
        ({"task_test": np.array([2, 2, 5, 2, 7, 9])}, "2, 5, 7, task_test 2, 5, 7, 9"),
        (
            {"task_test": np.array([2, 5, 5, 2, 7, 5])},
            "task 5 of mine has test examples of class 1",
        ),
        ({"task_train": np.zeros(5, int)}, "task_train of mine is int64 of .5,., for 8 examples"),
        ({"task_train": np.zeros(8)}, "task_train of mine is float64"),
        (
            {"task_train": None, "task_test": np.zeros(6, int)},
            "mine has task_test and no task_train. Give task_train",
        ),
        (
            {
                "x_val": np.zeros((3, 1), np.float32),
                "y_val": np.arange(3),
                "task_val": np.arange(3),
            },
            "Test and validation examples have tasks or neither has; mine lacks task_test",
        ),
        ({"y_val": np.arange(3)}, "mine lacks x_val"),
        (
            {"x_val": np.zeros((3, 2), np.float32), "y_val": np.arange(3)},
            "Train and validation examples have one shape",
        ),
        (
            {"x_val": np.zeros((2, 1), np.float32), "y_val": np.arange(2)},
            "y_train holds 0, 1, 2, y_val 0, 1",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_misfits_are_refused(changes, why):
    with pytest.raises(UserError, match=why):
        Given().stream(dataset(**changes), 0)


@pytest.fixture
def unchecked(monkeypatch):
    """People run without the shape checks of the tests, which would see a misfit first."""
    import jaxtyping

    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def test_an_npz_brings_its_tasks_and_its_validation(tmp_path):
    data = dataset(
        x_val=np.arange(3, dtype=np.float32)[:, None], y_val=np.array([1, 2, 0]), task_train=None
    )
    columns = {"task_train": np.array(TRAIN, np.uint8)}
    np.savez(tmp_path / "mine.npz", **data.arrays, **columns)
    found = load(str(tmp_path / "mine.npz"), Path())
    assert found.task_train.tolist() == TRAIN
    assert found.y_val.tolist() == [1, 2, 0]
    np.savez(tmp_path / "bad.npz", **data.arrays, task_train=np.array(list("aabbccdd")))
    with pytest.raises(UserError, match=r"task_train of .*bad.npz is <U1 of shape"):
        load(str(tmp_path / "bad.npz"), Path())


def test_labels_that_are_texts_are_numbered_in_validation_too(tmp_path):
    names = np.array(["dog", "ant", "cat"])
    data = dataset(x_val=np.zeros((3, 1), np.float32), y_val=np.array([1, 2, 0]))
    texts = {name: names[array] for name, array in data.arrays.items() if name.startswith("y_")}
    np.savez(tmp_path / "mine.npz", **{**data.arrays, **texts})
    found = load(str(tmp_path / "mine.npz"), Path())
    assert found.class_names == ("ant", "cat", "dog")
    assert found.y_val.tolist() == [0, 1, 2]
    np.savez(tmp_path / "bad.npz", **{**data.arrays, **texts, "y_val": np.array(list("xyz"))})
    with pytest.raises(UserError, match=r"y_val of .*bad.npz holds x, and y_train does not"):
        load(str(tmp_path / "bad.npz"), Path())


def test_only_given_columns_and_validation_change_what_identifies_a_dataset():
    plain = dataset(task_train=None)
    tasks = np.array(TRAIN)
    others = [
        dataset(),
        dataset(task_train=tasks[::-1].copy()),
        replace(plain, x_val=plain.x_test, y_val=plain.y_test),
    ]
    assert len({plain.digest, *(other.digest for other in others)}) == 4
    assert replace(plain, name="yours").digest == plain.digest


def test_joined_datasets_have_no_columns():
    digits = load("digits", Path())
    own = replace(digits, name="own", task_train=digits.y_train)
    from retrograde.data.joined import joined

    with pytest.raises(UserError, match="own has task_train too. Leave them out"):
        joined([digits, own])


def test_a_given_stream_is_trained_on():
    digits = load("digits", Path())
    own = replace(digits, task_train=digits.y_train % 2, task_test=digits.y_test % 2)
    made = rg.run(
        "given:dataset=own,probe_examples=0,test_examples=50", ["er"], seeds=1, data={"own": own}
    )
    assert made[0].R.shape == (3, 2)
    assert made[0].R[1, 0] > 0.7
    assert made[0].R[1, 1] < 0.1
