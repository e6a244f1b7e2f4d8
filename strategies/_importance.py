"""Importance penalties: what holds each parameter near where it was, by how much it matters there."""

import torch

from retrograde import Params, State


def pull(params: Params, anchor: Params, importance: Params, strength: float) -> Params:
    """The gradient of strength times the sum of importance * (parameter - anchor)²."""
    return {
        name: 2 * strength * importance[name] * (value - anchor[name])
        for name, value in params.items()
    }


def held(state: State, strength: float) -> Params:
    """What pulls the parameters towards the state's `anchor` by its `importance`."""
    return pull(
        state.params, unpacked(state.extra, "anchor"), unpacked(state.extra, "importance"), strength
    )


def free(params: Params) -> Params:
    """A state's `anchor` and `importance` before any task: nothing is held."""
    return packed(anchor=params, importance=nothing(params))


def nothing(params: Params) -> Params:
    """Zeros of their shapes."""
    return {name: torch.zeros_like(value) for name, value in params.items()}


def packed(**groups: Params) -> Params:
    """Groups of tensors, each named as the parameters are, as one for `State.extra`."""
    return {
        f"{group}.{name}": value
        for group, params in groups.items()
        for name, value in params.items()
    }


def unpacked(extra: Params, group: str) -> Params:
    """One of the groups again."""
    return {
        name.removeprefix(f"{group}."): value
        for name, value in extra.items()
        if name.startswith(f"{group}.")
    }
