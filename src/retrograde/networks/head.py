"""The head of a model: the module that gives its outputs."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

HEAD = "head"
"""The name of the module that gives a model's outputs, for methods that treat it apart."""


def of_head(name: str) -> bool:
    """True if a parameter of this name belongs to the head."""
    return name.startswith(f"{HEAD}.")


def headless(module: nn.Module) -> nn.Module | None:
    """A copy of the module without its head, which gives the features; None if it has no head."""
    if not isinstance(getattr(module, HEAD, None), nn.Module):
        return None
    twin = copy.deepcopy(module)
    setattr(twin, HEAD, nn.Identity())
    return twin


def has_features(module: nn.Module, x: Float[Tensor, "row *shape"]) -> bool:
    """True if a module's head gives its outputs, so that the input of the head are its features.

    A forward that goes on after its head, or reads it several times, has other features than the
    module without a head gives.

    Args:
        module: The module.
        x: Some examples.
    """
    body = headless(module)
    if body is None:
        return False
    twin = copy.deepcopy(module).eval()
    calls: list[tuple[Tensor, ...]] = []
    head = twin.get_submodule(HEAD)
    # What follows may change the outputs in place.
    head.register_forward_hook(
        lambda _, inputs, outputs: calls.append((*inputs[:1], outputs.clone()))
    )
    with torch.no_grad():
        given: object = twin(x)
        # A head that is called by keyword, or never, has no such input.
        if [len(call) for call in calls] != [2] or not isinstance(given, Tensor):
            return False
        features, outputs = calls[0]
        try:
            found: object = body.eval()(x)
        except Exception:  # of code that needs the head's outputs
            return False
    follows = isinstance(found, Tensor) and torch.equal(found, features)
    return follows and torch.equal(outputs, given)
