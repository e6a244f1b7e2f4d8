"""Layers of the suite's own models."""

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


class ChannelsLast(nn.Module):
    """(row, channel, height, width) -> (row, height, width, channel)."""

    def forward(self, x: Tensor) -> Tensor:
        """Permute."""
        return x.permute(0, 2, 3, 1)


class MeanOverSpace(nn.Module):
    """(row, height, width, channel) -> (row, channel)."""

    def forward(self, x: Tensor) -> Tensor:
        """Average."""
        return x.mean((1, 2))


class Halving(nn.Module):
    """A 3 x 3 convolution of stride 2, channels last, and batch normalisation or, without it, a bias.

    Written as one matrix product: with a weight of its own for each task, that is faster than a grouped convolution, and its
    second derivative by far.
    """

    def __init__(
        self, inputs: int, outputs: int, normalised: bool = True, running: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(9 * inputs, outputs))
        bound = math.sqrt(
            6 / (9 * inputs + 9 * outputs if normalised else 9 * inputs)
        )  # Xavier's, else He's, of the convolution
        nn.init.uniform_(self.weight, -bound, bound)
        self.norm: nn.Module = (
            nn.BatchNorm1d(outputs, track_running_stats=running) if normalised else Shift(outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(row, height, width, inputs) -> (row, half the height, half the width, outputs), odd sizes rounded up."""
        height, width = ((size + 1) // 2 for size in x.shape[1:3])
        padded = pad(x, (0, 0, 1, 1, 1, 1))
        windows = [
            padded[:, i : i + 2 * height - 1 : 2, j : j + 2 * width - 1 : 2]
            for i in range(3)
            for j in range(3)
        ]
        out: Tensor = self.norm(torch.cat(windows, -1).flatten(0, 2) @ self.weight)
        return out.reshape(len(x), height, width, -1)


class Shift(nn.Module):
    """A bias for each channel, at first 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Add it."""
        return x + self.bias


def with_head(layers: list[nn.Module], head: nn.Module) -> nn.Module:
    """The layers by number, and the last one by name, for methods that treat it apart."""
    return nn.Sequential(
        OrderedDict(
            [*((str(number), layer) for number, layer in enumerate(layers)), ("head", head)]
        )
    )


def xavier(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    """The layer with Xavier's uniform initial weights and a bias of 0."""
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
