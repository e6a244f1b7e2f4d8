"""Steps as lists of operations on tensors, traced once and run without the Python between them.

A step of a small model spends most of its time between operations: in `vmap`, in gradients, in
structures of tensors. A trace holds the operations alone, as a compiled step does, and is made in
the time of some 130 steps instead of seconds. Its results are those of the step, to the last bit.
"""

from collections.abc import Callable, Hashable
from functools import partial
from types import BuiltinFunctionType
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph, Node

from retrograde.training.trees import each, leaves

WORTHWHILE = 300
"""The number of steps from which a trace saves more time than it takes to make."""

Step = Callable[..., Any]

_LAST: dict[Step, tuple[Hashable, Step | None]] = {}
"""For each step of a backend: the constants of the last cell, and its trace; None: it has none."""


def traced_step(step: Step, function: Step, inputs: tuple[Any, ...], key: Hashable) -> Step | None:
    """The same step as a list of operations on tensors.

    Args:
        step: The function of a backend's class, by which the last trace is found again.
        function: The pure function of `inputs` to trace. `vmap` takes it, so that what it does
            is independent of the numbers in tensors.
        inputs: Trees of tensors to trace it with.
        key: What makes two traces equal.

    Returns:
        The step; None if it cannot be traced.
    """
    last_key, last = _LAST.get(step, (None, None))
    # No key tells all that a trace has made a constant of, such as a global of a notebook.
    if last_key != key or (last and not _agree(last, function, inputs)):
        last = _traced(function, inputs)
        _LAST[step] = key, last
    return last


def _agree(trace: Step, function: Step, inputs: tuple[Any, ...]) -> bool:
    """True if a trace and the step itself give the same numbers, to the last bit."""
    return _equal(trace(*inputs), function(*inputs))


def _traced(function: Step, inputs: tuple[Any, ...]) -> Step | None:
    # Imports sympy, which takes longer than a short run does.
    from torch.fx.experimental.proxy_tensor import make_fx

    # Of empty tensors, since a trace outlives the cell that it was made for.
    taken = _form(inputs)
    given_back: list[Any] = []

    def of_leaves(*given: Tensor) -> list[Tensor]:
        left = iter(given)
        after = function(*each(lambda _: next(left), taken))
        given_back[:] = [_form(after)]
        return leaves(after, after)

    # A step may do what cannot be traced; it runs as it is then.
    try:
        # An input that came twice as one object would be traced as one input.
        module = make_fx(of_leaves)(*(leaf.detach() for leaf in leaves(inputs, taken)))
        _simplify(module.graph)
        module.recompile()
        run = module.forward
        (outputs,) = given_back

        def traced(*given: Any) -> Any:
            # A hook may give the state's dictionaries in another order than it was given.
            with torch.no_grad():
                found = iter(run(*leaves(given, taken)))
            return each(lambda _: next(found), outputs)

        same = _agree(traced, function, inputs)
    except Exception:
        return None
    return traced if same else None


def _form(tree: Any) -> Any:
    """The same tree without its numbers."""
    return each(lambda _: torch.empty(0), tree)


def _equal(one: Any, other: Any) -> bool:
    """True if two trees hold the same numbers, to the last bit."""
    pairs = zip(leaves(one, one), leaves(other, one), strict=True)
    exactly = partial(torch.allclose, rtol=0, atol=0, equal_nan=True)
    return all(torch.equal(left, right) or exactly(left, right) for left, right in pairs)


def _simplify(graph: Graph) -> None:
    """Leave out what has no effect without gradients, and call operations in the quickest way."""
    for node in list(graph.nodes):
        if node.target in (torch.ops.aten.detach.default, torch.ops.aten.alias.default):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    graph.eliminate_dead_code()
    for node in graph.nodes:
        if isinstance(node.target, OpOverload):
            _bind(node, node.target)


def _bind(node: Node, operation: OpOverload) -> None:
    """Call an operation by its function in `torch`, in half of the time of `torch.ops`."""
    full_name: str = operation.name()  # type: ignore[no-untyped-call]
    namespace, _, name = full_name.partition(".")[0].partition("::")
    # Those functions take no list with an index left out, as in x[:, rows].
    leaves_out = any(None in given for given in node.args if isinstance(given, list))
    if namespace != "aten" or leaves_out:
        return
    function = getattr(torch, name, None)
    if isinstance(function, BuiltinFunctionType):
        node.target = function
    elif name in ("view", "expand"):
        node.op, node.target = "call_method", name
