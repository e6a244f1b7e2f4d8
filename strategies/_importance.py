"""Quadratic penalties: importance * (parameter - anchor)²."""

import torch

from retrograde import Params, State


def penalty_gradient(params: Params, anchor: Params, importance: Params, strength: float) -> Params:
    """The gradient of strength times the sum of importance * (parameter - anchor)²."""
    return {
        name: 2 * strength * importance[name] * (value - anchor[name])
        for name, value in params.items()
    }


def state_penalty_gradient(state: State, strength: float) -> Params:
    """The gradient of the penalty given by the `anchor` and `importance` of a state."""
    anchor = unpack(state.extra, "anchor")
    importance = unpack(state.extra, "importance")
    return penalty_gradient(state.params, anchor, importance, strength)


def no_penalty(params: Params) -> Params:
    """The `anchor` and `importance` of a state before any task: the penalty is 0."""
    return pack(anchor=params, importance=zeros_like(params))


def zeros_like(params: Params) -> Params:
    """Zeros in the shapes of the parameters."""
    return {name: torch.zeros_like(value) for name, value in params.items()}


def pack(**groups: Params) -> Params:
    """Flatten groups of tensors into one dictionary for `State.extra`, as `group.name`."""
    return {
        f"{group}.{name}": value
        for group, params in groups.items()
        for name, value in params.items()
    }


def unpack(extra: Params, group: str) -> Params:
    """The tensors of one group of `pack`, by name."""
    prefix = f"{group}."
    return {
        name.removeprefix(prefix): value for name, value in extra.items() if name.startswith(prefix)
    }
