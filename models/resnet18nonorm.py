"""ResNet-18 without normalisation."""

from dataclasses import dataclass

from torch import nn

from retrograde import Model, Size

from ._resnet import WIDTH18, resnet18


@dataclass(frozen=True)
class ResNet18NoNorm(Model):
    """ResNet-18 as resnet18, without normalisation: resnet18nonorm-20.

    Convolutions have biases and He's normal initial weights (2015, arXiv 1502.01852); the last one
    of every block starts at 0 (Zhang et al. 2019, arXiv 1901.09321).
    """

    # The channels of the first stage; each further stage has twice as many.
    width: Size = WIDTH18

    def build(self, shape: tuple[int, ...], outputs: int, running: bool) -> nn.Module:
        return resnet18("resnet18nonorm", shape, outputs, self.width, None)
