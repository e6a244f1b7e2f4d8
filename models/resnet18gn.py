"""ResNet-18 with group normalisation."""

from dataclasses import dataclass

from torch import nn

from retrograde import Model, Size

from ._resnet import WIDTH18, group_norm, resnet18


@dataclass(frozen=True)
class ResNet18GN(Model):
    """ResNet-18 as resnet18, with group normalisation instead (Wu and He 2018): resnet18gn-20.

    Rows do not see each other, and there are no running statistics.
    """

    # The channels of the first stage; each further stage has twice as many.
    width: Size = WIDTH18

    def build(self, shape: tuple[int, ...], outputs: int, running: bool) -> nn.Module:
        return resnet18("resnet18gn", shape, outputs, self.width, group_norm)
