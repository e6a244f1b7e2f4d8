"""Rotated streams: every task turns the images by its own angle."""

from dataclasses import dataclass
from typing import ClassVar, Literal

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
    """Rotated images (Lopez-Paz and Ranzato 2017, arXiv 1706.08840): one angle per task, nearest-pixel interpolation.

    `bins` draws each angle from its own slice of [0, max_angle), so that angles rise (GEM, MER, La-MAML);
    `unsorted` draws each from the whole range (Mammoth). `degrees` gives them instead, one for each task.
    """

    later: ClassVar[tuple[str, ...]] = (*Benchmark.later, "degrees")

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
        if self.degrees:
            if (self.angles, self.max_angle) != ("bins", 180.0):
                raise UserError(
                    f"degrees gives the angles, and angles={self.angles},max_angle={self.max_angle:g} draw them. "
                    "Leave one or the other out."
                )
            if len(self.degrees) != self.tasks:
                given = ",".join(map(str, self.degrees))
                raise UserError(
                    f"degrees gives an angle for each task; tasks={self.tasks},degrees={given}. Give tasks={len(self.degrees)}."
                )
            return np.array(self.degrees, dtype=float)
        drawn = generator(seed, "rotation").random(self.tasks)
        if self.angles == "bins":
            drawn = (np.arange(self.tasks) + drawn) / self.tasks
        return np.asarray(drawn * self.max_angle)


def rotation(channel: int, height: int, width: int, degrees: float) -> Int64[np.ndarray, " pixel"]:
    """Where each pixel comes from when an image turns counter-clockwise about its centre; outside is black."""
    turn = np.deg2rad(degrees)
    y, x = np.mgrid[:height, :width].astype(float)
    down, right = y - (height - 1) / 2, x - (width - 1) / 2
    source_x = np.floor(np.cos(turn) * right - np.sin(turn) * down + width / 2).astype(int)
    source_y = np.floor(np.sin(turn) * right + np.cos(turn) * down + height / 2).astype(int)
    inside = (source_x >= 0) & (source_x < width) & (source_y >= 0) & (source_y < height)
    plane = np.arange(channel)[:, None] * height * width + (source_y * width + source_x).ravel()
    return np.where(inside.ravel(), plane, channel * height * width).ravel()
