"""Quadratic penalties: importance * (parameter - anchor)²."""

import torch
from torch import Tensor

from retrograde.interface.state import State
from retrograde.optim import Params


def penalty_gradient(
    params: Params, anchor: Params, importance: Params, strength: float | Tensor
) -> Params:
    """The gradient of strength times the sum of importance * (parameter - anchor)²."""
    return {
        name: 2 * strength * importance[name] * (value - anchor[name])
        for name, value in params.items()
    }


def anchored_penalty_gradient(state: State, strength: float | Tensor) -> Params:
    """The gradient of the penalty given by the `anchor` and `importance` in a state's extra."""
    extra = state.extra
    return penalty_gradient(state.params, extra["anchor"], extra["importance"], strength)


def no_penalty(params: Params) -> dict[str, Params]:
    """The `anchor` and `importance` of a state before any task: the penalty is 0."""
    return {"anchor": params, "importance": zeros_like(params)}


def zeros_like(params: Params) -> Params:
    """Zeros in the shapes of the parameters.

    Example:
        >>> rg.zeros_like({"w": torch.ones(2)})
        {'w': tensor([0., 0.])}
    """
    return {name: torch.zeros_like(value) for name, value in params.items()}
