"""Incremental sine waves: regression of one function after the other."""

from dataclasses import dataclass

import numpy as np

from retrograde import (
    Benchmark,
    Count,
    Dataset,
    Scenario,
    Stream,
    UserError,
    generator,
    regression_tasks,
)

RANGE = 5.0
"""Inputs are drawn from the interval of this half-width around 0."""


@dataclass(frozen=True, kw_only=True)
class Waves(Benchmark):
    """Sine waves one after the other (Javed and White 2019, arXiv 1905.12588, section 4.1).

    Function n is y = A sin(z + phi), with A in [0.1, 5] and phi in [0, pi], both drawn from the
    seed. An input is the one-hot vector of n, then z in [-5, 5]; all functions share the output. As
    in the paper, there are ten functions and 40 mini-batches of eight examples for each. The sign
    of phi and the order of the inputs are those of the authors' code, whose mini-batches have 32.
    """

    dataset: str = ""
    scenario: Scenario = "domain"
    batch_size: Count = 8
    # The number of functions.
    tasks: Count = 10
    # Mini-batches of each function; each is drawn once.
    batches: Count = 40
    # Test examples of each function.
    tests: Count = 100

    def __post_init__(self) -> None:
        """Refuse a dataset, since nothing would be drawn from it."""
        super().__post_init__()
        if self.dataset:
            raise UserError(
                f"Waves are generated, and take no dataset; dataset={self.dataset}. Leave it out."
            )

    def generated(self) -> Dataset:
        train, y_train = self._inputs(self.batches * self.batch_size, "train inputs")
        test, y_test = self._inputs(self.tests, "test inputs")
        return Dataset("waves", train, y_train, test, y_test)

    def _inputs(self, count: int, axis: str) -> tuple[np.ndarray, np.ndarray]:
        """`count` inputs of every function, the same ones for every seed, and their functions."""
        y = np.repeat(np.arange(self.tasks), count)
        z = generator(0, axis).uniform(-RANGE, RANGE, len(y))
        return np.column_stack([np.eye(self.tasks)[y], z]).astype(np.float32), y

    def cut(self, data: Dataset, seed: int) -> Stream:
        if data.shape != (self.tasks + 1,):
            raise UserError(
                f"Waves are generated, and cut no other dataset; data was {data.name}. "
                "Leave it out."
            )
        random = generator(seed, "waves")
        amplitude = random.uniform(0.1, 5, self.tasks)
        phase = random.uniform(0, np.pi, self.tasks)

        def values(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            z = x[:, -1].astype(np.float64)
            return np.asarray(amplitude[y] * np.sin(z + phase[y]))[:, None]

        train = values(data.x_train, data.y_train)
        return regression_tasks(data, train, values(data.x_test, data.y_test))
