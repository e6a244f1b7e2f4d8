"""Distributions of few-shot tasks."""

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int64, Shaped

Partition = Literal["train", "validation", "test"]
"""Tasks to meta-train on, to watch meta-training with, and to be judged by; no class is in two of them."""


PARTITIONS: tuple[Partition, ...] = ("train", "validation", "test")


class Drawn(NamedTuple):
    """Tasks with their examples, the support before the query."""

    x: Shaped[np.ndarray, "task example *shape"]
    y: Int64[np.ndarray, "task example"] | Float[np.ndarray, "task example value"]
    truth: Float[
        np.ndarray, "task fact"
    ]  # what an oracle is told of each task; nothing, where there are no facts


class Distribution(ABC):
    """What tasks are drawn from, for one replicate; `scale` turns a stored value into what a model sees."""

    shape: tuple[int, ...]
    outputs: int
    facts: int = 0
    scale: float = 1.0

    @abstractmethod
    def draw(
        self,
        partition: Partition,
        tasks: int,
        shots: int,
        queries: int,
        random: np.random.Generator,
    ) -> Drawn:
        """Draw tasks; shots and queries are per class in classification."""

    def support(self, shots: int) -> int:
        """How many of a task's examples are its support."""
        return shots

    def curve(self, truth: Float[np.ndarray, "task fact"]) -> tuple[np.ndarray, np.ndarray] | None:
        """Where a task is a function that can be drawn: inputs (n, 1) and the true values (task, n, 1) there."""
        return None
