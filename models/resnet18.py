"""ResNet-18 for small images."""

from dataclasses import dataclass

from torch import nn

from retrograde import Model, Size

from ._resnet import WIDTH18, batch_norm, resnet18


@dataclass(frozen=True)
class ResNet18(Model):
    """ResNet-18 for small images (He et al. 2016, arXiv 1512.03385): resnet18-20 is GEM's.

    The first convolution is 3 x 3 of stride 1, without pooling, as Mammoth and Avalanche have it.
    The reduced ResNet-18 of GEM (Lopez-Paz and Ranzato 2017) and of online benchmarks has 20
    channels instead of 64. Batch normalisation keeps running statistics on streams. Convolutions
    start as PyTorch's do.
    """

    # The channels of the first stage; each further stage has twice as many.
    width: Size = WIDTH18

    def build(self, shape: tuple[int, ...], outputs: int, running: bool) -> nn.Module:
        return resnet18("resnet18", shape, outputs, self.width, batch_norm(running))
