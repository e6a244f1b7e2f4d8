"""Sinusoids: few-shot regression of sine waves."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from retrograde import (
    Count,
    Dataset,
    EpisodicBenchmark,
    Partition,
    TaskBatch,
    TaskDistribution,
    UserError,
    squared_errors,
)


@dataclass(frozen=True, kw_only=True)
class Sinusoid(EpisodicBenchmark):
    """Regression of y = A sin(x - phi) from a few points (Finn et al. 2017, arXiv 1703.03400).

    A is in [0.1, 5], phi in [0, pi] and x in [-5, 5] (section 5.1).
    """

    iterations: Count = 70_000
    meta_batch_size: Count = 25
    shots: Count = 10
    queries: Count = 10
    test_queries: Count = 100

    def __post_init__(self) -> None:
        """Refuse a dataset, since nothing would be drawn from it."""
        super().__post_init__()
        if self.dataset:
            raise UserError(
                "Sinusoids are generated, and take no dataset; "
                f"dataset={self.dataset}. Leave it out."
            )

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        return squared_errors(outputs, y)

    def distribution(self, data: Dataset | None = None, seed: int = 0) -> TaskDistribution:
        return Waves()


class Waves(TaskDistribution):
    """Sine waves; the parameters of a task are its amplitude and its phase."""

    shape = (1,)
    outputs = 1
    parameters = 2

    def draw(
        self,
        partition: Partition,
        tasks: int,
        shots: int,
        queries: int,
        random: np.random.Generator,
    ) -> TaskBatch:
        # All partitions draw from the same continuous range: no two tasks are equal.
        parameters = random.uniform([0.1, 0], [5, np.pi], (tasks, 2)).astype(np.float32)
        x = random.uniform(-5, 5, (tasks, shots + queries, 1)).astype(np.float32)
        return TaskBatch(x, _wave(parameters, x), parameters)

    def curve(self, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = np.linspace(-5, 5, 51, dtype=np.float32)[:, None]
        return x, _wave(parameters, x)


def _wave(parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The values at x, of shape (*task, point, 1), of waves with parameters of shape (*task, 2)."""
    amplitude, phase = parameters.T[..., None, None]
    return np.asarray(amplitude * np.sin(x - phase))
