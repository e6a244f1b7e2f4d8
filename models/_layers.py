"""Layers of the suite's own models."""

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from retrograde import UserError


class ChannelsLast(nn.Module):
    """From (row, channel, height, width) to (row, height, width, channel)."""

    def forward(self, x: Tensor) -> Tensor:
        """Move the channels to the end."""
        return x.permute(0, 2, 3, 1)


class MeanOverSpace(nn.Module):
    """The mean of every channel: (row, height, width, channel) to (row, channel)."""

    def forward(self, x: Tensor) -> Tensor:
        """Average over height and width."""
        return x.mean((1, 2))


class Halving(nn.Module):
    """A 3 x 3 convolution of stride 2, channels last, with batch normalisation or a bias.

    It is one matrix product: with a weight of its own for each task, that is faster than a grouped
    convolution, and its second derivative is faster by far.

    Args:
        inputs: The number of input channels.
        outputs: The number of output channels.
        normalised: If True, batch normalisation follows; if False, a bias.
        running: If True, batch normalisation keeps running statistics.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        normalised: bool = True,
        running: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(9 * inputs, outputs))
        # The fans of the convolution: Xavier's bound with normalisation, He's without.
        fans = 9 * inputs + 9 * outputs if normalised else 9 * inputs
        bound = math.sqrt(6 / fans)
        nn.init.uniform_(self.weight, -bound, bound)
        self.norm: nn.Module
        if normalised:
            self.norm = nn.BatchNorm1d(outputs, track_running_stats=running)
        else:
            self.norm = Shift(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and halve the size.

        Args:
            x: A tensor of shape (row, height, width, inputs).

        Returns:
            A tensor of shape (row, height / 2, width / 2, outputs), odd sizes rounded up.
        """
        height, width = ((size + 1) // 2 for size in x.shape[1:3])
        padded = pad(x, (0, 0, 1, 1, 1, 1))
        # Each place of the kernel sees every second pixel.
        rows = [slice(i, i + 2 * height - 1, 2) for i in range(3)]
        columns = [slice(j, j + 2 * width - 1, 2) for j in range(3)]
        windows = [padded[:, row, column] for row in rows for column in columns]
        flat = torch.cat(windows, -1).flatten(0, 2)
        out: Tensor = self.norm(flat @ self.weight)
        return out.reshape(len(x), height, width, -1)


class Shift(nn.Module):
    """A bias for each channel, which starts at 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Add the bias."""
        return x + self.bias


def with_head(layers: list[nn.Module], head: nn.Module) -> nn.Module:
    """A sequence of layers with numbers for names, and a head that has a name of its own."""
    numbered = {str(number): layer for number, layer in enumerate(layers)}
    return nn.Sequential(OrderedDict(numbered, head=head))


def xavier(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    """The layer with Xavier's uniform initial weights and a bias of 0."""
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def check_images(
    name: str,
    shape: tuple[int, ...],
    least: int = 1,
    channels: int = 0,
) -> None:
    """Raise `UserError` if examples are no images, or not those that a network can take.

    Args:
        name: The model's name, as a benchmark writes it.
        shape: The shape of one example.
        least: The least height and width, in pixels.
        channels: The number of channels; 0: any.
    """
    if len(shape) == 3 and min(shape[1:]) >= least and channels in (0, shape[0]):
        return
    size = f" of at least {least} x {least} pixels" if least > 1 else ""
    colours = f" with {channels} channels" if channels else ""
    raise UserError(
        f"model={name} needs images{size}{colours}; the examples have shape {shape}. "
        "Choose a dataset of such images, or model=mlp-100-100, which takes any examples."
    )
