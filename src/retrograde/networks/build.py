"""Models by name or import path."""

import importlib
import importlib.util
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from retrograde.data.torchvision import import_torchvision
from retrograde.errors import UserError, nearest, shown
from retrograde.networks.builders import CALLED, OTHERS, Builder, builder
from retrograde.networks.functional import convolves
from retrograde.networks.model import Model, from_words, inner_name, is_around
from retrograde.networks.weights import load_weights
from retrograde.parts.author_code import guarded
from retrograde.parts.deadline import within
from retrograde.parts.plugins import MODEL, load_file, plugin_modules
from retrograde.parts.registry import is_built_in, loaded, source_of
from retrograde.randomness import seeded

MAX_LAYERS = 1000
"""The largest number of layers in a model's name."""


MAX_NESTED = 4
"""The largest number of models inside each other; each of them may double the whole."""


def build(
    spec: str,
    shape: tuple[int, ...],
    outputs: int,
    seed: int,
    running: bool = False,
    weights: str | Path | None = None,
) -> nn.Module:
    """Build a model with initial weights drawn from a seed, or read from a file.

    Args:
        spec: A name such as `mlp-100-100`, `conv4-64` or `package.module:attribute`. An attribute,
            of a module or of `FILE.py`, is called with the shape of one example and the number of
            outputs, or with `num_classes` alone if that is what it takes, and returns an
            `nn.Module`. Those of torchvision and timm load no weights.
        shape: The shape of one example.
        outputs: The number of output units.
        seed: The seed of the initial weights.
        running: If True, batch normalisation in models that have a name keeps running statistics
            and uses them in evaluation mode, as a stream needs it. If False, it always normalises
            a batch by itself, as MAML does in episodes.
        weights: A file of weights, as `load_weights` takes it; those that it leaves out keep their
            initial values.

    Raises:
        UserError: The model does not exist, cannot be built, or is no module of known shapes; or
            the weights do not fit.
    """
    part = model(spec)
    # Modules draw their initial weights from the global generators, which are put back afterwards.
    with (
        seeded(seed),
        guarded(
            f"model={spec} could not be built for shape {shape} and {outputs} outputs",
            part,
            more=f"{CALLED}.",
        ),
    ):
        module: object = part.build(shape, outputs, running)
        if isinstance(module, nn.Module) and _lazy(module):
            _initialise(module, shape)
    if not isinstance(module, nn.Module):
        raise UserError(f"A model is an nn.Module; model={spec} gave a {type(module).__name__}.")
    if names := _lazy(module):
        raise UserError(
            f"A model's parameters have shapes when an example has passed; those of {names[0]} in "
            f"model={spec} have none: forward never uses it. Remove it, or give it its sizes."
        )
    _check_leaves(module, spec)
    if weights is not None:
        load_weights(module, weights, shape)
    return module


def _check_leaves(module: nn.Module, spec: str) -> None:
    """Raise `UserError` if an attribute is a tensor that was computed from parameters."""
    for name, layer in module.named_modules():
        computed = [key for key, value in vars(layer).items() if _has_history(value)]
        if computed:
            where = f"{name}.{computed[0]}" if name else computed[0]
            raise UserError(
                f"A model computes with its parameters in forward; {where} of model={spec} was "
                "computed from them when it was built. Compute it in forward; in place of "
                "nn.utils.weight_norm, use nn.utils.parametrizations.weight_norm."
            )


def _has_history(value: object) -> bool:
    return isinstance(value, Tensor) and value.grad_fn is not None


def _lazy(module: nn.Module) -> list[str]:
    """The names of parameters and buffers that get their shapes from the first examples."""
    tensors = (*module.named_parameters(), *module.named_buffers())
    return [name for name, value in tensors if is_lazy(value)]


def _initialise(module: nn.Module, shape: tuple[int, ...]) -> None:
    """Give lazy layers their shapes and initial weights, by a pass in evaluation mode.

    In training mode, running statistics would change.
    """
    training = {layer: layer.training for layer in module.modules()}
    module.eval()
    with torch.no_grad():
        module(torch.zeros(2, *shape))
    for layer, mode in training.items():
        layer.training = mode


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

    Models that have a name are measured without memory for their parameters, and so are those of
    torchvision. The activations of one of another import path are not counted.
    """
    if ":" not in spec or _package(spec) in OTHERS:
        # A user's own layers may compute with contents, which a model on this device lacks.
        with suppress(Exception):
            return _measured(spec, shape, outputs)
    try:
        return Extent(_numbers(build(spec, shape, outputs, 0)), 0, 0)
    except Exception:
        return Extent(0, 0, 0)


@cache
def convolutional(
    spec: str,
    shape: tuple[int, ...],
    outputs: int,
) -> bool:
    """True if a model has layers of convolution; False if it cannot be built, as `extent`."""
    make = _on_meta if ":" not in spec else partial(build, seed=0)
    try:
        return convolves(make(spec, shape, outputs))
    except Exception:
        return False


def _on_meta(spec: str, shape: tuple[int, ...], outputs: int) -> nn.Module:
    """A model of tensors that have shapes and no content."""
    with torch.device("meta"):
        return model(spec).build(shape, outputs, True)


def _measured(
    spec: str,
    shape: tuple[int, ...],
    outputs: int,
) -> Extent:
    """The size of a model, of tensors that have shapes and no content."""
    with torch.device("meta"):
        module = _on_meta(spec, shape, outputs).eval()
        activations = _activations(module, shape)
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


@dataclass(frozen=True)
class _Called(Model):
    """A function or class of the user's, which is called with a shape and a number of outputs."""

    make: Builder

    def build(
        self,
        shape: tuple[int, ...],
        outputs: int,
        running: bool,
    ) -> nn.Module:
        return self.make(shape, outputs)


def model(spec: str) -> Model:
    """The model of a name or of an import path, with its sizes.

    Args:
        spec: A name such as `mlp-100-100`, `package.module:attribute` or `FILE.py:attribute`.

    Raises:
        UserError: There is no such model, or its sizes are not possible.

    Example:
        >>> rg.model("mlp-400-400")
        MLP(hidden=(400, 400))
    """
    _check_name(spec)
    cls = _part(spec)
    if cls is not None:
        return from_words(cls, spec)
    if ":" in spec:
        return _Called(_imported(spec))
    names = loaded().names("models")
    raise UserError(
        "A model is NAME-SIZE-SIZE..., package.module:attribute or FILE.py:attribute; "
        f"model={shown(spec)} is none of them. {nearest(spec.partition('-')[0], names)}"
    )


def _part(spec: str) -> type[Model] | None:
    """The class of a model that has a name; None for an import path and for an unknown name."""
    try:
        cls = _named(spec.partition("-")[0], plugin_modules())
    except LookupError:
        return None
    # A path may begin like a name: it is the model's if that is built around another.
    return cls if ":" not in spec or is_around(cls) else None


# A search in every folder and package takes milliseconds, and every replicate asks for its model.
@cache
def _named(name: str, _plugins: tuple[ModuleType, ...]) -> type[Model]:
    """The class of a model's name; raises `LookupError` if there is none, which is not kept.

    Args:
        name: The name.
        _plugins: The loaded plugin files, one of which may have brought the name.
    """
    registry = loaded()
    if not name.isidentifier() or not registry.knows("models", name):
        raise LookupError(name)
    return cast("type[Model]", registry.find("models", name))


def _check_name(spec: str) -> None:
    """Raise `UserError` if a name has too many sizes, or too many models inside each other."""
    inner = spec
    if spec.count("-") <= MAX_LAYERS:
        for _ in range(MAX_NESTED + 1):
            inner = inner and _inner(inner)
    if inner:
        raise UserError(
            f"A model has at most {MAX_NESTED} others inside each other and {MAX_LAYERS} layers; "
            f"model={shown(spec)} has more."
        )


def _inner(spec: str) -> str:
    """The name of the model that a model is built around; empty for most."""
    cls = _part(spec)
    return "" if cls is None else inner_name(cls, spec)


def _imported(spec: str) -> Builder:
    # The last colon counts: a path may have others.
    path, _, attribute = spec.rpartition(":")
    with guarded(f"model={spec} cannot be imported"), within("import", f"model={spec}"):
        module = _module(path)
        # Names that a module computes, as a lazy package does, are no members before.
        make: object = getattr(module, attribute, _ABSENT)
    if make is _ABSENT:
        own = [name for name, value in vars(module).items() if _is_model(value, module.__name__)]
        raise UserError(
            f"A model is FILE.py:NAME or package.module:NAME; {path} has no {attribute!r}. "
            f"{nearest(attribute, own)}"
        )
    return builder(make, spec)


_ABSENT = object()


def _is_model(value: object, module: str) -> bool:
    """True if a member of a module may be meant as a model: a class or a function of its own."""
    return callable(value) and getattr(value, "__module__", "") == module


def _module(path: str) -> ModuleType:
    if path.endswith(".py"):
        return _file(Path(path).resolve())
    if _package(path) == "torchvision":
        import_torchvision()
    return importlib.import_module(path)


def _package(path: str) -> str:
    return path.partition(":")[0].partition(".")[0]


@cache
def _file(path: Path) -> ModuleType:
    """The module of a file, imported once: the replicates that are stacked must be of one class."""
    return load_file(path, MODEL)


def forget_files() -> None:
    """Import files of models anew the next time that they are needed."""
    _file.cache_clear()
    _named.cache_clear()
    extent.cache_clear()
    convolutional.cache_clear()


def is_users_own(spec: str) -> bool:
    """True if a model is neither the suite's own nor that of a known package."""
    return _package(spec) not in OTHERS and model_file(spec) is not None


def names_code(spec: str) -> bool:
    """True if a model is an import path, but for those of known packages."""
    return ":" in spec and _package(spec) not in OTHERS


def model_file(spec: str) -> Path | None:
    """The file of a user's model; None for the suite's own, and for one that cannot be found."""
    try:
        return _file_of(spec)
    except Exception:  # of code that cannot be imported; building the model reports it
        return None


def _file_of(spec: str) -> Path | None:
    cls = _part(spec)
    inner = _inner(spec)
    if cls is not None and not is_built_in(cls):
        return source_of(cls)
    if inner:
        return _file_of(inner)
    path, colon, _ = spec.rpartition(":")
    if not colon:
        return None
    if path.endswith(".py"):
        return Path(path).resolve()
    if _package(path) == "torchvision":
        import_torchvision()
    module = importlib.util.find_spec(path)
    return Path(module.origin) if module and module.origin else None
