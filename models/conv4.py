"""MAML's network for images."""

from dataclasses import dataclass

from torch import nn

from retrograde import Model, Size

from ._layers import ChannelsLast, Halving, MeanOverSpace, check_images, with_head, xavier


@dataclass(frozen=True)
class Conv4(Model):
    """MAML's network for Omniglot (Finn et al. 2017, 5.2): conv4-64 has 64 channels.

    Four blocks of 3 x 3 convolution of stride 2, batch normalisation and ReLU are followed by the
    mean over space and a linear layer. The authors' code has no scale in its normalisation and
    adapts the shift in no inner step; here both are parameters like all others.
    """

    # The number of channels of every block.
    width: Size

    def build(self, shape: tuple[int, ...], outputs: int, running: bool) -> nn.Module:
        check_images(f"conv4-{self.width}", shape)
        blocks: list[nn.Module] = [ChannelsLast()]
        for inputs in (shape[0], self.width, self.width, self.width):
            blocks += [Halving(inputs, self.width, running=running), nn.ReLU()]
        head = xavier(nn.Linear(self.width, outputs))
        return with_head([*blocks, MeanOverSpace()], head)
