"""Gradient alignment: whether two gradients point the same way."""

import torch
from jaxtyping import Float
from torch import Tensor

from retrograde.optim import Params


def cosine(a: Params, b: Params) -> Float[Tensor, ""]:
    """The cosine of the angle between two gradients, over all parameters together; 0 where one of them vanishes."""
    product, length_a, length_b = (dot(x, y) for x, y in ((a, b), (a, a), (b, b)))
    lengths = (
        length_a.sqrt() * length_b.sqrt()
    )  # not the root of the product, which leaves the range of its type sooner
    return torch.where(
        lengths > 0, product / lengths.clamp(min=torch.finfo(lengths.dtype).tiny), 0.0
    )


def simpson(first: Tensor, middle: Tensor, last: Tensor) -> Tensor:
    """The integral over a unit interval of what has these values at both ends and in the middle; exact for a cubic."""
    return (first + 4 * middle + last) / 6


def dot(a: Params, b: Params) -> Float[Tensor, ""]:
    """The inner product of two gradients, over all parameters together."""
    return torch.stack([(a[name] * b[name]).sum() for name in a]).sum()
