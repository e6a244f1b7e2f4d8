"""Calls of a model's layers, in the order in which its forward makes them."""

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import linear

from retrograde.errors import UserError
from retrograde.networks.checks import agree
from retrograde.networks.dropout import key_names


class Call(NamedTuple):
    """One call of a layer during a trial.

    Args:
        name: The name of the layer in the model.
        inputs: Its input.
        outputs: Its output.
    """

    name: str
    inputs: Tensor
    outputs: Tensor


class Trial(NamedTuple):
    """A pass of made-up examples through a model in evaluation mode.

    Args:
        examples: The examples.
        tensors: The tensors of the model; parameters were moved a little, since layers whose
            weights start at 0 would hide what follows them.
        calls: The calls of layers without layers of their own, in their order.
        outputs: The model's outputs.
    """

    examples: Float[Tensor, "row *shape"]
    tensors: dict[str, Tensor]
    calls: list[Call]
    outputs: Tensor


def trial(module: nn.Module, shape: tuple[int, ...], rows: int = 8, largest: float = 1.0) -> Trial:
    """Pass made-up examples through a model, which stays as it is.

    Nothing is drawn at random, so that it works within any `vmap`.

    Args:
        module: The model.
        shape: The shape of one example.
        rows: The number of examples.
        largest: The largest absolute number in them.
    """
    twin = copy.deepcopy(module).eval()
    tensors = {name: moved(value) for name, value in twin.named_parameters()}
    tensors |= dict(twin.named_buffers())
    like = next(iter(tensors.values()), torch.zeros(()))
    numbers = torch.arange(rows * torch.Size(shape).numel(), device=like.device)
    examples = largest * (numbers**1.5).sin().to(like.dtype).reshape(rows, *shape)
    calls: list[Call] = []
    for name, layer in twin.named_modules():
        if _is_layer(name, layer):
            layer.register_forward_hook(_noting(name, calls))
    with torch.no_grad():
        try:
            outputs: object = functional_call(twin, tensors, (examples,))
        except Exception:  # of code that takes numbers from 0 to 1 alone, as an embedding does
            calls.clear()
            examples = examples.abs()
            outputs = functional_call(twin, tensors, (examples,))
    if not isinstance(outputs, Tensor):
        raise UserError(f"A network gives a tensor; this one gave a {type(outputs).__name__}.")
    return Trial(examples, tensors, calls, outputs)


def output_layer(module: nn.Module, shape: tuple[int, ...]) -> str:
    """The name of the layer whose outputs are a model's; empty if none is.

    Args:
        module: The model.
        shape: The shape of one example.
    """
    found = trial(module, shape, rows=2)
    names = [name for name, _, outputs in found.calls if _same(outputs, found.outputs)]
    # A layer without parameters may follow, such as one that flattens.
    prefixes = {name: _parameter(name, "") for name in names}
    trained = [
        name for name in names if any(key.startswith(prefixes[name]) for key in found.tensors)
    ]
    return trained[-1] if trained else ""


def perceptron_layers(module: nn.Module, shape: tuple[int, ...]) -> tuple[str, ...]:
    """The names of the linear layers of a multi-layer perceptron with ReLUs, in their order.

    The model is tried, so that neither its class nor the order in which it names its layers
    matters: it is a perceptron if it computes what these layers do, one after the other.

    Args:
        module: The model.
        shape: The shape of one example.

    Returns:
        The names; empty for any other model.
    """
    found = trial(module, shape)
    names = tuple(call.name for call in _linear_calls(module, found))
    weights = {_parameter(name, "weight") for name in names}
    known = weights | {_parameter(name, "bias") for name in names} | set(key_names(module))
    # A layer that is called twice has two places, and running statistics are no part of a chain.
    if not weights <= found.tensors.keys() <= known or len(weights) < len(names):
        return ()
    if not names or not _is_chain(module, found):
        return ()
    # Other functions than ReLU may differ from it only where numbers are large, as ReLU6 does.
    return names if _is_chain(module, trial(module, shape, largest=LARGEST)) else ()


LARGEST = 1000.0
"""The largest number in the examples of a second trial."""


def _linear_calls(module: nn.Module, found: Trial) -> list[Call]:
    kinds = dict(module.named_modules())
    return [call for call in found.calls if isinstance(kinds[call.name], nn.Linear)]


def _is_chain(module: nn.Module, found: Trial) -> bool:
    """True if each linear layer reads the last one's outputs, through ReLU, and gives the next."""
    x = found.examples.flatten(1)
    for place, (name, inputs, _) in enumerate(_linear_calls(module, found)):
        x = x.relu() if place else x
        # Not only the model's outputs: a large bias would hide differences of what it is added to.
        if not _same(x, inputs):
            return False
        weight = found.tensors[_parameter(name, "weight")]
        x = linear(x, weight, found.tensors.get(_parameter(name, "bias")))
    return _same(x, found.outputs)


_COMPUTED = "parametrizations"
"""The name of what computes a layer's tensors from others, such as weight normalisation."""


def _is_layer(name: str, module: nn.Module) -> bool:
    """True for a module without modules of its own, but for those that compute its tensors."""
    children = {child for child, _ in module.named_children()}
    return children <= {_COMPUTED} and _COMPUTED not in name.split(".")


def _parameter(layer: str, kind: str) -> str:
    return f"{layer}.{kind}" if layer else kind


def _same(one: Tensor, other: Tensor) -> bool:
    """True if outputs are equal but for rounding."""
    return one.shape == other.shape and agree(one, other)


def moved(value: Tensor) -> Tensor:
    """A parameter a little off its value, the same at every call."""
    numbers = torch.arange(value.numel(), device=value.device)
    moves = 0.01 * numbers.sin().to(value.dtype).reshape(value.shape)
    return value.detach() + moves


def _noting(
    name: str, calls: list[Call]
) -> Callable[[nn.Module, tuple[Tensor, ...], object], None]:
    """A hook that adds a call to a list, unless its input or output is no single tensor."""

    def note(_layer: nn.Module, inputs: tuple[Tensor, ...], outputs: object) -> None:
        if isinstance(outputs, Tensor) and inputs:
            # What follows may change its input in place.
            calls.append(Call(name, inputs[0].clone(), outputs.clone()))

    return note
