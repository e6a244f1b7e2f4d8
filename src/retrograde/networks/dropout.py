"""Dropout whose numbers follow from keys, so that replicates under `vmap` draw their own."""

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from retrograde import randomness
from retrograde.errors import UserError

KEY = "key"
"""The name of the buffer that holds a layer's key."""


class KeyedDropout(nn.Module):
    """Dropout whose mask is a function of a key, as pure functions need it.

    In training mode, a number is 0 with probability `p`, and divided by 1 - p otherwise (Srivastava
    et al. 2014). In evaluation mode nothing changes. The buffer `key` is given anew for every call
    of the model, through `torch.func.functional_call`; the same key gives the same mask.

    Args:
        p: The probability that a number is 0.
        axes: The number of leading axes along which masks differ: 2 if a channel of a row is
            dropped as a whole; None: every number has a mask of its own.
        spatial: The number of axes of space, if an input with just one more axis is one row
            without an axis for rows; 0 if there is none.
    """

    key: Int64[Tensor, ""]

    def __init__(self, p: float, axes: int | None = None, spatial: int = 0) -> None:
        super().__init__()
        self.p = p
        self.axes = axes
        self.spatial = spatial
        # Calls of this layer within one call of the model: each needs a mask of its own.
        self.calls = 0
        # It is no part of the model's weights.
        self.register_buffer(KEY, torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Drop some numbers of a tensor of any shape, rows first."""
        if not self.training:
            return x
        name = str(self.calls) if self.calls else ""
        self.calls += 1
        drawn = randomness.uniform(randomness.named(self.key, name), *self._mask_shape(x))
        # If everything is dropped, the scale does not matter.
        scale = 1 / (1 - self.p) if self.p < 1 else 1.0
        return torch.where(drawn < self.p, 0.0, x * scale)

    def _mask_shape(self, x: Tensor) -> tuple[int, ...]:
        axes = x.dim() if self.axes is None else self.axes
        if self.spatial and x.dim() == self.spatial + 1:
            axes -= 1
        return (*x.shape[:axes], *(1 for _ in x.shape[axes:]))

    def extra_repr(self) -> str:
        """The settings, for `repr`."""
        return f"p={self.p}, axes={self.axes}"


def keyed(module: nn.Module) -> nn.Module:
    """A copy of a module in which the numbers of all dropout layers follow from keys.

    `nn.Dropout`, `Dropout1d`, `Dropout2d`, `Dropout3d` and torchvision's `StochasticDepth` become
    `KeyedDropout`. A layer that stands in several places, or is called several times, gives
    different masks. Parameters and buffers keep their names.

    Raises:
        UserError: Another layer draws random numbers while it trains.
    """
    twin = copy.deepcopy(module)
    _check_layers(twin)
    replacement = _replacement(twin)
    if replacement is not None:
        twin = replacement
    _replace_children(twin)
    if key_names(twin):
        twin.register_forward_pre_hook(_count_calls_anew)
    return twin


def key_names(module: nn.Module) -> list[str]:
    """The names of the buffers that hold keys; none if the module draws no numbers."""
    layers = module.named_modules()
    return [
        f"{name}.{KEY}" if name else KEY
        for name, layer in layers
        if isinstance(layer, KeyedDropout)
    ]


def _count_calls_anew(module: nn.Module, _inputs: object) -> None:
    for layer in module.modules():
        if isinstance(layer, KeyedDropout):
            layer.calls = 0


def _replace_children(module: nn.Module) -> None:
    # A module that stands in several places is visited once, and its children are replaced once.
    for layer in list(module.modules()):
        # Not `named_children`, which leaves out the second place of a layer.
        for name, child in list(layer._modules.items()):  # noqa: SLF001
            replacement = None if child is None else _replacement(child)
            if replacement is not None:
                setattr(layer, name, replacement)


_SPATIAL: Mapping[type[nn.Module], int] = MappingProxyType(
    {nn.Dropout1d: 1, nn.Dropout2d: 0, nn.Dropout3d: 3}
)
"""Layers that drop channels, with the axes of space by which a single row is recognised.

PyTorch takes an input of `Dropout2d` with three axes for rows of one axis of space.
"""


def _replacement(layer: Any) -> nn.Module | None:
    """A layer that does the same with a key; None if it needs none.

    Subclasses may do other things, and stay as they are.
    """
    # Only these have a probability `p`; a layer of an author's own may name anything so.
    is_depth = _path(layer) == "torchvision.ops.stochastic_depth.StochasticDepth"
    if not (type(layer) is nn.Dropout or type(layer) in _SPATIAL or is_depth):
        return None
    probability = float(layer.p)
    # Where nothing is dropped, no numbers need to be drawn.
    if not probability:
        return nn.Identity()
    axes: int | None = None
    if is_depth:
        axes = 1 if layer.mode == "row" else 0
    elif type(layer) in _SPATIAL:
        axes = 2
    new = KeyedDropout(probability, axes=axes, spatial=_SPATIAL.get(type(layer), 0))
    return new.train(layer.training)


def _path(layer: object) -> str:
    return f"{type(layer).__module__}.{type(layer).__qualname__}"


def _check_layers(module: nn.Module) -> None:
    """Raise `UserError` if a layer draws numbers that no key can give."""
    for name, layer in module.named_modules():
        remedy = _remedy(layer)
        if remedy:
            raise UserError(
                "A model that trains draws random numbers in dropout layers alone, whose numbers "
                f"replicates get from their seeds; {name or 'the model'} is "
                f"{type(layer).__name__}, which draws them from the global generator. {remedy}"
            )


def _remedy(layer: nn.Module) -> str:
    """The remedy for a layer that draws random numbers of its own; empty for all others."""
    if isinstance(layer, nn.AlphaDropout | nn.FeatureAlphaDropout) and layer.p:
        return "Use nn.Dropout or nn.Dropout2d."
    if isinstance(layer, nn.RReLU) and layer.lower != layer.upper:
        return "Use nn.LeakyReLU."
    if isinstance(layer, nn.FractionalMaxPool2d | nn.FractionalMaxPool3d):
        return "Use nn.MaxPool2d or nn.MaxPool3d."
    if isinstance(layer, nn.MultiheadAttention | nn.RNNBase) and _dropout_of(layer):
        return "Build it with dropout=0, and put an nn.Dropout behind it."
    if type(layer).__name__ == "DropPath" and getattr(layer, "drop_prob", None):
        return "Build the model with drop_path_rate=0."
    return ""


def _dropout_of(layer: Any) -> float:
    """The share that a layer drops inside its own computation."""
    return float(layer.dropout)
