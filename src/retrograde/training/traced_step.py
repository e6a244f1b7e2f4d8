"""Steps as lists of operations on tensors, traced once and run without the Python between them.

A step of a small model spends most of its time between operations: in `vmap`, in gradients, in
structures of tensors. A trace holds the operations alone, and is made in the time of some 130
steps. Its results are those of the step, to the last bit. A compiled step is made of a trace.
"""

from collections.abc import Callable, Hashable
from contextlib import suppress
from functools import partial
from types import BuiltinFunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph, GraphModule, Node

from retrograde.training.trees import each, leaves

WORTHWHILE = 300
"""The number of steps from which a trace saves more time than it takes to make."""

Step = Callable[..., Any]
Run = Callable[[list[Tensor]], list[Tensor]]
"""Runs the operations of a trace on the tensors of its inputs; returns those of its outputs."""


class NotTraced(Exception):
    """A step is no list of operations on tensors; the message says why."""


class Trace(NamedTuple):
    """A step as a list of operations on tensors.

    Attributes:
        module: The operations, as a function of the tensors of the inputs.
        taken: The form of the inputs, with empty tensors, since a trace outlives its cell.
        given_back: The form of the outputs.
    """

    module: GraphModule
    taken: Any
    given_back: Any

    def tensors(self, inputs: tuple[Any, ...]) -> list[Tensor]:
        """The tensors of the inputs, as `module` takes them."""
        return leaves(inputs, self.taken)

    def step(self, run: Run) -> Step:
        """The step, with something that runs the operations on its tensors."""

        def of_trees(*inputs: Any) -> Any:
            # A hook may give the state's dictionaries in another order than it was given.
            with torch.no_grad():
                found = iter(run(leaves(inputs, self.taken)))
            return each(lambda _: next(found), self.given_back)

        return of_trees

    @property
    def listed(self) -> Step:
        """The step, which calls one operation after the other."""
        forward = self.module.forward
        return self.step(lambda tensors: forward(*tensors))


_LAST: dict[Hashable, tuple[Hashable, Trace]] = {}
"""The last trace of each kind of step, with its key."""


def trace(kind: Hashable, function: Step, inputs: tuple[Any, ...], key: Hashable) -> Trace:
    """The list of operations of a step.

    Args:
        kind: The kind of step, of which the last trace is kept.
        function: The pure function of `inputs` to trace. `vmap` takes it, so that what it does
            is independent of the numbers in tensors.
        inputs: Trees of tensors to trace it with.
        key: What makes two traces equal.

    Raises:
        NotTraced: It has no such list.
    """
    last_key, last = _LAST.get(kind, (None, None))
    # No key tells all that a trace has made a constant of, such as a global of a notebook.
    with suppress(Exception):  # of a step that has another form by now
        if last and last_key == key and _agree(last, function, inputs):
            return last
    _LAST.pop(kind, None)
    # A step may do what cannot be traced.
    try:
        found = _traced(function, inputs)
        same = _agree(found, function, inputs)
    except Exception as error:
        raise NotTraced(str(error)) from error
    if not same:
        raise NotTraced("it gives other numbers when it is called again, or with other inputs.")
    _LAST[kind] = key, found
    return found


def _agree(found: Trace, function: Step, inputs: tuple[Any, ...]) -> bool:
    """True if a trace and the step itself give the same numbers, to the last bit."""
    # A step may have made a constant of a single number, as by `np.cos(progress)`.
    others = each(_other, inputs)
    return _equal(found.listed(*others), function(*others))


def _other(value: Tensor) -> Tensor:
    """Another number for a single one, between 0 and 1 if it was; other tensors as they are."""
    return value / 2 + 0.2357 if value.dim() == 0 and value.is_floating_point() else value


def _traced(function: Step, inputs: tuple[Any, ...]) -> Trace:
    # Imports sympy, which takes longer than a short run does.
    from torch.fx.experimental.proxy_tensor import make_fx

    taken = _form(inputs)
    given_back: list[Any] = []

    def of_leaves(*given: Tensor) -> list[Tensor]:
        left = iter(given)
        after = function(*each(lambda _: next(left), taken))
        given_back[:] = [_form(after)]
        return leaves(after, after)

    # An input that came twice as one object would be traced as one input.
    module = make_fx(of_leaves)(*(leaf.detach() for leaf in leaves(inputs, taken)))
    _simplify(module.graph)
    module.recompile()
    return Trace(module, taken, *given_back)


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
        # Tensors of the tracer, which hold memory, and which no compiler takes.
        node.meta.clear()
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
