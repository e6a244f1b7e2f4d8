"""Functions and classes of other code that build a model, and the arguments that they take."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from retrograde.errors import UserError
from retrograde.networks.model import Model

Builder = Callable[[tuple[int, ...], int], nn.Module]
"""Takes the shape of one example and the number of outputs."""

OTHERS = ("torchvision", "timm", "transformers")
"""Packages whose builders take weights, a number of classes or a configuration first."""

CALLED = (
    "A model is called with the shape of one example, such as (1, 28, 28), "
    "and the number of outputs"
)
_CLASSES = "num_classes"
_NAMES = frozenset({"shape", "outputs"})


def builder(make: object, spec: str) -> Builder:
    """The function that builds a model from a shape and a number of outputs.

    It calls `make(shape, outputs)`, `make(shape=shape, outputs=outputs)` or, if that is what the
    code takes, `make(num_classes=outputs)`. Code of a package is told to load no weights.

    Args:
        make: A function or class.
        spec: The import path that named it.

    Raises:
        UserError: It cannot be called so.
    """
    if not callable(make):
        raise UserError(f"{CALLED}; model={spec} is {make!r:.60}, which cannot be called.")
    if inspect.isclass(make) and issubclass(make, Model):
        raise UserError(
            f"{CALLED}; {make.__name__} of model={spec} is a part, which has a name. "
            "Give its file with --plugin and the file's name without .py as the model, or name a "
            "function or an nn.Module of the file: model=FILE.py:net."
        )
    return _adapted(make, spec)


def _adapted(make: Callable[..., Any], spec: str) -> Builder:
    """The builder that calls a function or class with the arguments that it takes."""
    try:
        signature = inspect.signature(make)
    except ValueError:  # it has no signature: called, it says whether it takes them
        return make
    foreign = _package(make) in OTHERS
    if _takes_classes(signature, foreign) and _binds(signature, **{_CLASSES: 10}):
        of_file = spec.rpartition(":")[0].endswith(".py")
        return _by_classes(make, signature, alone=of_file and not foreign)
    if not foreign and _binds(signature, (1, 28, 28), 10):
        return make
    # Not merely any keywords, which code hands on to other code.
    if signature.parameters.keys() >= _NAMES and _binds(signature, **dict.fromkeys(_NAMES)):
        return lambda shape, outputs: make(shape=shape, outputs=outputs)
    raise UserError(_refusal(signature, spec))


def _package(make: object) -> str:
    return str(getattr(make, "__module__", "")).partition(".")[0]


def _binds(signature: inspect.Signature, *args: object, **kwargs: object) -> bool:
    """True if a call with these arguments is possible."""
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _takes_classes(signature: inspect.Signature, foreign: bool) -> bool:
    """True if a builder is to be called with the number of classes by name.

    A user's own `net(shape, num_classes)` is not; nor is one with any keywords, which the other
    packages hand on to the class of the model.
    """
    kinds = {name: value.kind for name, value in signature.parameters.items()}
    if _CLASSES in kinds:
        return foreign or list(kinds).index(_CLASSES) != 1
    return foreign and inspect.Parameter.VAR_KEYWORD in kinds.values()


def _by_classes(
    make: Callable[..., Any],
    signature: inspect.Signature,
    alone: bool,
) -> Builder:
    """A builder that gives the number of outputs as the number of classes.

    Args:
        make: The function or class.
        signature: Its signature.
        alone: True if it gets no other argument: a user's own file keeps its defaults.
    """
    fixed = {} if alone else _without_weights(signature)
    channels = _package(make) == "timm"

    def build(shape: tuple[int, ...], outputs: int) -> nn.Module:
        # timm's models are for three channels, unless told.
        more = {"in_chans": shape[0]} if channels and len(shape) == 3 and shape[0] != 3 else {}
        module: nn.Module = make(**{_CLASSES: outputs}, **fixed, **more)
        return module

    return build


def _without_weights(signature: inspect.Signature) -> Mapping[str, Any]:
    """The arguments by which a builder of a package loads no weights.

    Builders of segmentation, for one, load those of a backbone unless `weights_backbone` is None.
    """
    names = signature.parameters
    weights = {name: None for name in names if name == "weights" or name.startswith("weights_")}
    return weights | ({"pretrained": False} if "pretrained" in names else {})


def _refusal(signature: inspect.Signature, spec: str) -> str:
    """The error for a builder that cannot be called, with the arguments that it misses."""
    empty = inspect.Parameter.empty
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [
        name
        for name, value in signature.parameters.items()
        if value.default is empty and value.kind not in variable
    ]
    missing = f" (required: {', '.join(required)})" if required else ""
    home, _, name = spec.rpartition(":")
    return (
        f"{CALLED}; {name} of {home} takes other arguments{missing}. "
        "Write a file with a function that calls it, "
        "def net(shape, outputs): return ...(num_classes=outputs), and give model=FILE.py:net."
    )
