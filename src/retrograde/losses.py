"""Losses of single rows, and their mean."""

from collections.abc import Callable

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy

Losses = Callable[[Tensor, Tensor], Tensor]
"""Maps the model's outputs and the targets to the loss of each row."""


def cross_entropies(
    logits: Float[Tensor, "row unit"],
    y: Int64[Tensor, " row"],
) -> Float[Tensor, " row"]:
    """The cross-entropy of each row, in nats."""
    return cross_entropy(logits, y, reduction="none")


def squared_errors(
    outputs: Float[Tensor, "row value"],
    y: Float[Tensor, "row value"],
) -> Float[Tensor, " row"]:
    """The squared error of each row, averaged over its values.

    Example:
        >>> rg.squared_errors(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]]))
        tensor([2.])
    """
    return ((outputs - y) ** 2).mean(-1)


def losses_of(regression: bool) -> Losses:
    """The losses of a stream: squared errors in regression, else cross-entropies."""
    return squared_errors if regression else cross_entropies


def mean(
    values: Float[Tensor, " row"],
    weight: Float[Tensor, " row"],
) -> Float[Tensor, ""]:
    """The mean over the rows that are not padding; 0 if all are padding.

    Args:
        values: one value per row, such as a loss.
        weight: weight of each row; 0 for padding.

    Example:
        >>> rg.mean(torch.tensor([1.0, 3.0, 50.0]), torch.tensor([1.0, 1.0, 0.0]))
        tensor(2.)
    """
    total = (values * weight).sum()
    # Without the clamp, a batch of padding alone would be 0 / 0.
    return total / weight.sum().clamp(min=1)
