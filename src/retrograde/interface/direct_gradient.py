"""Gradients of first order by autograd itself, where nothing maps or differentiates around them.

`torch.func.grad` wraps every tensor, which takes longer than a step of a small model does.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack
from torch.utils import _pytree as pytree

Tree = TypeVar("Tree")


def is_direct() -> bool:
    """True if no transform of `torch.func` is at work."""
    return peek_interpreter_stack() is None


def direct_gradient(
    function: Callable[[Tree], tuple[Tensor, Any]], params: Tree
) -> tuple[Tree, Any]:
    """The gradient of a function at some parameters, and other tensors that the function computes.

    The same as `torch.func.grad(function, has_aux=True)(params)`, but for gradients of it: neither
    result has a derivative of its own.

    Args:
        function: Returns the value, and the other tensors.
        params: The parameters, or several sets of them by name.
    """
    leaves, form = pytree.tree_flatten(params)
    own = [leaf.detach().requires_grad_() for leaf in leaves]
    with torch.enable_grad():
        value, aux = function(pytree.tree_unflatten(own, form))
        gradients = _gradients(value, own)
    gradient: Tree = pytree.tree_unflatten([*gradients], form)
    return gradient, pytree.tree_map_only(Tensor, torch.Tensor.detach, aux)


def _gradients(value: Tensor, own: list[Tensor]) -> tuple[Tensor, ...]:
    # A value that no parameter has a part in is an error to autograd, and 0 to `torch.func.grad`.
    if not value.requires_grad:
        return tuple(map(torch.zeros_like, own))
    return torch.autograd.grad(value, own, materialize_grads=True)
