"""Sums over the examples of each class, for heads in closed form."""

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn.functional import one_hot

from retrograde.interface.batch import Batch


def class_sums(
    batch: Batch, outputs: int
) -> tuple[Float64[Tensor, "unit feature"], Float64[Tensor, " unit"]]:
    """The sum of the inputs of each class, and the number of its examples.

    Args:
        batch: The examples; each counts by its weight, so that padding counts nothing.
        outputs: The number of output units.
    """
    classes = class_indicators(batch, outputs)
    return classes.T @ batch.x.flatten(1).double(), classes.sum(0)


def class_indicators(batch: Batch, outputs: int) -> Float64[Tensor, "row unit"]:
    """The weight of each example at the output unit of its class, and 0 elsewhere."""
    return one_hot(batch.y, outputs).to(torch.double) * batch.weight[:, None]
