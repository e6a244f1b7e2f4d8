"""A mini-batch of examples."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from retrograde.optim import NO_TENSORS, Params


class Batch(NamedTuple):
    """Examples with their labels and tasks.

    Args:
        x: The examples.
        y: Their labels (output units) or, in regression, their values.
        task: The task of each; 0 if the benchmark's `boundaries` are unknown, unless the scenario
            gives the task.
        weight: The weight of each in a loss; 0 for padding.
        kept: What the strategy kept with each of them in memory, such as logits, by name.
    """

    x: Float[Tensor, "row *shape"]
    y: Int64[Tensor, " row"] | Float[Tensor, "row value"]
    task: Int64[Tensor, " row"]
    weight: Float[Tensor, " row"]
    kept: Params = NO_TENSORS

    def at(self, rows: int | slice | Int64[Tensor, " _"]) -> "Batch":
        """The batch of some rows."""
        return self.map(lambda column: column[rows])

    def map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with a function applied to every column."""
        kept = {name: function(column) for name, column in self.kept.items()}
        x, y, task, weight = map(function, self[:4])
        return Batch(x, y, task, weight, kept)

    def concat(self, other: "Batch") -> "Batch":
        """These rows, followed by those of another batch; what was kept is left out."""
        columns = zip(self[:4], other[:4], strict=True)
        x, y, task, weight = (torch.cat(column) for column in columns)
        return Batch(x, y, task, weight)
