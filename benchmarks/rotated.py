"""Rotated streams: every task rotates the images by its own angle."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int64

from retrograde import (
    Benchmark,
    Count,
    Dataset,
    Ints,
    Rate,
    Scenario,
    Stream,
    UserError,
    generator,
    need_images,
    same_classes,
)


@dataclass(frozen=True, kw_only=True)
class Rotated(Benchmark):
    """Rotated images, one angle per task (Lopez-Paz and Ranzato 2017, arXiv 1706.08840).

    Pixels are interpolated by the nearest one. `bins` draws each angle from its own slice of
    [0, max_angle), so that angles rise (GEM, MER, La-MAML); `unsorted` draws each from the whole
    range (Mammoth). `degrees` gives the angles instead, one for each task.
    """

    scenario: Scenario = "domain"
    tasks: Count = 10
    angles: Literal["bins", "unsorted"] = "bins"
    max_angle: Rate = 180.0  # degrees
    degrees: Ints = ()  # the angle of each task; none: drawn from the seed

    def cut(self, data: Dataset, seed: int) -> Stream:
        channel, height, width = need_images(data, "A rotated stream")
        pixels = [rotation(channel, height, width, angle) for angle in self._angles(seed)]
        return same_classes(data, np.stack(pixels), self.scenario)

    def _angles(self, seed: int) -> Float[np.ndarray, " task"]:
        """The angle of each task in degrees."""
        if self.degrees:
            self._check_degrees()
            return np.array(self.degrees, dtype=float)
        drawn = generator(seed, "rotation").random(self.tasks)
        if self.angles == "bins":
            drawn = (np.arange(self.tasks) + drawn) / self.tasks
        return np.asarray(drawn * self.max_angle)

    def _check_degrees(self) -> None:
        # Settings that draw angles would be recorded without having an effect.
        if (self.angles, self.max_angle) != ("bins", 180.0):
            raise UserError(
                f"degrees gives the angles, and angles={self.angles},"
                f"max_angle={self.max_angle:g} draw them. Leave one or the other out."
            )
        if len(self.degrees) != self.tasks:
            given = ",".join(map(str, self.degrees))
            raise UserError(
                f"degrees gives an angle for each task; tasks={self.tasks},degrees={given}. "
                f"Give tasks={len(self.degrees)}."
            )


def rotation(channel: int, height: int, width: int, degrees: float) -> Int64[np.ndarray, " pixel"]:
    """The source of each pixel when an image turns counter-clockwise about its centre.

    Args:
        channel: the number of channels.
        height: the height in pixels.
        width: the width in pixels.
        degrees: the angle.

    Returns:
        For each pixel, channel by channel and row by row, the index of its source; one past the
        last pixel for a source outside the image, which is black.
    """
    turn = np.deg2rad(degrees)
    cos = np.cos(turn)
    sin = np.sin(turn)
    y, x = np.mgrid[:height, :width].astype(float)
    down = y - (height - 1) / 2
    right = x - (width - 1) / 2
    # The inverse rotation; adding half the size instead of half of size - 1 rounds to the nearest.
    source_x = np.floor(cos * right - sin * down + width / 2).astype(int)
    source_y = np.floor(sin * right + cos * down + height / 2).astype(int)
    in_width = (source_x >= 0) & (source_x < width)
    in_height = (source_y >= 0) & (source_y < height)
    inside = (in_width & in_height).ravel()
    source = (source_y * width + source_x).ravel()
    planes = np.arange(channel)[:, None] * height * width + source
    return np.where(inside, planes, channel * height * width).ravel()
