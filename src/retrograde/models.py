"""Models by name or import path: the papers' MLPs, a small conv net, or anybody's `nn.Module`."""

import importlib
import importlib.util
import inspect
import math
import re
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.parameter import is_lazy

from retrograde.authors import guarded
from retrograde.deadline import within
from retrograde.errors import UserError, shown
from retrograde.net import HEAD, headless
from retrograde.registry import load_file

LAYERS = 1000
GATES = 4
"""Each gate doubles the model."""


def mlp(shape: tuple[int, ...], outputs: int, *hidden: int, normalised: bool = False, running: bool = False) -> nn.Module:
    """Fully connected ReLU layers; Xavier-uniform weights and zero biases, as GEM, MER and Mammoth start them."""
    sizes = [math.prod(shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, units in pairwise(sizes):
        norm = [nn.BatchNorm1d(units, track_running_stats=running)] if normalised else []
        layers += [_xavier(nn.Linear(inputs, units)), *norm, nn.ReLU()]
    return _with_head(layers, _xavier(nn.Linear(sizes[-1], outputs)))


def conv(shape: tuple[int, ...], outputs: int, width: int = 32) -> nn.Module:
    """Two blocks of 3 x 3 convolution, ReLU and 2 x 2 max-pooling, then a linear layer."""
    if len(shape) != 3 or min(shape[1:]) < 4:
        raise UserError(f"model=conv needs images of at least 4 x 4 pixels; the examples have shape {shape}.")
    channel = shape[0]
    blocks: list[nn.Module] = []
    for inputs in (channel, width):
        blocks += [_xavier(nn.Conv2d(inputs, width, 3, padding=1)), nn.ReLU(), nn.MaxPool2d(2)]
    features = width * (shape[1] // 4) * (shape[2] // 4)
    return _with_head([*blocks, nn.Flatten()], _xavier(nn.Linear(features, outputs)))


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
    return _with_head([*blocks, MeanOverSpace()], _xavier(nn.Linear(width, outputs)))


def plainconv(shape: tuple[int, ...], outputs: int, width: int) -> nn.Module:
    """Three blocks of 3 x 3 convolution of stride 2 and ReLU, no normalisation; a linear layer on what is at every place."""
    if len(shape) != 3:
        raise UserError(f"model=plainconv-{width} needs images; the examples have shape {shape}.")
    blocks: list[nn.Module] = [ChannelsLast()]
    for inputs in (shape[0], width, width):
        blocks += [Halving(inputs, width, normalised=False), nn.ReLU()]
    places = math.prod(-(-size // 8) for size in shape[1:])
    return _with_head([*blocks, nn.Flatten()], _xavier(nn.Linear(places * width, outputs)))


Make = Callable[[tuple[int, ...], int], nn.Module]


class Gated(nn.Module):
    """Features times a gate for each, between 0 and 1, which another network opens (Beaulieu et al. 2020: neuromodulation)."""

    def __init__(self, body: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.body, self.gate = body, gate

    def forward(self, x: Tensor) -> Tensor:
        """Multiply."""
        return torch.as_tensor(self.body(x) * self.gate(x).sigmoid())


def gated(make: Make, shape: tuple[int, ...], outputs: int) -> nn.Module:
    """A model whose features are gated by another of its kind; the modules are `gated.body`, `gated.gate` and `head`."""
    model = make(shape, outputs)
    body, head = headless(model), getattr(model, HEAD, None)
    if body is None or not isinstance(head, nn.Linear):
        raise UserError("A gated model is one with a linear layer named head. Give such as model=gated-plainconv-32.")
    return nn.Sequential(OrderedDict(gated=Gated(body, make(shape, head.in_features)), head=head))


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

    def __init__(self, inputs: int, outputs: int, normalised: bool = True, running: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(9 * inputs, outputs))
        bound = math.sqrt(
            6 / (9 * inputs + 9 * outputs if normalised else 9 * inputs)
        )  # Xavier's, else He's, of the convolution
        nn.init.uniform_(self.weight, -bound, bound)
        self.norm: nn.Module = nn.BatchNorm1d(outputs, track_running_stats=running) if normalised else Shift(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(row, height, width, inputs) -> (row, half the height, half the width, outputs), odd sizes rounded up."""
        height, width = ((size + 1) // 2 for size in x.shape[1:3])
        padded = pad(x, (0, 0, 1, 1, 1, 1))
        windows = [padded[:, i : i + 2 * height - 1 : 2, j : j + 2 * width - 1 : 2] for i in range(3) for j in range(3)]
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


def _with_head(layers: list[nn.Module], head: nn.Module) -> nn.Module:
    """The layers by number, and the last one by name, for methods that treat it apart."""
    return nn.Sequential(OrderedDict([*((str(number), layer) for number, layer in enumerate(layers)), ("head", head)]))


def _xavier(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def build(spec: str, shape: tuple[int, ...], outputs: int, seed: int, running: bool = False) -> nn.Module:
    """A model such as `mlp-100-100`, `conv4-64` or `package.module:attribute`, with initial weights drawn from `seed`.

    An attribute, of a module or of `FILE.py`, is called with the shape of one example and the number of outputs, and returns
    an `nn.Module`. Batch normalisation in the suite's own models keeps `running` statistics and uses them in evaluation mode,
    as a stream needs it, or always normalises a batch by itself, as MAML does in episodes.
    """
    make = _maker(spec, running)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        with guarded(f"model={spec} could not be built for shape {shape} and {outputs} outputs", more=f"{_CALLED}."):
            module = make(shape, outputs)
    if not isinstance(module, nn.Module):
        raise UserError(f"A model is an nn.Module; model={spec} gave a {type(module).__name__}.")
    if any(is_lazy(each) for each in (*module.parameters(), *module.buffers())):
        raise UserError(
            f"A model's parameters have their shapes from the start; model={spec} has lazy layers. Give them the size of their "
            "input, which follows from the shape of one example."
        )
    return module


class Extent(NamedTuple):
    """The numbers in a model: its parameters, and what its layers give for one example."""

    parameters: int
    activations: int
    widest: int  # of the layer that gives the most


@cache
def extent(spec: str, shape: tuple[int, ...], outputs: int) -> Extent:
    """The size of a model, for which the suite's own need no memory; 0 where it cannot be built, as `build` will say.

    Of a user's model the parameters alone are counted.
    """
    try:
        if ":" in spec:
            return Extent(_numbers(build(spec, shape, outputs, 0)), 0, 0)
        with torch.device("meta"):
            module = _maker(spec, running=True)(shape, outputs).eval()
            given: list[int] = []
            for layer in module.modules():
                if not list(layer.children()):
                    layer.register_forward_hook(lambda _, __, output: given.append(output.numel()))
            module(torch.empty(1, *shape))
    except Exception:
        return Extent(0, 0, 0)
    return Extent(_numbers(module), sum(given), max(given))


def _numbers(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


_CALLED = "A model is called with the shape of one example, such as (1, 28, 28), and the number of outputs"


def _check_callable(make: object, spec: str) -> None:
    """Raise `UserError` where the shape and the outputs would go in as other arguments, as in torchvision's builders."""
    if not callable(make):
        raise UserError(f"{_CALLED}; model={spec} is {make!r:.60}, which cannot be called.")
    module = str(getattr(make, "__module__", ""))
    try:
        inspect.signature(make).bind((1, 28, 28), 10)
        fits = module.partition(".")[0] not in _OTHERS
    except TypeError:
        fits = False
    except ValueError:  # it has no signature: called, it says whether it takes them
        fits = True
    if not fits:
        raise UserError(
            f"{_CALLED}; {spec.rpartition(':')[2]} of {module} takes other arguments. Write a file with a function that calls "
            "it, def net(shape, outputs): return ...(num_classes=outputs), and give model=FILE.py:net."
        )


_OTHERS = ("torchvision", "timm", "transformers")
"""Packages whose classes and builders take other arguments first: weights, the number of classes, a configuration."""


def _maker(spec: str, running: bool) -> Make:
    if spec.count("gated-") > GATES or spec.count("-") > LAYERS:
        raise UserError(f"A model has at most {GATES} gates and {LAYERS} layers; model={shown(spec)} has more.")
    if spec.startswith("gated-"):
        inner = _maker(spec.removeprefix("gated-"), running)
        return lambda shape, outputs: gated(inner, shape, outputs)
    if re.fullmatch(r"mlp(bn)?(-[1-9]\d*)*", spec):
        name, *hidden = spec.split("-")
        return lambda shape, outputs: mlp(shape, outputs, *map(int, hidden), normalised=name == "mlpbn", running=running)
    if re.fullmatch(r"conv4-[1-9]\d*", spec):
        return lambda shape, outputs: conv4(shape, outputs, int(spec.removeprefix("conv4-")), running)
    if re.fullmatch(r"plainconv-[1-9]\d*", spec):
        return lambda shape, outputs: plainconv(shape, outputs, int(spec.removeprefix("plainconv-")))
    if spec == "conv":
        return conv
    path, colon, attribute = spec.rpartition(":")
    if not colon:
        raise UserError(
            "A model is mlp-SIZE-SIZE..., mlpbn-SIZE-SIZE..., conv, conv4-WIDTH, plainconv-WIDTH, gated-MODEL, "
            f"package.module:attribute or FILE.py:attribute; model={shown(spec)} is none of them."
        )
    with guarded(f"model={spec} cannot be imported"), within("import", f"model={spec}"):
        module = _file(Path(path).resolve()) if path.endswith(".py") else importlib.import_module(path)
        found: Make = getattr(module, attribute)
    _check_callable(found, spec)
    return found


@cache
def _file(path: Path) -> ModuleType:
    """A file of models, imported once: replicates are stacked, and so must be of one class."""
    return load_file(path)


def forget_files() -> None:
    """Import files of models anew when they are next asked for."""
    _file.cache_clear()


def model_file(spec: str) -> Path | None:
    """The file in which a model is written; none for the suite's own, and for what cannot be found."""
    while spec.startswith("gated-"):
        spec = spec.removeprefix("gated-")
    path, colon, _ = spec.rpartition(":")
    if not colon:
        return None
    if path.endswith(".py"):
        return Path(path).resolve()
    try:
        found = importlib.util.find_spec(path)
    except Exception:  # of a package that cannot be imported; building the model says so
        return None
    return Path(found.origin) if found and found.origin else None
