"""A mini-batch of examples."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class Batch(NamedTuple):
    """Examples with their labels and tasks.

    Args:
        x: The examples.
        y: Their labels (output units) or, in regression, their values.
        task: The task of each.
        weight: The weight of each in a loss; 0 for padding.
    """

    x: Float[Tensor, "row *shape"]
    y: Int64[Tensor, " row"] | Float[Tensor, "row value"]
    task: Int64[Tensor, " row"]
    weight: Float[Tensor, " row"]

    def at(self, rows: slice | Int64[Tensor, " _"]) -> "Batch":
        """The batch of some rows."""
        return Batch(*(part[rows] for part in self))

    def concat(self, other: "Batch") -> "Batch":
        """These rows, followed by those of another batch."""
        columns = zip(self, other, strict=True)
        return Batch(*(torch.cat(column) for column in columns))
