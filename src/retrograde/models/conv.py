"""Small convolutional networks."""

import math

from torch import nn

from retrograde.errors import UserError
from retrograde.models.layers import ChannelsLast, Halving, MeanOverSpace, with_head, xavier


def conv(shape: tuple[int, ...], outputs: int, width: int = 32) -> nn.Module:
    """Two blocks of 3 x 3 convolution, ReLU and 2 x 2 max-pooling, then a linear layer."""
    if len(shape) != 3 or min(shape[1:]) < 4:
        raise UserError(
            f"model=conv needs images of at least 4 x 4 pixels; the examples have shape {shape}."
        )
    channel = shape[0]
    blocks: list[nn.Module] = []
    for inputs in (channel, width):
        blocks += [xavier(nn.Conv2d(inputs, width, 3, padding=1)), nn.ReLU(), nn.MaxPool2d(2)]
    features = width * (shape[1] // 4) * (shape[2] // 4)
    return with_head([*blocks, nn.Flatten()], xavier(nn.Linear(features, outputs)))


def conv4(shape: tuple[int, ...], outputs: int, width: int, running: bool = False) -> nn.Module:
    """MAML's network for Omniglot: four blocks of 3 x 3 convolution of stride 2, batch statistics and ReLU, mean, linear.

    (Finn et al. 2017, section 5.2.) Batches are normalised by their own statistics, in training and, unless it keeps `running`
    ones, at test. The authors' code has no scale after that and adapts the shift in no inner step; here both are parameters
    like all others.
    """
    if len(shape) != 3:
        raise UserError(f"model=conv4-{width} needs images; the examples have shape {shape}.")
    blocks: list[nn.Module] = [ChannelsLast()]
    for inputs in (shape[0], width, width, width):
        blocks += [Halving(inputs, width, running=running), nn.ReLU()]
    return with_head([*blocks, MeanOverSpace()], xavier(nn.Linear(width, outputs)))


def plainconv(shape: tuple[int, ...], outputs: int, width: int) -> nn.Module:
    """Three blocks of 3 x 3 convolution of stride 2 and ReLU, no normalisation; a linear layer on what is at every place."""
    if len(shape) != 3:
        raise UserError(f"model=plainconv-{width} needs images; the examples have shape {shape}.")
    blocks: list[nn.Module] = [ChannelsLast()]
    for inputs in (shape[0], width, width):
        blocks += [Halving(inputs, width, normalised=False), nn.ReLU()]
    places = math.prod(-(-size // 8) for size in shape[1:])
    return with_head([*blocks, nn.Flatten()], xavier(nn.Linear(places * width, outputs)))
