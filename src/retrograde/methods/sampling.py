"""Random samples of a batch that may have padding."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def shuffled_rows(
    random: Float[Tensor, " row"],
    weight: Float[Tensor, " row"],
) -> Int64[Tensor, " row"]:
    """The numbers of all rows in random order, those of padding last.

    Args:
        random: A random number below 1 for each row, as `Net.uniform` draws them.
        weight: The weight of each row; 0 for padding.
    """
    return torch.where(weight > 0, random, 2.0).argsort()
