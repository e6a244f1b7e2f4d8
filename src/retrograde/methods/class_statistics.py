"""Sums over the examples of each class, for heads in closed form."""

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

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


def ridge_head(
    inputs: Float64[Tensor, "feature feature"],
    classes: Float64[Tensor, "feature unit"],
    strength: float | Tensor,
) -> Float64[Tensor, "feature unit"]:
    """The head of ridge regression: (X'X + strength I)^-1 X'Y.

    Args:
        inputs: The products X'X of the inputs.
        classes: The products X'Y of the inputs and the classes.
        strength: The penalty on the head's squared length.
    """
    identity = torch.eye(len(inputs), dtype=inputs.dtype).to(inputs)
    head: Tensor = torch.linalg.solve(inputs + strength * identity, classes)
    return head


def class_indicators(batch: Batch, outputs: int) -> Float64[Tensor, "row unit"]:
    """The weight of each example at the output unit of its class, and 0 elsewhere.

    Example:
        >>> from retrograde.testing import toy_batch
        >>> rg.class_indicators(toy_batch(2, y=[0, 2]), 3).tolist()
        [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    units = torch.arange(outputs, device=batch.y.device)
    # `one_hot` looks at its input, which a gradient inside `vmap` does not allow.
    return (batch.y[:, None] == units) * batch.weight[:, None].double()


def class_members(batch: Batch, outputs: int) -> Bool[Tensor, "row unit"]:
    """The class of each example, one-hot; padding has none.

    Example:
        >>> from retrograde.testing import toy_batch
        >>> rg.class_members(toy_batch(2, y=[0, 2]), 3).tolist()
        [[True, False, False], [False, False, True]]
    """
    units = torch.arange(outputs, device=batch.y.device)
    return (batch.y[:, None] == units) & (batch.weight > 0)[:, None]
