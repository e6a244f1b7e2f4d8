"""A multi-layer perceptron."""

from dataclasses import dataclass

from torch import nn

from retrograde import Model, Sizes

from ._mlp import mlp


@dataclass(frozen=True)
class MLP(Model):
    """Fully connected ReLU layers: mlp-100-100 has two hidden layers of 100 units."""

    # The sizes of the hidden layers.
    hidden: Sizes = ()

    def build(self, shape: tuple[int, ...], outputs: int, running: bool) -> nn.Module:
        return mlp(shape, outputs, *self.hidden)
