"""The mean and standard deviation of the channels of images."""

import numpy as np
import pytest

from retrograde.data import channels
from retrograde.data.dataset import Dataset
from retrograde.errors import UserError


def images(count=25, dtype=np.uint8):
    drawn = np.random.default_rng(0).integers(0, 256, (count, 3, 4, 5))
    # Channels differ, and their values lie far from 0 in comparison to their spread.
    return (drawn // [[[1]], [[20]], [[60]]] + [[[0]], [[200]], [[90]]]).clip(0, 255).astype(dtype)


def made(x, scale=1 / 255):
    y = np.arange(len(x)) % 2
    return Dataset("made", x, y, x[:2], y[:2], scale)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_they_are_those_of_all_pixels_of_the_training_set(dtype, chunk, monkeypatch):
    monkeypatch.setattr(channels, "CHUNK", chunk)
    x = images(dtype=dtype)
    whole = x.astype(np.float64) / 255
    mean, std = made(x).channels
    np.testing.assert_allclose(mean, whole.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, whole.std((0, 2, 3)), rtol=1e-12)


def test_a_small_spread_around_a_large_mean_keeps_its_digits():
    x = 1e8 + np.random.default_rng(1).normal(size=(50, 1, 6, 6))
    std = made(x, scale=1.0).channels.std
    np.testing.assert_allclose(std, x.std(), rtol=1e-9)


def test_normalised_images_keep_their_type_and_have_mean_0_and_deviation_1():
    x = images().astype(np.float32)
    seen = made(x, scale=1.0).channels.normalised(x)
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen.mean((0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(seen.std((0, 2, 3)), 1, atol=1e-4)


def test_vectors_have_no_channels():
    with pytest.raises(UserError, match=r"of made have shape \(60,\). Leave out normalise"):
        _ = made(images().reshape(25, -1)).channels


def test_a_constant_channel_is_refused_even_if_its_value_cannot_be_written_in_binary():
    x = images(dtype=np.float32)
    x[:, 1] = 0.1
    with pytest.raises(UserError, match="channel 1 of made is 0.1 everywhere"):
        _ = made(x).channels
