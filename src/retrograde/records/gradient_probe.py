"""Gradient probes: inner products of the gradients of tasks at the end of a task."""

from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from jaxtyping import Float
from torch import Tensor

from retrograde.records.schema import Cosine, Finite, Whole


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

    def layer_products(self, layer: str) -> Float[np.ndarray, "task task"]:
        """The inner products of gradients with respect to the parameters of one layer."""
        return triangle(self.layers[layer], len(self.loss))

    @property
    def has_next_task(self) -> bool:
        """True if the last task probed is the next one, not trained on yet."""
        return len(self.loss) == self.task + 2

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
