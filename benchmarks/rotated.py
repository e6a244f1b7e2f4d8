"""Rotated streams: every task rotates the images by its own angle."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

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

from ._rotation import rotation


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
