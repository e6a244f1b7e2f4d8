"""ResNet-32 without normalisation."""

from dataclasses import dataclass

from torch import nn

from retrograde import Model, Size

from ._resnet import WIDTH32, resnet32


@dataclass(frozen=True)
class ResNet32NoNorm(Model):
    """ResNet-32 as resnet32, without normalisation.

    Convolutions have biases; the last one of every block starts at 0 (Zhang et al. 2019, arXiv
    1901.09321).
    """

    # The channels of the first stage; each further stage has twice as many.
    width: Size = WIDTH32

    def build(self, shape: tuple[int, ...], outputs: int, running: bool) -> nn.Module:
        return resnet32("resnet32nonorm", shape, outputs, self.width, None)
