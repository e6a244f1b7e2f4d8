"""Models by name or import path."""

import importlib
import importlib.util
import inspect
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from retrograde.errors import UserError, shown
from retrograde.models.conv import conv, conv4, plainconv
from retrograde.models.gated import Make, gated
from retrograde.models.mlp import mlp
from retrograde.parts.author_code import guarded
from retrograde.parts.deadline import within
from retrograde.parts.registry import load_file

LAYERS = 1000
"""The largest number of layers in a model's name."""


GATES = 4
"""The largest number of gates in a model's name; each of them doubles the model."""


def build(
    spec: str,
    shape: tuple[int, ...],
    outputs: int,
    seed: int,
    running: bool = False,
) -> nn.Module:
    """Build a model with initial weights drawn from a seed.

    Args:
        spec: A name such as `mlp-100-100`, `conv4-64` or `package.module:attribute`. An attribute,
            of a module or of `FILE.py`, is called with the shape of one example and the number of
            outputs, and returns an `nn.Module`.
        shape: The shape of one example.
        outputs: The number of output units.
        seed: The seed of the initial weights.
        running: If True, batch normalisation in the suite's own models keeps running statistics
            and uses them in evaluation mode, as a stream needs it. If False, it always normalises
            a batch by itself, as MAML does in episodes.

    Raises:
        UserError: The model does not exist, cannot be built, or is no module of known shapes.
    """
    make = _maker(spec, running)
    # Modules draw their initial weights from the global generator, which is put back afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        with guarded(
            f"model={spec} could not be built for shape {shape} and {outputs} outputs",
            more=f"{_CALLED}.",
        ):
            module = make(shape, outputs)
    if not isinstance(module, nn.Module):
        raise UserError(f"A model is an nn.Module; model={spec} gave a {type(module).__name__}.")
    tensors = (*module.parameters(), *module.buffers())
    if any(map(is_lazy, tensors)):
        raise UserError(
            f"A model's parameters have their shapes from the start; model={spec} has lazy layers. "
            "Give them the size of their input, which follows from the shape of one example."
        )
    return module


class Extent(NamedTuple):
    """The size of a model, in numbers.

    Args:
        parameters: The parameters.
        activations: The outputs of all layers for one example.
        widest: The outputs, for one example, of the layer that has the most.
    """

    parameters: int
    activations: int
    widest: int


@cache
def extent(
    spec: str,
    shape: tuple[int, ...],
    outputs: int,
) -> Extent:
    """The size of a model; 0 if it cannot be built, which is for `build` to report.

    The suite's own models are measured without memory for their parameters. The activations of a
    user's model are not counted.
    """
    try:
        if ":" in spec:
            return Extent(_numbers(build(spec, shape, outputs, 0)), 0, 0)
        # Tensors on this device have shapes and no content.
        with torch.device("meta"):
            module = _maker(spec, running=True)(shape, outputs).eval()
            activations = _activations(module, shape)
    except Exception:
        return Extent(0, 0, 0)
    return Extent(_numbers(module), sum(activations), max(activations))


def _activations(module: nn.Module, shape: tuple[int, ...]) -> list[int]:
    """The number of outputs of each layer for one example."""
    counts: list[int] = []
    for layer in module.modules():
        if not list(layer.children()):
            layer.register_forward_hook(lambda _, __, output: counts.append(output.numel()))
    module(torch.empty(1, *shape))
    return counts


def _numbers(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


_CALLED = (
    "A model is called with the shape of one example, such as (1, 28, 28), "
    "and the number of outputs"
)


def _check_callable(make: object, spec: str) -> None:
    """Raise `UserError` if shape and outputs are not the first two arguments of a builder.

    In torchvision's builders, for one, they would be taken for other arguments.
    """
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
            f"{_CALLED}; {spec.rpartition(':')[2]} of {module} takes other arguments. "
            "Write a file with a function that calls it, "
            "def net(shape, outputs): return ...(num_classes=outputs), and give model=FILE.py:net."
        )


_OTHERS = ("torchvision", "timm", "transformers")
"""Packages whose builders take weights, a number of classes or a configuration first."""


def _maker(spec: str, running: bool) -> Make:
    """The function that makes a model, given the shape of one example and the number of outputs."""
    if spec.count("gated-") > GATES or spec.count("-") > LAYERS:
        raise UserError(
            f"A model has at most {GATES} gates and {LAYERS} layers; model={shown(spec)} has more."
        )
    if spec.startswith("gated-"):
        inner = _maker(spec.removeprefix("gated-"), running)
        return lambda shape, outputs: gated(inner, shape, outputs)
    make = _own_maker(spec, running)
    if make is not None:
        return make
    if ":" not in spec:
        raise UserError(
            "A model is mlp-SIZE-SIZE..., mlpbn-SIZE-SIZE..., conv, conv4-WIDTH, plainconv-WIDTH, "
            "gated-MODEL, package.module:attribute or FILE.py:attribute; "
            f"model={shown(spec)} is none of them."
        )
    return _imported_maker(spec)


def _own_maker(spec: str, running: bool) -> Make | None:
    """The maker of one of the suite's own models, gated ones apart; None for other names."""
    # Sizes are parsed by the makers: `build` reports one that is too large for an integer.
    if spec == "conv":
        return conv
    if re.fullmatch(r"mlp(bn)?(-[1-9]\d*)*", spec):
        name, *hidden = spec.split("-")
        normalised = name == "mlpbn"
        return lambda shape, outputs: mlp(
            shape, outputs, *map(int, hidden), normalised=normalised, running=running
        )
    if re.fullmatch(r"conv4-[1-9]\d*", spec):
        width = spec.removeprefix("conv4-")
        return lambda shape, outputs: conv4(shape, outputs, int(width), running)
    if re.fullmatch(r"plainconv-[1-9]\d*", spec):
        width = spec.removeprefix("plainconv-")
        return lambda shape, outputs: plainconv(shape, outputs, int(width))
    return None


def _imported_maker(spec: str) -> Make:
    # The last colon counts: a path may have others.
    path, _, attribute = spec.rpartition(":")
    with guarded(f"model={spec} cannot be imported"), within("import", f"model={spec}"):
        make: Make = getattr(_module(path), attribute)
    _check_callable(make, spec)
    return make


def _module(path: str) -> ModuleType:
    if path.endswith(".py"):
        return _file(Path(path).resolve())
    return importlib.import_module(path)


@cache
def _file(path: Path) -> ModuleType:
    """The module of a file, imported once: the replicates that are stacked must be of one class."""
    return load_file(path)


def forget_files() -> None:
    """Import files of models anew the next time that they are needed."""
    _file.cache_clear()


def model_file(spec: str) -> Path | None:
    """The file of a user's model; None for the suite's own, and for one that cannot be found."""
    while spec.startswith("gated-"):
        spec = spec.removeprefix("gated-")
    path, colon, _ = spec.rpartition(":")
    if not colon:
        return None
    if path.endswith(".py"):
        return Path(path).resolve()
    try:
        module = importlib.util.find_spec(path)
    except Exception:  # of a package that cannot be imported; building the model reports it
        return None
    return Path(module.origin) if module and module.origin else None
