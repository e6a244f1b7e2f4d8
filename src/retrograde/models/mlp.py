"""Multi-layer perceptrons."""

import math
from itertools import pairwise

from torch import nn

from retrograde.models.layers import with_head, xavier


def mlp(
    shape: tuple[int, ...],
    outputs: int,
    *hidden: int,
    normalised: bool = False,
    running: bool = False,
) -> nn.Module:
    """Fully connected ReLU layers; Xavier-uniform weights and zero biases, as GEM, MER and Mammoth start them."""
    sizes = [math.prod(shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, units in pairwise(sizes):
        norm = [nn.BatchNorm1d(units, track_running_stats=running)] if normalised else []
        layers += [xavier(nn.Linear(inputs, units)), *norm, nn.ReLU()]
    return with_head(layers, xavier(nn.Linear(sizes[-1], outputs)))
