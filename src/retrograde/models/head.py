"""The head of a model: the module that gives its outputs."""

import copy

from torch import nn

from retrograde.optim import Params

HEAD = "head"
"""The module that gives a model's outputs, for methods that treat it apart."""


def of_head(name: str) -> bool:
    """Whether a parameter belongs to the head."""
    return name.startswith(f"{HEAD}.")


def without_head(params: Params) -> Params:
    """All but what belongs to the head."""
    return {name: value for name, value in params.items() if not of_head(name)}


def headless(module: nn.Module) -> nn.Module | None:
    """The module with its head left out, so that it gives the features; nothing, where it has none."""
    if not isinstance(getattr(module, HEAD, None), nn.Module):
        return None
    twin = copy.deepcopy(module)
    setattr(twin, HEAD, nn.Identity())
    return twin
