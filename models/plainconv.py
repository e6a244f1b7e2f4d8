"""A convolutional network without normalisation."""

import math
from dataclasses import dataclass

from torch import nn

from retrograde import Model, Size

from ._layers import ChannelsLast, Halving, check_images, with_head, xavier


@dataclass(frozen=True)
class PlainConv(Model):
    """Three convolutions without normalisation: plainconv-32 has 32 channels.

    Each is 3 x 3, of stride 2, and has a ReLU. A linear layer follows, which sees the channels of
    every place.
    """

    # The number of channels of every block.
    width: Size

    def build(self, shape: tuple[int, ...], outputs: int, running: bool) -> nn.Module:
        check_images(f"plainconv-{self.width}", shape)
        blocks: list[nn.Module] = [ChannelsLast()]
        for inputs in (shape[0], self.width, self.width):
            blocks += [Halving(inputs, self.width, normalised=False), nn.ReLU()]
        # Each block halves the size and rounds up, three times in all.
        places = math.prod(-(-size // 8) for size in shape[1:])
        head = xavier(nn.Linear(places * self.width, outputs))
        return with_head([*blocks, nn.Flatten()], head)
