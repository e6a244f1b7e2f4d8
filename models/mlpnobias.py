"""A multi-layer perceptron without biases."""

import math
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from retrograde import Model, Sizes

from ._layers import with_head


@dataclass(frozen=True)
class MLPNoBias(Model):
    """Layers as in mlp, without biases and with PyTorch's initial weights: mlpnobias-100-100.

    It is the network of GPM's authors on permuted MNIST (Saha et al. 2021, arXiv 2103.09762).
    """

    # The sizes of the hidden layers.
    hidden: Sizes = ()

    def build(self, shape: tuple[int, ...], outputs: int, running: bool) -> nn.Module:
        sizes = [math.prod(shape), *self.hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, units in pairwise(sizes):
            layers += [nn.Linear(inputs, units, bias=False), nn.ReLU()]
        return with_head(layers, nn.Linear(sizes[-1], outputs, bias=False))
