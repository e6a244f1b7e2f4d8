"""MNIST-1D, generated: ten digits as curves of 40 numbers."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from retrograde import Dataset, DataSource

SEED = 42
TRAIN = 4000
TEST = 1000
LENGTH = 40
"""Numbers of an example."""
TEMPLATE = 12
"""Points of a digit before it is padded."""
PADDING = (36, 60)
"""The fewest and the most zeros after a digit."""
SHIFT = 48
"""Digits turn round by fewer points than this."""
SCALE = 0.4
"""The range of the factor around 1."""
SHEAR = 0.75
"""The range of the slope of the line that is taken off."""
NOISE = 0.25
"""The standard deviation of the noise around a digit, before it is blurred."""
BLUR = 2.0
"""The standard deviation of the blur, in points."""
POINT_NOISE = 0.02
"""The standard deviation of the noise of each point."""
DIGITS = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)
"""The horizontal position of the pen along each digit, from 0 to 9."""


@dataclass(frozen=True)
class MNIST1D(DataSource):
    """MNIST-1D (Greydanus and Kobak 2020, arXiv 2011.14439), generated: 4000 and 1000 curves.

    A digit is padded, scaled, shifted round, surrounded by blurred noise, and sheared; 40 numbers
    of the curve are an example, standardised over all. The steps are those of the authors' code;
    the chance comes from seed 42 of NumPy's `default_rng`, so that the examples are not those of
    the authors' file.
    """

    licence: ClassVar[str] = "generated"

    def load(self, folder: Path) -> Dataset:
        random = np.random.default_rng(SEED)
        digits = _templates()
        y = random.permutation(np.arange(TRAIN + TEST) % len(digits))
        x = np.stack([_example(digits[digit], random) for digit in y])
        x = ((x - x.mean()) / x.std()).astype(np.float32)
        return Dataset("mnist1d", x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:])


def _templates() -> Float64[np.ndarray, "digit point"]:
    """The digits with unit variance over 36, each beginning at 0."""
    x = np.array(DIGITS, dtype=np.float64)
    x /= x.std(axis=1, keepdims=True)
    templates: np.ndarray = (x - x[:, :1]) / 6
    return templates


def _example(
    digit: Float64[np.ndarray, " point"], random: np.random.Generator
) -> Float64[np.ndarray, " number"]:
    """One curve of a digit, before it is standardised."""
    padding = random.integers(PADDING[0], PADDING[1] + 1)
    length = TEMPLATE + PADDING[1]
    # Points of the digit that are 0 are told from the padding, which gets noise.
    padded = np.concatenate([digit + 1e-8, np.zeros(padding)])
    curve = _resampled(padded, length) * (1 + SCALE * (random.random() - 0.5))
    curve = np.roll(curve, random.integers(SHIFT))
    curve = np.where(curve == 0, _blurred(NOISE * random.standard_normal(length)), curve)
    curve = curve + POINT_NOISE * random.standard_normal(length)
    slope = SHEAR * (random.random() - 0.5)
    curve = curve - slope * np.linspace(-0.5, 0.5, length)
    example: np.ndarray = _resampled(curve, LENGTH)
    return example


def _resampled(curve: Float64[np.ndarray, " _"], length: int) -> Float64[np.ndarray, " _"]:
    """The curve at equal distances from its first point to its last one, linearly interpolated."""
    places = np.linspace(0, 1, len(curve))
    resampled: np.ndarray = np.interp(np.linspace(0, 1, length), places, curve)
    return resampled


def _blurred(noise: Float64[np.ndarray, " _"]) -> Float64[np.ndarray, " _"]:
    from scipy.ndimage import gaussian_filter

    blurred: np.ndarray = gaussian_filter(noise, BLUR)
    return blurred
