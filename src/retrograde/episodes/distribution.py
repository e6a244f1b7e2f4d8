"""Distributions of few-shot tasks."""

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int64, Shaped

from retrograde.data.channels import Channels

Partition = Literal["train", "validation", "test"]
"""Tasks for meta-training, for validation during it, and for the test; they share no class."""


PARTITIONS: tuple[Partition, ...] = ("train", "validation", "test")


class TaskBatch(NamedTuple):
    """Tasks with their examples.

    Args:
        x: The examples of each task, the support before the query, and others after it.
        y: Their labels or, in regression, their values.
        parameters: The parameters of each task, which an oracle is given; empty if there are none.
    """

    x: Shaped[np.ndarray, "task example *shape"]
    y: Int64[np.ndarray, "task example"] | Float[np.ndarray, "task example value"]
    parameters: Float[np.ndarray, "task parameter"]


class TaskDistribution(ABC):
    """A distribution of few-shot tasks, for one replicate."""

    shape: tuple[int, ...]
    """The shape of one example."""
    outputs: int
    """The number of output units."""
    parameters: int = 0
    """The number of parameters of a task that an oracle is given."""
    scale: float = 1.0
    """The factor from a stored value to the value that a model sees."""
    channels: Channels | None = None
    """The mean and standard deviation with which images are normalised; None: not at all."""
    remembered: int = 0
    """The number of a task's last examples that belong to neither support nor query."""

    @abstractmethod
    def draw(
        self,
        partition: Partition,
        tasks: int,
        shots: int,
        queries: int,
        random: np.random.Generator,
    ) -> TaskBatch:
        """Draw tasks.

        Args:
            partition: The partition to draw from.
            tasks: The number of tasks.
            shots: The number of support examples, per class in classification.
            queries: The number of query examples, per class in classification.
            random: The generator of every choice.
        """

    def support(self, shots: int) -> int:
        """The number of a task's examples that are its support."""
        return shots

    def curve(
        self,
        parameters: Float[np.ndarray, "task parameter"],
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """The graphs of tasks that are functions of one number; None for other tasks.

        Args:
            parameters: The parameters of each task.

        Returns:
            Inputs of shape (n, 1), and the true values at them, of shape (task, n, 1).
        """
        return None
