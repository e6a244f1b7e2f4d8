"""Gradient probes: inner products and cosines of tasks' gradients at the end of a task."""

from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from jaxtyping import Float
from torch import Tensor

from retrograde.records.schema import Cosine, Finite, Whole

CEILING = 0.2
"""Minimum cosine between a task's gradients on two halves of its examples (its ceiling).

Below it, the cosines between the task and others are NaN.
"""


@dataclass(frozen=True)
class GradientProbe:
    """The loss and the gradients of the tasks so far and of the next one, at the end of a task.

    Both are of the cross-entropy of the model's outputs. Every probe measures a task on the same
    test examples: up to `Benchmark.probe_examples` of them, in two halves that share no example of
    the dataset. The inner product of two tasks is taken between different halves, and so is that of
    a task with itself, so that sampling noise adds to none of them (Riemer et al. 2019 define
    transfer and interference by such products). Numbers have four significant digits.

    Attributes:
        task: the task that ends, counted from 0.
        step: training steps so far, of the whole stream.
        loss: loss of each task probed, from task 0.
        ceiling: cosine between the gradients on the two halves, for each task probed.
        inner: inner products of gradients, the lower triangle with its diagonal, row by row.
        layers: the same for each layer; at the end of the stream only.
    """

    task: Whole
    step: Whole
    loss: list[Finite]
    ceiling: list[Cosine]
    inner: list[Finite]
    layers: dict[str, list[Finite]] = field(default_factory=dict)

    @property
    def products(self) -> Float[np.ndarray, "task task"]:
        """The matrix of inner products; its diagonal has the gradients' squared lengths."""
        return triangle(self.inner, len(self.loss))

    @property
    def cosines(self) -> Float[np.ndarray, "task task"]:
        """The cosines between gradients, without a bias from sampling noise.

        They are NaN where a task's ceiling is below `CEILING`.
        """
        return self._cosines(self.products)

    def cosines_of(self, layer: str) -> Float[np.ndarray, "task task"]:
        """The cosines between gradients with respect to the parameters of one layer."""
        return self._cosines(triangle(self.layers[layer], len(self.loss)))

    def _cosines(self, products: Float[np.ndarray, "task task"]) -> Float[np.ndarray, "task task"]:
        # The product of two halves can be negative by noise; such a gradient has no length.
        above = np.array(self.ceiling) >= CEILING
        squares = np.where(above, products.diagonal(), np.nan)
        lengths = np.sqrt(np.where(squares > 0, squares, np.nan))
        cosines = products / np.outer(lengths, lengths)
        return np.asarray(cosines.clip(-1, 1))

    @property
    def has_next_task(self) -> bool:
        """True if the last task probed is the next one, not trained on yet."""
        return len(self.loss) == self.task + 2

    def mean_pairwise_cosine(self) -> float:
        """The mean cosine over pairs of the tasks so far.

        Pairs without a cosine are left out; the mean is NaN if no pair has one.
        """
        seen = self.task + 1
        square = self.cosines[:seen, :seen]
        below = square[np.tril_indices(seen, -1)]
        known = below[~np.isnan(below)]
        return float(known.mean()) if len(known) else float("nan")

    def next_task_cosine(self) -> float:
        """The cosine between the last task's gradient and the mean gradient of the earlier tasks.

        The last task is the last one probed. The cosine is NaN if the ceiling of the last task, or
        that of the mean, is below `CEILING`.
        """
        products = self.products
        mean = products[:-1, :-1].mean()
        last = products[-1, -1]
        ceiling = min(self.ceiling[-1], self._ceiling_of_mean())
        if ceiling < CEILING or min(mean, last) <= 0:
            return float("nan")
        cosine = self.transfer() / np.sqrt(mean * last)
        return float(np.clip(cosine, -1, 1))

    def _ceiling_of_mean(self) -> float:
        """The cosine between the mean gradients of the earlier tasks on the two halves.

        The noise of different tasks is independent. Therefore the squared length of the mean
        gradient on one half differs from the product of both halves only by the noise of each task
        with itself. A task's inner product with itself, divided by its ceiling, is the squared
        length of its gradient on one half.
        """
        between = self.products[:-1, :-1]
        ceiling = np.array(self.ceiling[:-1])
        across_halves = between.diagonal()
        divisor = np.where(ceiling != 0, ceiling, 1)
        on_one_half = np.where(ceiling != 0, across_halves / divisor, 0.0)
        square = between.sum() + (on_one_half - across_halves).sum()
        return float(between.sum() / square) if square > 0 else 0.0

    def transfer(self) -> float:
        """The inner product of the last task's gradient with the mean gradient of the earlier ones.

        The last task is the last one probed.
        """
        return float(self.products[-1, :-1].mean())

    def conflict_rate(self) -> float:
        """The share of earlier tasks with gradients that conflict with the last task probed.

        Two gradients conflict if their inner product is negative.
        """
        with_last = self.products[-1, :-1]
        return float((with_last < 0).mean())

    def inconsistency(self) -> str:
        """Description of the first inconsistency; empty if there is none."""
        probed = len(self.loss)
        pairs = probed * (probed + 1) // 2
        triangles = [self.inner, *self.layers.values()]
        whole = all(len(values) == pairs for values in triangles)
        if len(self.ceiling) != probed or not whole or probed < self.task + 1:
            return "a probe's numbers of tasks do not fit together"
        numbers = [*self.loss, *self.ceiling, *chain(*triangles)]
        return "" if np.isfinite(numbers).all() else "a probe has a number that is not finite"


def triangle(
    values: list[float],
    size: int,
) -> Float[np.ndarray, "size size"]:
    """The symmetric matrix with these numbers on and below its diagonal, row by row."""
    matrix = np.zeros((size, size))
    matrix[np.tril_indices(size)] = values
    return np.asarray(matrix + np.tril(matrix, -1).T)


def rounded(values: Tensor, digits: int = 4) -> list[float]:
    """The values rounded to significant digits."""
    # Adding 0 turns a negative zero into zero.
    return [float(f"{value:.{digits}g}") + 0.0 for value in values.tolist()]
