"""A multi-layer perceptron with He's initial weights."""

import math
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from retrograde import Model, Sizes

from ._layers import with_head


@dataclass(frozen=True)
class MLPHe(Model):
    """Layers as in mlp, with He's uniform initial weights: mlphe-100-100-100.

    The variance of a weight is 2 over the number of inputs, and 1 over it in the head (He et al.
    2015, arXiv 1502.01852); biases start at 0. It is the network of the authors of continual
    backprop on permuted MNIST (Dohare et al. 2024, arXiv 2306.13812).
    """

    # The sizes of the hidden layers.
    hidden: Sizes = ()

    def build(self, shape: tuple[int, ...], outputs: int, running: bool) -> nn.Module:
        sizes = [math.prod(shape), *self.hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, units in pairwise(sizes):
            layers += [_he(nn.Linear(inputs, units), math.sqrt(2)), nn.ReLU()]
        return with_head(layers, _he(nn.Linear(sizes[-1], outputs), 1.0))


def _he(layer: nn.Linear, gain: float) -> nn.Linear:
    """The layer with He's initial weights for the gain of the activation after it; bias 0."""
    bound = gain * math.sqrt(3 / layer.in_features)
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.zeros_(layer.bias)
    return layer
