"""A small convolutional network."""

from dataclasses import dataclass

from torch import nn

from retrograde import Model

from ._layers import check_images, with_head, xavier

WIDTH = 32
"""The number of channels of every block."""


@dataclass(frozen=True)
class Conv(Model):
    """Two blocks of 3 x 3 convolution, ReLU and 2 x 2 max-pooling, then a linear layer."""

    def build(self, shape: tuple[int, ...], outputs: int, running: bool) -> nn.Module:
        check_images("conv", shape, least=4)
        channel, height, breadth = shape
        blocks: list[nn.Module] = []
        for inputs in (channel, WIDTH):
            layer = xavier(nn.Conv2d(inputs, WIDTH, 3, padding=1))
            blocks += [layer, nn.ReLU(), nn.MaxPool2d(2)]
        # Each pooling halves the size, and leaves out an odd last row or column.
        features = WIDTH * (height // 4) * (breadth // 4)
        head = xavier(nn.Linear(features, outputs))
        return with_head([*blocks, nn.Flatten()], head)
