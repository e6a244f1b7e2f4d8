"""MNIST-1D: its curves have the distribution that the paper's description gives."""

from pathlib import Path

import numpy as np
import pytest
from scipy.interpolate import interp1d
from scipy.ndimage import gaussian_filter1d
from sklearn.linear_model import LogisticRegression

from retrograde.data.sources import load
from retrograde.datasets import mnist1d

NOWHERE = Path("/nonexistent")
DATA = load("mnist1d", NOWHERE)


def stretched(curve, length):
    places = np.arange(len(curve)) / (len(curve) - 1)
    return interp1d(places, curve)(np.arange(length) / (length - 1))


def described(digit, random):
    """One example before it is standardised, written anew from the paper, section by section."""
    template = np.array(digit, dtype=float)
    template = (template - template.mean()) / template.std()
    template = (template - template[0]) / 6
    zeros = random.randint(36, 61)
    is_digit = stretched(np.r_[np.ones(12), np.zeros(zeros)], 72) > 0
    curve = stretched(np.r_[template, np.zeros(zeros)], 72)
    curve = curve * random.uniform(0.8, 1.2)
    steps = random.randint(0, 48)
    curve, is_digit = (np.r_[part[72 - steps :], part[: 72 - steps]] for part in (curve, is_digit))
    noise = gaussian_filter1d(random.normal(0, 0.25, 72), 2)
    curve[~is_digit] = noise[~is_digit]
    curve += random.normal(0, 0.02, 72)
    curve -= random.uniform(-0.375, 0.375) * (np.arange(72) / 71 - 0.5)
    return stretched(curve, 40)


def numbers(x):
    """Statistics of each curve."""
    change = np.diff(x, axis=1)
    slope = x @ np.linspace(-1, 1, 40)
    columns = [x.max(1), x.min(1), x.std(1), x.mean(1), np.abs(change).mean(1), change.std(1)]
    return np.stack([*columns, slope, slope**2, np.abs(change).max(1)], axis=1)


@pytest.fixture(scope="module")
def references():
    """400 examples of each digit, standardised over all."""
    random = np.random.RandomState(0)
    curves = [[described(digit, random) for _ in range(400)] for digit in mnist1d.DIGITS]
    return (curves - np.mean(curves)) / np.std(curves)


def test_all_numbers_are_standardised():
    x = np.concatenate([DATA.x_train, DATA.x_test])
    assert x.mean() == pytest.approx(0, abs=1e-5)
    assert x.std() == pytest.approx(1, abs=1e-5)
    assert np.bincount(np.concatenate([DATA.y_train, DATA.y_test])).tolist() == [500] * 10


@pytest.mark.parametrize("digit", range(10))
def test_curves_have_the_statistics_of_the_description(digit, references):
    reference = numbers(references[digit])
    found = numbers(DATA.x_train[DATA.y_train == digit].astype(np.float64))
    spread = reference.var(0) / len(reference) + found.var(0) / len(found)
    assert np.abs((found.mean(0) - reference.mean(0)) / np.sqrt(spread)).max() < 4


def test_another_range_of_the_shear_would_be_noticed(monkeypatch):
    """The comparison above can fail."""
    monkeypatch.setattr(mnist1d, "SHEAR", 0.5)
    other = load("mnist1d", NOWHERE)
    slopes = [numbers(data.x_train)[:, 7] for data in (DATA, other)]
    spread = sum(values.var() / len(values) for values in slopes)
    assert (slopes[0].mean() - slopes[1].mean()) / np.sqrt(spread) > 8


def test_without_chance_an_example_is_its_stretched_template(monkeypatch):
    changes = {
        "SHIFT": 1,
        "SCALE": 0,
        "SHEAR": 0,
        "NOISE": 0,
        "POINT_NOISE": 0,
        "PADDING": (60, 60),
    }
    for name, value in changes.items():
        monkeypatch.setattr(mnist1d, name, value)
    data = load("mnist1d", NOWHERE)
    points = np.array(mnist1d.DIGITS)
    templates = (points - points[:, :1]) / points.std(1, keepdims=True) / 6
    curves = np.stack([stretched(np.r_[template, np.zeros(60)], 40) for template in templates])
    expected = (curves - curves.mean()) / curves.std()
    assert np.allclose(data.x_test, expected[data.y_test], atol=1e-5)


def test_a_linear_classifier_is_as_good_as_in_the_paper():
    """The paper has 32 % for logistic regression: shifted curves are far from linear."""
    linear = LogisticRegression(max_iter=300).fit(DATA.x_train, DATA.y_train)
    assert 0.29 < linear.score(DATA.x_test, DATA.y_test) < 0.35


def test_it_has_the_sizes_of_the_paper_and_is_the_same_every_time():
    assert (DATA.shape, len(DATA.y_train), len(DATA.y_test)) == ((40,), 4000, 1000)
    counts = np.bincount(DATA.y_train) + np.bincount(DATA.y_test)
    assert counts.tolist() == [500] * 10
    assert load("mnist1d", NOWHERE).digest == DATA.digest
