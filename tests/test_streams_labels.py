"""Labels: some of them wrong, or few of them at all."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.stats import binomtest, chisquare

from retrograde.data.dataset import Dataset
from retrograde.errors import UserError
from retrograde.parts.registry import Registry

Split, Permuted = (Registry().find("benchmarks", name) for name in ("split", "permuted"))
SCENARIOS = ("task", "domain", "class")
RARE = 1e-6
"""The probability at which a test of chance fails though all is well."""


def dataset(sizes=(400, 300, 500, 200, 350, 250)):
    random = np.random.default_rng(0)

    def part(counts):
        y = random.permutation(np.repeat(np.arange(len(counts)), counts))
        return np.zeros((len(y), 1, 2, 2), np.float32), y

    return Dataset("made", *part(sizes), *part([5] * len(sizes)))


DATA = dataset()


def streams(make, seed=0, data=DATA, **settings):
    """A stream without the settings, and the same one with them."""
    return make().stream(data, seed), make(**settings).stream(data, seed)


def split(scenario="class", tasks=2):
    return lambda **settings: Split(tasks=tasks, scenario=scenario, **settings)


@pytest.mark.parametrize("probability", [0.05, 0.4, 0.9])
def test_the_share_of_wrong_labels_is_the_probability(probability):
    plain, noisy = streams(split(), label_noise=probability)
    for before, after in zip(plain.experiences, noisy.experiences, strict=True):
        assert np.array_equal(before.row, after.row)
        wrong = int((before.y != after.y).sum())
        assert binomtest(wrong, len(before.y), probability).pvalue > RARE


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_wrong_label_is_any_other_unit_of_its_task_equally_often(scenario):
    plain, noisy = streams(split(scenario), label_noise=0.8)
    for before, after in zip(plain.experiences, noisy.experiences, strict=True):
        (task,) = np.unique(before.task)
        units = np.flatnonzero(noisy.units[task])
        for unit in units:
            of_class = (before.y == unit) & (after.y != unit)
            others, counts = np.unique(after.y[of_class], return_counts=True)
            assert others.tolist() == [each for each in units if each != unit]
            assert chisquare(counts).pvalue > RARE


def test_test_and_validation_labels_are_right():
    plain, noisy = streams(split(), label_noise=0.9)
    validated = split()(label_noise=0.9, validation=0.2).stream(DATA, 0)
    for before, after, task in zip(plain.tasks, noisy.tasks, validated.tasks, strict=True):
        assert np.array_equal(before.test.y, after.test.y)
        assert np.array_equal(task.validation.y, DATA.y_train[task.validation.row])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_row_that_comes_in_several_tasks_has_the_same_wrong_label_in_all(scenario):
    noisy = Permuted(tasks=3, scenario=scenario, label_noise=0.5).stream(DATA, 0)
    classes = 0 if scenario == "domain" else DATA.classes
    first, *others = noisy.experiences
    assert (first.y != DATA.y_train).any()
    for number, experience in enumerate(others, 1):
        assert np.array_equal(experience.y - number * classes, first.y)


def test_another_seed_has_other_wrong_labels_and_the_same_seed_the_same():
    make = Permuted(tasks=1, label_noise=0.5)
    labels = [make.stream(DATA, seed).experiences[0].y.tolist() for seed in (0, 0, 1)]
    assert labels[0] == labels[1] != labels[2]


def test_wrong_labels_in_tasks_of_one_class_are_refused():
    with pytest.raises(UserError, match=r"task 1 has one class, and label_noise=0\.1\. Leave out"):
        split(tasks=6)(label_noise=0.1).stream(DATA, 0)


@given(st.floats(0.001, 1), st.integers(0, 9), st.sampled_from(SCENARIOS))
def test_the_share_of_labels_holds_for_each_class_of_each_experience(share, seed, scenario):
    plain, few = streams(split(scenario), seed, labelled=share)
    for before, after in zip(plain.experiences, few.experiences, strict=True):
        assert set(after.y) == set(before.y)
        for unit in np.unique(before.y):
            kept, all_of = (int((each.y == unit).sum()) for each in (after, before))
            assert kept == 1 or abs(kept - share * all_of) <= 0.5


def test_at_least_one_example_of_a_class_keeps_its_label():
    few = split()(labelled=1e-9).stream(DATA, 0)
    assert [len(experience.row) for experience in few.experiences] == [3, 3]


def test_examples_that_keep_their_labels_stay_in_order_and_tests_stay_all():
    plain, few = streams(split(), labelled=0.3)
    for before, after in zip(plain.experiences, few.experiences, strict=True):
        kept = np.isin(before.row, after.row)
        assert 0 < kept.sum() < len(kept)
        assert np.array_equal(before.row[kept], after.row)
        assert np.array_equal(before.y[kept], after.y)
    assert [len(task.test.row) for task in few.tasks] == [15, 15]


def test_tasks_of_the_same_images_label_the_same_ones():
    few = Permuted(tasks=3, labelled=0.2).stream(DATA, 0)
    assert len({tuple(experience.row) for experience in few.experiences}) == 1
