"""Models by name or import path: the papers' MLPs, a small conv net, or anybody's `nn.Module`."""

import importlib
import math
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

from retrograde.errors import UserError
from retrograde.registry import load_file


def mlp(shape: tuple[int, ...], outputs: int, *hidden: int) -> nn.Module:
    """Fully connected ReLU layers; Xavier-uniform weights and zero biases, as GEM, MER and Mammoth start them."""
    sizes = [math.prod(shape), *hidden, outputs]
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, units in pairwise(sizes):
        layers += [_xavier(nn.Linear(inputs, units)), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def conv(shape: tuple[int, ...], outputs: int, width: int = 32) -> nn.Module:
    """Two blocks of 3 x 3 convolution, ReLU and 2 x 2 max-pooling, then a linear layer."""
    if len(shape) != 3 or min(shape[1:]) < 4:
        raise UserError(f"model=conv needs images of at least 4 x 4 pixels; the examples have shape {shape}.")
    channel = shape[0]
    blocks: list[nn.Module] = []
    for inputs in (channel, width):
        blocks += [_xavier(nn.Conv2d(inputs, width, 3, padding=1)), nn.ReLU(), nn.MaxPool2d(2)]
    features = width * (shape[1] // 4) * (shape[2] // 4)
    return nn.Sequential(*blocks, nn.Flatten(), _xavier(nn.Linear(features, outputs)))


def _xavier(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def build(spec: str, shape: tuple[int, ...], outputs: int, seed: int) -> nn.Module:
    """A model with initial weights drawn from `seed`: `mlp-100-100`, `conv`, `package.module:attribute`, `FILE.py:attribute`.

    An attribute is called with the shape of one example and the number of outputs, and returns an `nn.Module`.
    """
    make = _maker(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            module = make(shape, outputs)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"model={spec} could not be built for shape {shape} and {outputs} outputs: {error!r}.") from error
    if not isinstance(module, nn.Module):
        raise UserError(f"A model is an nn.Module; model={spec} gave a {type(module).__name__}.")
    return module


def _maker(spec: str) -> Callable[[tuple[int, ...], int], nn.Module]:
    if re.fullmatch(r"mlp(-[1-9]\d*)*", spec):
        hidden = [int(size) for size in spec.split("-")[1:]]
        return lambda shape, outputs: mlp(shape, outputs, *hidden)
    if spec == "conv":
        return conv
    path, colon, attribute = spec.rpartition(":")
    if not colon:
        raise UserError(
            f"A model is mlp-SIZE-SIZE..., conv, package.module:attribute or FILE.py:attribute; model={spec!r} is none of them."
        )
    try:
        module = load_file(Path(path)) if path.endswith(".py") else importlib.import_module(path)
        found: Callable[[tuple[int, ...], int], nn.Module] = getattr(module, attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"model={spec} cannot be imported: {error}.") from error
    return found
