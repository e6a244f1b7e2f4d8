"""Small convolutional networks."""

import math

from torch import nn

from retrograde.errors import UserError
from retrograde.models.layers import ChannelsLast, Halving, MeanOverSpace, with_head, xavier


def conv(
    shape: tuple[int, ...],
    outputs: int,
    width: int = 32,
) -> nn.Module:
    """Two blocks of 3 x 3 convolution, ReLU and 2 x 2 max-pooling, then a linear layer."""
    if len(shape) != 3 or min(shape[1:]) < 4:
        raise UserError(
            f"model=conv needs images of at least 4 x 4 pixels; the examples have shape {shape}."
        )
    channel, height, breadth = shape
    blocks: list[nn.Module] = []
    for inputs in (channel, width):
        layer = xavier(nn.Conv2d(inputs, width, 3, padding=1))
        blocks += [layer, nn.ReLU(), nn.MaxPool2d(2)]
    # Each pooling halves the size, and leaves out an odd last row or column.
    features = width * (height // 4) * (breadth // 4)
    head = xavier(nn.Linear(features, outputs))
    return with_head([*blocks, nn.Flatten()], head)


def conv4(
    shape: tuple[int, ...],
    outputs: int,
    width: int,
    running: bool = False,
) -> nn.Module:
    """MAML's network for Omniglot (Finn et al. 2017, section 5.2).

    Four blocks of 3 x 3 convolution of stride 2, batch normalisation and ReLU are followed by the
    mean over space and a linear layer. The authors' code has no scale in its normalisation and
    adapts the shift in no inner step; here both are parameters like all others.

    Args:
        shape: The shape of one example.
        outputs: The number of outputs.
        width: The number of channels of every block.
        running: If True, batches are normalised by running statistics at test; if False, by their
            own, as in training.
    """
    if len(shape) != 3:
        raise UserError(f"model=conv4-{width} needs images; the examples have shape {shape}.")
    blocks: list[nn.Module] = [ChannelsLast()]
    for inputs in (shape[0], width, width, width):
        blocks += [Halving(inputs, width, running=running), nn.ReLU()]
    head = xavier(nn.Linear(width, outputs))
    return with_head([*blocks, MeanOverSpace()], head)


def plainconv(
    shape: tuple[int, ...],
    outputs: int,
    width: int,
) -> nn.Module:
    """Three blocks of 3 x 3 convolution of stride 2 and ReLU, then a linear layer.

    There is no normalisation, and the linear layer sees the channels of every place.
    """
    if len(shape) != 3:
        raise UserError(f"model=plainconv-{width} needs images; the examples have shape {shape}.")
    blocks: list[nn.Module] = [ChannelsLast()]
    for inputs in (shape[0], width, width):
        blocks += [Halving(inputs, width, normalised=False), nn.ReLU()]
    # Each block halves the size and rounds up, three times in all.
    places = math.prod(-(-size // 8) for size in shape[1:])
    head = xavier(nn.Linear(places * width, outputs))
    return with_head([*blocks, nn.Flatten()], head)
