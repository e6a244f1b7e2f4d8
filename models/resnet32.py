"""ResNet-32 for CIFAR."""

from dataclasses import dataclass

from torch import nn

from retrograde import Model, Size

from ._resnet import WIDTH32, batch_norm, resnet32


@dataclass(frozen=True)
class ResNet32(Model):
    """ResNet-32 for CIFAR (He et al. 2016, arXiv 1512.03385, section 4.2), as PyCIL has it.

    Three stages of five blocks have 16, 32 and 64 channels; resnet32-8 has half as many. Shortcuts
    to another shape have no parameters (option A: zeros for the new channels). Convolutions start
    with He's normal weights (2015, arXiv 1502.01852).
    """

    # The channels of the first stage; each further stage has twice as many.
    width: Size = WIDTH32

    def build(self, shape: tuple[int, ...], outputs: int, running: bool) -> nn.Module:
        return resnet32("resnet32", shape, outputs, self.width, batch_norm(running))
