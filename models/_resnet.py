"""Residual networks for small images (He et al. 2016, arXiv 1512.03385)."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ._layers import check_images

MAX_GROUPS = 32
"""The most groups of group normalisation (Wu and He 2018, arXiv 1803.08494, section 4)."""
WIDTH18 = 64
"""The channels of the first stage of a ResNet-18, unless others are given."""
WIDTH32 = 16
"""The channels of the first stage of a ResNet-32, unless others are given."""

Norm = Callable[[int], nn.Module]
"""Makes a normalisation for a number of channels."""


@dataclass(frozen=True)
class Layers:
    """The kinds of layers of a residual network.

    Args:
        norm: The normalisation; None: there is none. Convolutions then have biases, and the last
            one of every block starts at 0, so that a block starts as its shortcut (Zhang et al.
            2019, arXiv 1901.09321); else the variance would double with every block.
        normal: If True, convolutions start as He et al. 2015 (arXiv 1502.01852, equation 14) have
            them, and torchvision's ResNets: normal, with variance 2 / (9 x output channels). If
            False, as PyTorch's convolutions do: uniform, with variance 1 / (27 x input channels).
        projected: If True, a shortcut to another shape is a 1 x 1 convolution (option B of He et
            al. 2016); if False, every second pixel, with zeros for the new channels (option A).
    """

    norm: Norm | None
    normal: bool
    projected: bool

    def convolution(
        self,
        inputs: int,
        outputs: int,
        stride: int = 1,
        kernel: int = 3,
    ) -> nn.Conv2d:
        """A convolution that keeps the size, or halves it with stride 2 and rounds up."""
        layer = nn.Conv2d(
            inputs, outputs, kernel, stride, padding=kernel // 2, bias=self.norm is None
        )
        # Without normalisation, PyTorch's start would lose the signal.
        if self.normal or self.norm is None:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        return layer

    def last_convolution(self, channels: int) -> nn.Conv2d:
        """The last convolution of a block."""
        layer = self.convolution(channels, channels)
        if self.norm is None:
            nn.init.zeros_(layer.weight)
        return layer

    def normalisation(self, channels: int) -> nn.Module:
        """A normalisation; the identity if there is none."""
        return self.norm(channels) if self.norm else nn.Identity()

    def shortcut(
        self,
        inputs: int,
        outputs: int,
        stride: int,
    ) -> nn.Module:
        """The path around a block; the identity if its shape stays."""
        if stride == 1 and inputs == outputs:
            return nn.Identity()
        if not self.projected:
            return Subsampled(stride, outputs - inputs)
        convolution = self.convolution(inputs, outputs, stride, kernel=1)
        return nn.Sequential(convolution, self.normalisation(outputs))


class Subsampled(nn.Module):
    """A shortcut without parameters: every n-th pixel, and new channels of zeros."""

    def __init__(self, stride: int, added: int) -> None:
        super().__init__()
        self.stride = stride
        self.added = added

    def forward(self, x: Tensor) -> Tensor:
        """Take every n-th pixel of (row, channel, height, width), and add channels."""
        chosen = x[:, :, :: self.stride, :: self.stride]
        return pad(chosen, (0, 0, 0, 0, 0, self.added))


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut around them."""

    def __init__(
        self,
        layers: Layers,
        inputs: int,
        outputs: int,
        stride: int,
    ) -> None:
        super().__init__()
        self.conv1 = layers.convolution(inputs, outputs, stride)
        self.norm1 = layers.normalisation(outputs)
        self.conv2 = layers.last_convolution(outputs)
        self.norm2 = layers.normalisation(outputs)
        self.shortcut = layers.shortcut(inputs, outputs, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Add the shortcut to the two convolutions."""
        inner = self.relu(self.norm1(self.conv1(x)))
        residual = self.norm2(self.conv2(inner))
        out: Tensor = self.relu(residual + self.shortcut(x))
        return out


def batch_norm(running: bool) -> Norm:
    """Batch normalisation; if `running` is True, with running statistics."""
    return lambda channels: nn.BatchNorm2d(channels, track_running_stats=running)


def group_norm(channels: int) -> nn.Module:
    """Group normalisation with as many groups as leave two channels or more in each, at most 32.

    A group of one channel would lose the channel's mean over the image.
    """
    possible = range(1, min(MAX_GROUPS, channels // 2) + 1)
    groups = max((count for count in possible if channels % count == 0), default=1)
    return nn.GroupNorm(groups, channels)


def resnet18(
    name: str,
    shape: tuple[int, ...],
    outputs: int,
    width: int,
    norm: Norm | None,
) -> nn.Module:
    """ResNet-18 as GEM, Mammoth and Avalanche have it for CIFAR, with their initial weights.

    Four stages of two blocks have 1x, 2x, 4x and 8x the width; shortcuts are of option B.

    Args:
        name: The model's name without the width, for errors.
        shape: The shape of one example.
        outputs: The number of outputs.
        width: The channels of the first stage.
        norm: The normalisation; None: there is none.

    Raises:
        UserError: The examples are no images, or are smaller than 8 x 8 pixels.
    """
    check_images(_spelt(name, width, WIDTH18), shape, least=8)
    layers = Layers(norm, normal=False, projected=True)
    return _resnet(layers, shape, outputs, [width, 2 * width, 4 * width, 8 * width], blocks=2)


def resnet32(
    name: str,
    shape: tuple[int, ...],
    outputs: int,
    width: int,
    norm: Norm | None,
) -> nn.Module:
    """ResNet-32 for CIFAR (He et al. 2016, 4.2), as in PyCIL's iCaRL.

    Three stages of five blocks have 1x, 2x and 4x the width; shortcuts are of option A.

    Args:
        name: The model's name without the width, for errors.
        shape: The shape of one example.
        outputs: The number of outputs.
        width: The channels of the first stage.
        norm: The normalisation; None: there is none.

    Raises:
        UserError: The examples are no images, or are smaller than 4 x 4 pixels.
    """
    check_images(_spelt(name, width, WIDTH32), shape, least=4)
    layers = Layers(norm, normal=True, projected=False)
    return _resnet(layers, shape, outputs, [width, 2 * width, 4 * width], blocks=5)


def _spelt(name: str, width: int, default: int) -> str:
    """The name of a model as a benchmark writes it."""
    return name if width == default else f"{name}-{width}"


def _resnet(
    layers: Layers,
    shape: tuple[int, ...],
    outputs: int,
    widths: list[int],
    blocks: int,
) -> nn.Module:
    """A 3 x 3 convolution of stride 1, stages of blocks, the mean over space and a linear layer.

    There is no pooling before the stages, as images of 32 x 32 pixels need it.
    """
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    modules["conv"] = layers.convolution(shape[0], widths[0])
    modules["norm"] = layers.normalisation(widths[0])
    modules["relu"] = nn.ReLU()
    for number, (inputs, width) in enumerate(pairwise([widths[0], *widths]), start=1):
        # All stages but the first one halve the size.
        first = Block(layers, inputs, width, stride=1 if number == 1 else 2)
        others = (Block(layers, width, width, stride=1) for _ in range(blocks - 1))
        modules[f"stage{number}"] = nn.Sequential(first, *others)
    modules["mean"] = MeanOverImage()
    modules["head"] = nn.Linear(widths[-1], outputs)
    return nn.Sequential(modules)


class MeanOverImage(nn.Module):
    """The mean of every channel: (row, channel, height, width) to (row, channel)."""

    def forward(self, x: Tensor) -> Tensor:
        """Average over height and width."""
        return torch.mean(x, (2, 3))
