"""The mean and the standard deviation of each channel of images."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Shaped

CHUNK = 1000
"""The number of images that are floating-point numbers at one time."""


class Channels(NamedTuple):
    """The mean and the standard deviation of each channel, in the units that a model sees."""

    mean: Float64[np.ndarray, " channel"]
    std: Float64[np.ndarray, " channel"]

    def normalised(
        self,
        images: Shaped[np.ndarray, "row channel height width"],
    ) -> Shaped[np.ndarray, "row channel height width"]:
        """Images less the mean of their channel, over its standard deviation; of their type."""
        mean, std = (values.astype(images.dtype)[:, None, None] for values in self)
        normalised: np.ndarray = (images - mean) / std
        return normalised


def measured(
    x: Shaped[np.ndarray, "row channel height width"],
    scale: float,
) -> Channels:
    """The channels of images over all of their pixels, in double precision.

    Args:
        x: Images as they are stored, such as bytes. At most `CHUNK` of them are converted at once.
        scale: The factor from a stored value to the value that a model sees.
    """
    pixels = len(x) * x.shape[2] * x.shape[3]
    mean = _summed(x, np.zeros(x.shape[1]), 1) / pixels
    # A second pass, since the difference of large sums would lose digits.
    variance = _summed(x, mean, 2) / pixels
    return Channels(mean * scale, np.sqrt(variance) * abs(scale))


def _summed(
    x: Shaped[np.ndarray, "row channel height width"],
    centre: Float64[np.ndarray, " channel"],
    power: int,
) -> Float64[np.ndarray, " channel"]:
    """The sum over each channel's pixels of a power of their distance to a centre."""
    total = np.zeros(x.shape[1])
    for start in range(0, len(x), CHUNK):
        distance = x[start : start + CHUNK].astype(np.float64) - centre[:, None, None]
        total += (distance**power).sum((0, 2, 3))
    return total
