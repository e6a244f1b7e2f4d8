"""Validation: what is held out from a task's training examples."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

import retrograde as rg
from retrograde.data.dataset import Dataset
from retrograde.data.sources import load
from retrograde.errors import UserError
from retrograde.parts.registry import Registry
from retrograde.streams.schedule import test_rows as rows_of_tests, validation_rows
from retrograde.streams.stream import Examples, Experience, Stream, Task
from retrograde.streams.stream_file import stream_from_file
from retrograde.streams.validation import held_out

Split, Permuted, Rotated = (
    Registry().find("benchmarks", name) for name in ("split", "permuted", "rotated")
)


def dataset(sizes=(20, 16, 30, 12, 24)):
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    x = np.arange(len(y), dtype=np.float32)[:, None, None, None] + np.zeros((1, 7, 7), np.float32)
    tests = np.tile(np.arange(len(sizes)), 3)
    return Dataset("made", x, y, x[: len(tests)], tests)


DATA = dataset()
CUTS = [Split(tasks=2), Split(tasks=2, scenario="domain"), Permuted(tasks=3), Rotated(tasks=2)]
SHARES = st.floats(0.01, 0.99)


def with_validation(cut, share, **settings):
    return type(cut).configured({**cut.settings(), "validation": share, **settings})


def pairs(examples):
    return list(zip(examples.row.tolist(), examples.y.tolist(), strict=True))


@given(st.sampled_from(CUTS), SHARES, st.integers(0, 9))
def test_both_parts_are_disjoint_and_together_the_training_set_in_its_order(cut, share, seed):
    before = with_validation(cut, 0).stream(DATA, seed)
    after = with_validation(cut, share).stream(DATA, seed)
    for number, (old, new) in enumerate(zip(before.experiences, after.experiences, strict=True)):
        train, validation = set(pairs(new)), set(pairs(after.tasks[number].validation))
        assert train.isdisjoint(validation)
        assert train | validation == set(pairs(old))
        assert pairs(new) == [pair for pair in pairs(old) if pair in train]
        assert pairs(after.tasks[number].test) == pairs(before.tasks[number].test)


# With a larger share, 10 examples would leave fewer than one for each of five classes.
@given(
    st.sampled_from(CUTS), st.floats(0.01, 0.5), st.integers(0, 9), st.sampled_from([10, 40, 80])
)
def test_no_task_trains_on_a_validation_example_of_any_other(cut, share, seed, limit):
    """Not even if each task has examples of its own, drawn from the same images."""
    stream = with_validation(cut, share, train_examples=limit).stream(DATA, seed)
    trained_on = {row for experience in stream.experiences for row in experience.row.tolist()}
    held = {row for task in stream.tasks for row in task.validation.row.tolist()}
    assert held
    assert not held & trained_on
    for experience, task in zip(stream.experiences, stream.tasks, strict=True):
        assert len(experience.row) <= max(1, round(limit * (1 - share)))
        # Of each class at least one.
        classes = len(np.unique(task.validation.y))
        assert len(task.validation.row) <= share * limit + classes


@given(st.sampled_from(CUTS), SHARES, st.integers(0, 9))
def test_every_class_gives_its_share_and_keeps_an_example_on_both_sides(cut, share, seed):
    stream = with_validation(cut, share).stream(DATA, seed)
    for experience, task in zip(stream.experiences, stream.tasks, strict=True):
        for unit in np.union1d(experience.y, task.validation.y):
            left, taken = (int((part.y == unit).sum()) for part in (experience, task.validation))
            assert left >= 1
            assert taken >= 1
            fair = share * (left + taken)
            assert abs(taken - fair) <= 0.5 or 1 in (left, taken)


@pytest.mark.parametrize("cut", [Permuted(tasks=3), Rotated(tasks=3)])
def test_tasks_of_the_same_images_hold_out_the_same_ones(cut):
    tasks = with_validation(cut, 0.2).stream(DATA, 0).tasks
    assert len({tuple(task.validation.row) for task in tasks}) == 1


def test_another_seed_holds_out_other_examples_and_the_same_seed_the_same():
    cut = Permuted(tasks=1, validation=0.2)
    held = [cut.stream(DATA, seed).tasks[0].validation.row.tolist() for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


def test_a_class_with_one_example_is_refused():
    data = dataset((4, 1, 9))
    with pytest.raises(UserError, match="output 1 of task 1 has 1 training example, and valid"):
        Permuted(tasks=2, validation=0.1).stream(data, 0)


def test_examples_that_a_benchmark_holds_out_itself_stay_held_out():
    train, own = Examples(np.arange(4), np.zeros(4, int)), Examples(np.array([9]), np.array([0]))
    units = np.ones((1, 1), dtype=bool)
    stream = Stream(DATA, (Experience.of(train, 0),), (Task(train, own),), units)
    after = held_out(stream, 0.25, np.array([3.0, 1.0, 0.0, 2.0]))
    assert after.tasks[0].validation.row.tolist() == [9, 2]
    assert after.experiences[0].row.tolist() == [0, 1, 3]


def test_validation_rows_are_those_of_all_tasks_in_order():
    stream = Split(tasks=2, validation=0.3).stream(DATA, 0)
    rows = validation_rows(stream)
    expected = [
        (row, number, y, number, 1)
        for number, task in enumerate(stream.tasks)
        for row, y in pairs(task.validation)
    ]
    assert rows.tuples() == expected
    assert rows.array.shape[1] == rows_of_tests(stream).array.shape[1]
    assert len(validation_rows(Split(tasks=2).stream(DATA, 0))) == 0


def test_an_iterated_stream_offers_the_validation_examples_as_a_model_sees_them():
    stream = Permuted(tasks=2, validation=0.3).stream(DATA, 0)
    for task, held in zip(stream, stream.tasks, strict=True):
        assert np.array_equal(task.y_val, held.validation.y)
        # Every pixel of an image is the number of its row.
        assert np.array_equal(task.x_val[:, 0, 0, 0], held.validation.row)
        assert len(task.validation_dataset()) == len(held.validation.row) > 0
        assert len(task.x_train) + len(task.x_val) == len(DATA.y_train)


def test_no_examples_are_for_validation_by_default():
    (task,) = Permuted(tasks=1).stream(DATA, 0)
    assert task.x_val.shape == (0, 1, 7, 7)
    empty = Permuted(tasks=1).stream(DATA, 0).tasks[0].validation
    assert not empty.row.flags.writeable


def with_own_validation(data=DATA):
    """The dataset with two validation examples of each class: images of 200 and more."""
    y = np.tile(np.arange(data.classes), 2)
    x = 200 + np.arange(len(y), dtype=np.float32)[:, None, None, None]
    return replace(data, x_val=x + np.zeros((1, 7, 7), np.float32), y_val=y)


@given(st.sampled_from(CUTS), st.integers(0, 9), st.sampled_from([0, 10]))
def test_validation_examples_of_the_dataset_belong_to_tasks_as_tests_do(cut, seed, limit):
    data = with_own_validation()
    plain = with_validation(cut, 0, train_examples=limit).stream(DATA, seed)
    stream = with_validation(cut, 0, train_examples=limit).stream(data, seed)
    for old, new in zip(plain.experiences, stream.experiences, strict=True):
        assert pairs(old) == pairs(new)
    for number, task in enumerate(stream.tasks):
        assert pairs(task.test) == pairs(plain.tasks[number].test)
        unit_of = dict(zip(data.y_test[task.test.row], task.test.y, strict=True))
        held = data.y_val[task.validation.row - len(data.y_train)]
        assert task.validation.y.tolist() == [unit_of[label] for label in held]
        assert len(held) == 2 * len(unit_of)


def test_an_iterated_stream_offers_the_validation_examples_of_the_dataset():
    data = with_own_validation()
    (experience,) = Split(tasks=1).stream(data, 0)
    assert experience.x_val[:, 0, 0, 0].tolist() == [*range(200, 210)]
    assert experience.y_val.tolist() == data.y_val.tolist()
    assert len(experience.x_train) == len(data.y_train)


def test_all_replicates_share_one_array_of_training_and_validation_examples():
    data = with_own_validation()
    first, second = (Split(tasks=2).stream(data, seed) for seed in (0, 1))
    assert first.data.x_train is second.data.x_train


def test_records_score_the_validation_examples_of_the_dataset_and_train_as_without():
    """The labels of validation are exchanged, so that its scores are not those of the tests."""
    digits = load("digits", Path())
    some = slice(0, 200)
    wrong = (digits.y_test[some] + 1) % 10
    own = replace(digits, x_val=digits.x_test[some], y_val=wrong)
    runs = [
        rg.run(
            "split:tasks=1,dataset=mine,probe_examples=0",
            ["finetune"],
            seeds=1,
            data={"mine": data},
        )[0]
        for data in (digits, own)
    ]
    assert np.array_equal(runs[0].R, runs[1].R)
    assert runs[0].validation is None
    assert runs[1].validation.examples == [200]
    assert runs[1].validation.R[-1, 0] < 0.5 < runs[1].R[-1, 0]


def test_two_sources_of_validation_are_refused():
    with pytest.raises(UserError, match=r"has 10 x_val, and validation=0.1. Leave out one"):
        Split(tasks=2, validation=0.1).stream(with_own_validation(), 0)


def test_a_stream_file_with_tests_does_not_say_what_validates(tmp_path):
    (tmp_path / "s.json").write_text('{"experiences": [[0, 1]], "test": [[0]]}')
    with pytest.raises(UserError, match=r"and made has x_val. Leave out test in s\.json"):
        stream_from_file(tmp_path / "s.json", with_own_validation(), "class")
