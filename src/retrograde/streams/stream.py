"""A stream: tasks in order, cut from one dataset."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from retrograde.data.dataset import Dataset

Scenario = Literal["task", "domain", "class"]
"""Task-incremental: told the task at test. Domain: one label set. Class: all classes compete (van de Ven 2022)."""


class Examples(NamedTuple):
    """Some examples of a dataset: their rows, and the output unit that is right for each."""

    row: Int64[np.ndarray, " n"]
    y: Int64[np.ndarray, " n"]


class Task(NamedTuple):
    """What one task trains on and is tested on."""

    train: Examples
    test: Examples


class Preparation(NamedTuple):
    """Training examples of classes that the stream does not have, to learn from before it begins, and what a lesson takes."""

    examples: Examples
    lessons: int
    classes: int  # of one lesson, which come one after the other
    shots: int  # examples of each of these to learn from
    queries: int  # other examples of each
    rehearsed: int  # examples of any held-out class


@dataclass(frozen=True)
class Stream:
    """Tasks in order, for one replicate. No pixel is copied: `pixels` says where each one comes from."""

    data: Dataset
    tasks: tuple[Task, ...]
    units: Bool[np.ndarray, "task unit"]
    """Which output units belong to each task."""
    pixels: Int64[np.ndarray, "task pixel"] | None = None
    """For each task, the source of every pixel (channel by channel, row by row); one past the last is black."""
    ordered: bool = False
    """Whether arrivals come in the order of `Task.train`; if not, they are shuffled."""
    preparation: Preparation | None = None

    def images(self, x: np.ndarray, row: Int64[np.ndarray, " n"], task: int) -> np.ndarray:
        """The examples as a model sees them in that task, (n, *shape); for learners that are not pure."""
        flat = x.reshape(len(x), -1)[row]
        if self.pixels is not None:
            flat = np.pad(flat, ((0, 0), (0, 1)))[:, self.pixels[task]]
        return np.asarray(flat * np.float32(self.data.scale)).reshape(len(row), *self.data.shape)
