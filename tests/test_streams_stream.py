"""Streams: experiences and tasks, which need not coincide."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from retrograde.data.channels import Channels
from retrograde.data.dataset import Dataset
from retrograde.streams.stream import Examples, Experience, Stream, Task

VIEWS = 3
ROWS = 12
MIXED = [[0, 1, 1], [1, 2, 0, 2], [2, 0]]
"""The task of each training example of each experience."""


def dataset():
    random = np.random.default_rng(0)
    x = random.integers(1, 256, (ROWS, 2, 3, 2), dtype=np.uint8)
    return Dataset("made", x, np.arange(ROWS) % 4, x[::-1].copy(), np.arange(ROWS) % 4, scale=0.5)


DATA = dataset()
PIXELS = np.stack([np.random.default_rng(view).permutation(13)[:12] for view in range(VIEWS)])
"""Three views, each without one of the pixels or without the black one."""


@st.composite
def experiences(draw):
    """The tasks of the examples of each experience; every task comes at least once."""
    tasks = draw(st.integers(1, 4))
    some = st.lists(st.integers(0, tasks - 1), min_size=1, max_size=5)
    drawn = draw(st.lists(some, min_size=1, max_size=5))
    missing = sorted(set(range(tasks)) - {task for each in drawn for task in each})
    return [*drawn, missing] if missing else drawn


def stream_of(trained, view=None, **settings):
    """A stream whose experiences have examples of given tasks, each task with one unit."""
    made = []
    for number, tasks in enumerate(trained):
        row = (5 * number + np.arange(len(tasks))) % ROWS
        views = None if view is None else (row + view) % VIEWS
        made.append(Experience(row, np.array(tasks), np.array(tasks), views))
    count = 1 + max(map(max, trained))
    tests = [Examples(np.array([n, n + 1]), np.full(2, n)) for n in range(count)]
    tasks = tuple(Task(test, test) for test in tests)
    return Stream(DATA, tuple(made), tasks, np.eye(count, dtype=bool), **settings)


@given(experiences())
def test_a_task_comes_first_and_is_learned_with_its_first_and_last_training_examples(trained):
    stream = stream_of(trained)
    for task in range(len(stream.tasks)):
        having = [number for number, tasks in enumerate(trained) if task in tasks]
        assert stream.first[task] == min(having)
        assert stream.learned[task] == max(having)


@given(experiences())
def test_the_tasks_until_an_experience_are_the_first_ones_up_to_one_that_is_missing(trained):
    stream = stream_of(trained)
    for number in range(len(trained)):
        come = {task for tasks in trained[: number + 1] for task in tasks}
        missing = set(range(len(stream.tasks) + 1)) - come
        assert stream.tasks_until(number) == min(missing)
    assert stream.tasks_until(-1) == 0


@given(experiences())
def test_a_stream_goes_task_by_task_if_experience_i_trains_task_i_alone(trained):
    stream = stream_of(trained)
    alone = [set(tasks) for tasks in trained] == [{task} for task in range(len(stream.tasks))]
    assert stream.task_by_task == alone
    if alone:
        assert stream.learns_task_by_task


@given(experiences())
def test_a_stream_learns_task_by_task_if_task_i_comes_last_in_experience_i(trained):
    stream = stream_of(trained)
    ends = [
        [task for task in range(len(stream.tasks)) if stream.learned[task] == number]
        for number in range(len(trained))
    ]
    assert stream.learns_task_by_task == (ends == [[number] for number in range(len(trained))])


def test_repeated_tasks_may_be_learned_task_by_task_without_coming_so():
    stream = stream_of([[0, 1], [1, 2], [2]])
    assert not stream.task_by_task
    assert stream.learns_task_by_task


def test_a_stream_may_say_itself_when_a_task_counts_as_learned():
    stream = stream_of(MIXED, learned_after=(0, 2, 1))
    assert stream.learned.tolist() == [0, 2, 1]
    assert stream.first.tolist() == [0, 0, 1]


def test_a_stream_of_tasks_has_an_experience_for_each():
    parts = [
        (Examples(np.array([n, 5]), np.full(2, n)), Examples(np.array([n]), np.array([n])))
        for n in range(3)
    ]
    stream = Stream.of_tasks(DATA, parts, np.eye(3, dtype=bool), PIXELS)
    assert stream.task_by_task
    assert len(stream) == len(stream.tasks) == 3
    assert [each.task.tolist() for each in stream.experiences] == [[0, 0], [1, 1], [2, 2]]
    assert [task.test.row.tolist() for task in stream.tasks] == [[0], [1], [2]]
    assert all(len(task.validation.row) == 0 for task in stream.tasks)


@pytest.mark.parametrize("view", [None, 1])
def test_iterating_mixed_experiences_gives_each_example_its_own_view_label_and_task(view):
    stream = stream_of(MIXED, view, pixels=PIXELS)
    for number, (data, given_) in enumerate(zip(stream, stream.experiences, strict=True)):
        views = given_.task if view is None else given_.view
        rows = [
            stream.images(DATA.x_train, given_.row[[place]], int(views[place]))[0]
            for place in range(len(views))
        ]
        assert np.array_equal(data.x_train, np.stack(rows))
        assert data.y_train.tolist() == data.task_train.tolist() == MIXED[number]
        assert data.outputs.tolist() == sorted(set(MIXED[number]))


def test_iterated_tests_and_validation_are_those_of_the_tasks_that_are_learned_then():
    stream = stream_of([[0, 1], [1, 0], [2]], pixels=PIXELS)
    tested = [data.y_test.tolist() for data in stream]
    assert tested == [data.y_val.tolist() for data in stream] == [[], [0, 0, 1, 1], [2, 2]]
    x, y = stream.test(1)
    second = list(stream)[1]
    assert np.array_equal(second.x_test[2:], x)
    assert np.array_equal(second.y_test[2:], y)
    assert np.array_equal(x, stream.images(DATA.x_test, np.array([1, 2]), 1))


@given(st.lists(st.tuples(st.integers(0, ROWS - 1), st.integers(0, VIEWS - 1)), max_size=9))
def test_images_with_a_view_for_each_row_are_those_with_one_view_row_by_row(chosen):
    row, view = np.array(chosen, np.int64).reshape(-1, 2).T
    stream = stream_of(MIXED, pixels=PIXELS)
    together = stream.images(DATA.x_train, row, view)
    assert together.shape == (len(chosen), *DATA.shape)
    for place, (one_row, one_view) in enumerate(chosen):
        alone = stream.images(DATA.x_train, np.array([one_row]), one_view)
        assert np.array_equal(together[place], alone[0])


def test_without_pixels_views_change_nothing():
    stream, row = stream_of(MIXED), np.array([3, 0, 3])
    plain = DATA.x_train[row] * np.float32(0.5)
    assert np.array_equal(stream.images(DATA.x_train, row, 2), plain)
    assert np.array_equal(stream.images(DATA.x_train, row, np.array([0, 1, 2])), plain)


def test_an_iterated_stream_is_normalised_by_its_channels():
    plain = stream_of(MIXED, pixels=PIXELS)
    channels = Channels(np.array([3.0, 5.0]), np.array([2.0, 4.0]))
    for data, raw in zip(stream_of(MIXED, pixels=PIXELS, channels=channels), plain, strict=True):
        assert np.allclose(data.x_train[:, 1], (raw.x_train[:, 1] - 5) / 4)
        assert np.allclose(data.x_test[:, 0], (raw.x_test[:, 0] - 3) / 2)


@pytest.mark.parametrize("view", [None, 2])
def test_some_of_an_experience_keep_their_columns_together(view):
    (_, experience, _) = stream_of(MIXED, view).experiences
    some = experience.at(np.array([False, True, False, True]))
    assert some.row.tolist() == experience.row[[1, 3]].tolist()
    assert some.y.tolist() == some.task.tolist() == [2, 2]
    assert (some.view is None) == (view is None)
    if view is not None:
        assert some.view.tolist() == experience.view[[1, 3]].tolist()
