"""ResNet-32 with group normalisation."""

from dataclasses import dataclass

from torch import nn

from retrograde import Model, Size

from ._resnet import WIDTH32, group_norm, resnet32


@dataclass(frozen=True)
class ResNet32GN(Model):
    """ResNet-32 as resnet32, with group normalisation instead (Wu and He 2018).

    Rows do not see each other, and there are no running statistics.
    """

    # The channels of the first stage; each further stage has twice as many.
    width: Size = WIDTH32

    def build(self, shape: tuple[int, ...], outputs: int, running: bool) -> nn.Module:
        return resnet32("resnet32gn", shape, outputs, self.width, group_norm)
