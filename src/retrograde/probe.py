"""What a look at the gradients leaves: how those of different tasks lie to one another, and to the step that was taken."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Probe:
    """One look, at the end of a task or amid it, at the loss of the tasks so far and, at a task's end, of the next one.

    Loss and gradient are of the cross-entropy of the model's outputs, on the same test examples of a task at every look:
    `Benchmark.probe` of them. Cosines have four decimals, the other numbers four significant digits.
    """

    task: int  # the one in training, from 0
    step: int  # steps so far, of the whole stream
    ended: bool  # whether the task ends here
    loss: list[float]  # of each task looked at, from task 0 on
    norm: list[float]  # likewise, the length of the gradient
    cosine: list[float]  # between the gradients of two tasks, over all parameters: the triangle below the diagonal, row by row
    layers: dict[str, list[float]] = field(default_factory=dict)  # the same by layer; at the end of the stream only
    update: list[float] = field(default_factory=list)
    """For each task before `task`: minus the cosine between the step since the last look and its gradient. 1: straight down."""
    predicted: list[float] = field(default_factory=list)
    """Likewise, that step times that gradient: by how much the loss changes to first order."""

    @property
    def cosines(self) -> Float[np.ndarray, "task task"]:
        """The whole matrix of cosines; its diagonal is 1."""
        return triangle(self.cosine, len(self.loss))

    @property
    def arrival(self) -> bool:
        """Whether the task last looked at is the next one, not trained on yet."""
        return self.ended and len(self.loss) == self.task + 2

    def among(self) -> float:
        """The mean cosine between two tasks of those up to the one in training; it takes two."""
        return float(np.mean(self.cosine[: self.task * (self.task + 1) // 2]))

    def arriving(self) -> float:
        """The cosine between the gradient of the task last looked at and the mean gradient of those before it.

        0 where one of them vanishes. It is made from rounded cosines, and so are conflicts, which -0.00004 is none of.
        """
        norm = np.array(self.norm)
        gram = self.cosines * np.outer(norm, norm)
        length = norm[-1] * np.sqrt(max(gram[:-1, :-1].sum(), 0.0))
        return float(gram[-1, :-1].sum() / length) if length > 0 else 0.0

    def conflict(self) -> float:
        """The share of earlier tasks whose gradient has a negative inner product with that of the task last looked at."""
        return float((self.cosines[-1, :-1] < 0).mean())

    def fault(self) -> str:
        """What does not fit together, or nothing."""
        looked = len(self.loss)
        pairs = looked * (looked - 1) // 2
        sizes = {len(self.norm) == looked, *(len(each) == pairs for each in (self.cosine, *self.layers.values()))}
        sizes |= {len(each) in (0, self.task) for each in (self.update, self.predicted)}
        return "" if sizes == {True} and looked >= self.task + 1 else "a probe's numbers of tasks do not fit together"


def triangle(below: list[float], size: int) -> Float[np.ndarray, "size size"]:
    """The symmetric matrix of ones on its diagonal, and this below it, row by row."""
    matrix = np.eye(size)
    matrix[np.tril_indices(size, -1)] = below
    return np.asarray(matrix + np.tril(matrix, -1).T)


def rounded(values: Tensor) -> list[float]:
    """As numbers of four significant digits, of which none is negative zero."""
    return [float(f"{value:.4g}") + 0.0 for value in values.tolist()]
