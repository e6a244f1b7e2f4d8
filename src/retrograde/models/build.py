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


GATES = 4
"""Each gate doubles the model."""


def build(
    spec: str, shape: tuple[int, ...], outputs: int, seed: int, running: bool = False
) -> nn.Module:
    """A model such as `mlp-100-100`, `conv4-64` or `package.module:attribute`, with initial weights drawn from `seed`.

    An attribute, of a module or of `FILE.py`, is called with the shape of one example and the number of outputs, and returns
    an `nn.Module`. Batch normalisation in the suite's own models keeps `running` statistics and uses them in evaluation mode,
    as a stream needs it, or always normalises a batch by itself, as MAML does in episodes.
    """
    make = _maker(spec, running)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        with guarded(
            f"model={spec} could not be built for shape {shape} and {outputs} outputs",
            more=f"{_CALLED}.",
        ):
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
        raise UserError(
            f"A model has at most {GATES} gates and {LAYERS} layers; model={shown(spec)} has more."
        )
    if spec.startswith("gated-"):
        inner = _maker(spec.removeprefix("gated-"), running)
        return lambda shape, outputs: gated(inner, shape, outputs)
    if re.fullmatch(r"mlp(bn)?(-[1-9]\d*)*", spec):
        name, *hidden = spec.split("-")
        return lambda shape, outputs: mlp(
            shape, outputs, *map(int, hidden), normalised=name == "mlpbn", running=running
        )
    if re.fullmatch(r"conv4-[1-9]\d*", spec):
        return lambda shape, outputs: conv4(
            shape, outputs, int(spec.removeprefix("conv4-")), running
        )
    if re.fullmatch(r"plainconv-[1-9]\d*", spec):
        return lambda shape, outputs: plainconv(
            shape, outputs, int(spec.removeprefix("plainconv-"))
        )
    if spec == "conv":
        return conv
    path, colon, attribute = spec.rpartition(":")
    if not colon:
        raise UserError(
            "A model is mlp-SIZE-SIZE..., mlpbn-SIZE-SIZE..., conv, conv4-WIDTH, plainconv-WIDTH, gated-MODEL, "
            f"package.module:attribute or FILE.py:attribute; model={shown(spec)} is none of them."
        )
    with guarded(f"model={spec} cannot be imported"), within("import", f"model={spec}"):
        module = (
            _file(Path(path).resolve()) if path.endswith(".py") else importlib.import_module(path)
        )
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
