"""A probe: how the gradients of different tasks lie to one another at the end of a task."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from torch import Tensor

from retrograde.records.schema import Cosine, Finite, Whole

CEILING = 0.2
"""The least cosine between a task's gradients on two halves of its examples at which its cosines with others are told."""


@dataclass(frozen=True)
class Probe:
    """The loss and the gradients of the tasks so far and of the next one, at the end of a task.

    Loss and gradient are of the cross-entropy of the model's outputs, on the same test examples of a task at every probe:
    up to `Benchmark.probe` of them, in two halves that share no example of the dataset. The inner product of two tasks is
    taken between different halves, and so is that of a task with itself: sampling noise adds to none of them (Riemer et al.
    2019 define transfer and interference by such products). Numbers have four significant digits.
    """

    task: Whole  # the one that ends here, from 0
    step: Whole  # steps so far, of the whole stream
    loss: list[Finite]  # of each task probed, from task 0 on
    ceiling: list[Cosine]  # likewise, the cosine between the gradients on the two halves
    inner: list[Finite]  # inner products of gradients: the triangle with its diagonal, row by row
    layers: dict[str, list[Finite]] = field(
        default_factory=dict
    )  # the same by layer; at the end of the stream only

    @property
    def products(self) -> Float[np.ndarray, "task task"]:
        """The matrix of inner products; the squared length of each gradient is on its diagonal."""
        return triangle(self.inner, len(self.loss))

    @property
    def cosines(self) -> Float[np.ndarray, "task task"]:
        """The cosines between gradients, free of noise but for chance; NaN where a task's ceiling is below `CEILING`."""
        return self._cosines(self.products)

    def cosines_of(self, layer: str) -> Float[np.ndarray, "task task"]:
        """The same for the parameters of one layer."""
        return self._cosines(triangle(self.layers[layer], len(self.loss)))

    def _cosines(self, products: Float[np.ndarray, "task task"]) -> Float[np.ndarray, "task task"]:
        squares = np.where(np.array(self.ceiling) >= CEILING, products.diagonal(), np.nan)
        lengths = np.sqrt(np.where(squares > 0, squares, np.nan))
        return np.asarray((products / np.outer(lengths, lengths)).clip(-1, 1))

    @property
    def arrival(self) -> bool:
        """True if the last task probed is the next one, not trained on yet."""
        return len(self.loss) == self.task + 2

    def among(self) -> float:
        """The mean cosine between two tasks of those so far, over the pairs that have one; NaN if none has."""
        below = self.cosines[: self.task + 1, : self.task + 1][np.tril_indices(self.task + 1, -1)]
        known = below[~np.isnan(below)]
        return float(known.mean()) if len(known) else float("nan")

    def arriving(self) -> float:
        """The cosine between the gradient of the last task probed and the mean gradient of those before it.

        NaN where the ceiling of the last task, or that of the mean, is below `CEILING`.
        """
        products = self.products
        mean, last = products[:-1, :-1].mean(), products[-1, -1]
        if min(self.ceiling[-1], self._ceiling_of_mean()) < CEILING or min(mean, last) <= 0:
            return float("nan")
        return float(np.clip(self.transfer() / np.sqrt(mean * last), -1, 1))

    def _ceiling_of_mean(self) -> float:
        """The cosine between the mean gradients of the earlier tasks on the two halves.

        Noise of different tasks is independent, so that the square of a half's length differs from the product of both halves
        by the noise of each task with itself alone: its product over its ceiling is the square of its own length on a half.
        """
        between = self.products[:-1, :-1]
        ceiling = np.array(self.ceiling[:-1])
        own = between.diagonal()
        alone = np.where(ceiling != 0, own / np.where(ceiling != 0, ceiling, 1), 0.0)
        square = between.sum() + (alone - own).sum()
        return float(between.sum() / square) if square > 0 else 0.0

    def transfer(self) -> float:
        """The inner product of the gradient of the last task probed with the mean gradient of those before it."""
        return float(self.products[-1, :-1].mean())

    def conflict(self) -> float:
        """The share of earlier tasks whose gradient has a negative inner product with that of the last task probed."""
        return float((self.products[-1, :-1] < 0).mean())

    def fault(self) -> str:
        """Describe what does not fit together; empty if nothing."""
        probed = len(self.loss)
        pairs = probed * (probed + 1) // 2
        fits = len(self.ceiling) == probed and all(
            len(each) == pairs for each in (self.inner, *self.layers.values())
        )
        if not fits or probed < self.task + 1:
            return "a probe's numbers of tasks do not fit together"
        numbers = [
            *self.loss,
            *self.ceiling,
            *self.inner,
            *(value for each in self.layers.values() for value in each),
        ]
        return "" if np.isfinite(numbers).all() else "a probe has a number that is not finite"


def triangle(values: list[float], size: int) -> Float[np.ndarray, "size size"]:
    """The symmetric matrix with these numbers on and below its diagonal, row by row."""
    matrix = np.zeros((size, size))
    matrix[np.tril_indices(size)] = values
    return np.asarray(matrix + np.tril(matrix, -1).T)


def rounded(values: Tensor, digits: int = 4) -> list[float]:
    """Numbers of so many significant digits, of which none is negative zero."""
    return [float(f"{value:.{digits}g}") + 0.0 for value in values.tolist()]
