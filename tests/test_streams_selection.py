"""Parts of a stream: some of its experiences, and its validation examples as test examples."""

import numpy as np
import pytest

from retrograde.data.dataset import Dataset
from retrograde.errors import UserError
from retrograde.parts.registry import Registry

REGISTRY = Registry()


def dataset(classes=6, train=10, test=4):
    random = np.random.default_rng(1)

    def part(count):
        y = random.permutation(np.repeat(np.arange(classes), count))
        return random.integers(1, 256, (len(y), 1, 4, 4), dtype=np.uint8), y

    return Dataset("made", *part(train), *part(test), scale=1 / 255)


DATA = dataset()


def benchmark(name, **settings):
    return REGISTRY.find("benchmarks", name)(tasks=3, **settings)


@pytest.mark.parametrize("name", ["split", "permuted", "rotated"])
@pytest.mark.parametrize(("skipped", "first"), [(1, 0), (0, 2), (1, 2), (2, 3)])
def test_a_part_of_a_stream_shows_the_same_examples(name, skipped, first):
    stream = benchmark(name).stream(DATA, 4)
    part = benchmark(name, skip_experiences=skipped, first_experiences=first).stream(DATA, 4)
    whole, shown = list(stream), list(part)
    numbers = range(skipped, first or 3)
    assert len(part) == len(part.tasks) == len(numbers)
    for place, number in enumerate(numbers):
        np.testing.assert_array_equal(shown[place].x_train, whole[number].x_train)
        np.testing.assert_array_equal(shown[place].y_train, whole[number].y_train)
        assert set(shown[place].task_train) == {place}
        for ours, theirs in zip(part.test(place), stream.test(number), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(part.units[place], stream.units[number])


def test_streams_whose_tasks_lie_on_both_sides_are_not_cut():
    with pytest.raises(UserError, match="has examples on both sides of the cut"):
        benchmark("blurry", first_experiences=1).stream(DATA, 0)


@pytest.mark.parametrize(("skipped", "first"), [(3, 0), (2, 2), (0, 4), (1, 1)])
def test_a_part_without_experiences_is_refused(skipped, first):
    made = benchmark("split", skip_experiences=skipped, first_experiences=first)
    with pytest.raises(UserError, match="At least one experience is left of the 3"):
        made.stream(DATA, 0)


@pytest.mark.parametrize("name", ["split", "rotated"])
def test_validation_examples_take_the_place_of_test_examples(name):
    held = benchmark(name, validation=0.2).stream(DATA, 2)
    judged = benchmark(name, validation=0.2, evaluate_on="validation").stream(DATA, 2)
    other = Dataset("made", DATA.x_train, DATA.y_train, 0 * DATA.x_test, DATA.y_test, scale=1 / 255)
    blind = benchmark(name, validation=0.2, evaluate_on="validation").stream(other, 2)
    for expected, *found in zip(held, judged, blind, strict=True):
        for each in found:
            np.testing.assert_array_equal(each.x_train, expected.x_train)
            np.testing.assert_array_equal(each.x_test, expected.x_val)
            np.testing.assert_array_equal(each.y_test, expected.y_val)
    again = benchmark(name, validation=0.2, evaluate_on="validation").stream(DATA, 3)
    assert again.data is not held.data
    assert not np.shares_memory(judged.data.x_test, DATA.x_test)


def test_without_validation_examples_nothing_can_be_scored_on_them():
    with pytest.raises(UserError, match="made has none. Give validation=0.1"):
        benchmark("split", evaluate_on="validation").stream(DATA, 0)
