"""A mini-batch of examples."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class Batch(NamedTuple):
    """Examples with their output units (or, in regression, values) and tasks; `weight` is 0 where a row is padding."""

    x: Float[Tensor, "row *shape"]
    y: Int64[Tensor, " row"] | Float[Tensor, "row value"]
    task: Int64[Tensor, " row"]
    weight: Float[Tensor, " row"]

    def at(self, rows: slice | Int64[Tensor, " _"]) -> "Batch":
        """Some of its rows."""
        return Batch(*(part[rows] for part in self))

    def beside(self, other: "Batch") -> "Batch":
        """Its rows, then those of another."""
        return Batch(*(torch.cat(parts) for parts in zip(self, other, strict=True)))
