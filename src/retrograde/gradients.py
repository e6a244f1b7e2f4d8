"""Inner products and cosines of gradients, and Simpson's rule."""

import torch
from jaxtyping import Float
from torch import Tensor

from retrograde.optim import Params


def cosine(a: Params, b: Params) -> Float[Tensor, ""]:
    """The cosine of the angle between two gradients, over all parameters together.

    It is 0 if one of the gradients is zero.
    """
    product = dot(a, b)
    square_a = dot(a, a)
    square_b = dot(b, b)
    # Not the root of the product, which overflows or underflows sooner.
    lengths = square_a.sqrt() * square_b.sqrt()
    tiny = torch.finfo(lengths.dtype).tiny
    return torch.where(lengths > 0, product / lengths.clamp(min=tiny), 0.0)


def simpson(
    first: Tensor,
    middle: Tensor,
    last: Tensor,
) -> Tensor:
    """The integral over a unit interval by Simpson's rule; exact for a cubic.

    Args:
        first: values where the interval starts.
        middle: values in its middle.
        last: values where it ends.
    """
    return (first + 4 * middle + last) / 6


def dot(a: Params, b: Params) -> Float[Tensor, ""]:
    """The inner product of two gradients, over all parameters together.

    Example:
        >>> a = {"weight": torch.tensor([1.0, 2.0]), "bias": torch.tensor([3.0])}
        >>> rg.dot(a, a)
        tensor(14.)
    """
    products = [(a[name] * b[name]).sum() for name in a]
    return torch.stack(products).sum()
