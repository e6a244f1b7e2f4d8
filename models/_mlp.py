"""Multi-layer perceptrons."""

import math
from itertools import pairwise

from torch import nn

from ._layers import with_head, xavier


def mlp(
    shape: tuple[int, ...],
    outputs: int,
    *hidden: int,
    normalised: bool = False,
    running: bool = False,
    dropout: float = 0.0,
) -> nn.Module:
    """Fully connected ReLU layers, with Xavier's uniform initial weights and biases of 0.

    The authors of GEM, MER and Mammoth start them so.

    Args:
        shape: The shape of one example.
        outputs: The number of outputs.
        *hidden: The sizes of the hidden layers.
        normalised: If True, batch normalisation comes before every ReLU.
        running: If True, batch normalisation keeps running statistics.
        dropout: The probability that a hidden unit is dropped.
    """
    sizes = [math.prod(shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, units in pairwise(sizes):
        layers.append(xavier(nn.Linear(inputs, units)))
        if normalised:
            layers.append(nn.BatchNorm1d(units, track_running_stats=running))
        layers.append(nn.ReLU())
        if dropout:
            layers.append(nn.Dropout(dropout))
    head = xavier(nn.Linear(sizes[-1], outputs))
    return with_head(layers, head)
