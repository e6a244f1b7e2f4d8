"""A multi-layer perceptron with batch normalisation."""

from dataclasses import dataclass

from torch import nn

from retrograde import Model, Sizes

from ._mlp import mlp


@dataclass(frozen=True)
class MLPBN(Model):
    """Layers as in mlp, with batch normalisation before every ReLU: mlpbn-256-128."""

    # The sizes of the hidden layers.
    hidden: Sizes = ()

    def build(self, shape: tuple[int, ...], outputs: int, running: bool) -> nn.Module:
        return mlp(shape, outputs, *self.hidden, normalised=True, running=running)
