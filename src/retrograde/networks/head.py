"""The head of a model: the module that gives its outputs."""

import copy

from torch import nn

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
