"""Compilation of steps, with one graph shared between cells that differ in sizes alone."""

import copy
import os
import shutil
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from types import FunctionType, MappingProxyType
from typing import Any, Literal, TypeVar

import torch
from torch.utils import _pytree as pytree

from retrograde import randomness
from retrograde.errors import UserError
from retrograde.process import keep_memory

Compile = Literal["auto", "on", "off"]


def compile_or_reason(
    mode: Compile,
    compile_: Callable[[], None],
) -> str | None:
    """Compile unless that is off.

    Args:
        mode: "on" makes a failure an error; "auto" returns it.
        compile_: Compiles, and raises an exception if that fails.

    Returns:
        The first line of the reason for a failure; None if there was none.

    Raises:
        UserError: If compiling fails and was asked for.
    """
    if mode == "off":
        return None
    try:
        compile_()
    except Exception as error:
        if mode == "on":
            raise UserError(f"compile=on: the step cannot be compiled: {error}") from error
        return str(error).strip().partition("\n")[0]
    return None


_Step = Callable[..., Any]

RunTwice = Callable[[_Step], Any]
"""Calls a step with the inputs of a cell and again with its outputs; returns the second outputs.

The second call shows that outputs go back in without a new graph.
"""


def compile_step(
    backend: Any,
    step: _Step,
    twice: RunTwice,
) -> _Step:
    """Compile a step of a backend, or reuse the graph of the previous cell.

    A graph serves all cells that differ only in the `sizes` of the strategy's settings, which are
    passed to it as tensors. If a strategy branches on a size or makes a constant of it, each of its
    cells has a graph of its own.

    Args:
        backend: The replicates to train. Its strategy and what it carries take part in the graph.
        step: The unbound method of the backend's class.
        twice: Calls a step with the inputs for which it is compiled.

    Raises:
        UserError: If there is no compiler for the device.
    """
    check_compiler(backend.device)
    keep_memory()
    sizes = backend.strategy.continuous_settings()
    cached_constants, _ = _CACHED_GRAPHS.get(step, (None, None))
    # A cached graph without tensors for sizes already serves this very cell.
    if not sizes or cached_constants == step_constants(backend):
        return _compiled(backend, step, twice, {})
    try:
        return _compiled(backend, step, twice, sizes)
    # Tracing a strategy that branches on a tensor can fail in any way.
    except Exception:
        return _compiled(backend, step, twice, {})


_CACHED_GRAPHS: dict[_Step, tuple[Hashable, _Step]] = {}
"""For each step of a backend: the constants of the last cell, and its graph."""


def _compiled(
    backend: Any,
    step: _Step,
    twice: RunTwice,
    sizes: Mapping[str, float],
) -> _Step:
    constants = step_constants(backend, sizes)
    cached_constants, cached_graph = _CACHED_GRAPHS.get(step, (None, None))
    graph = cached_graph if cached_constants == constants else None
    try:
        if graph is None:
            # One graph at a time: they are large, and cells come in order.
            if cached_graph:
                forget()
            graph = _new_graph(backend, step, twice, sizes)
        compiled = partial(graph, _with(backend, sizes))
        _check_shared(backend, twice(compiled) if sizes else None)
    except Exception:
        # A half-made graph must not serve the next cell.
        forget()
        raise
    _CACHED_GRAPHS[step] = constants, graph
    return compiled


def _new_graph(
    backend: Any,
    step: _Step,
    twice: RunTwice,
    sizes: Mapping[str, float],
) -> _Step:
    options = _options(backend.device)
    graph = torch.compile(
        _apart(step),
        fullgraph=True,
        dynamic=False,
        options=options,
    )
    # Traced with NaN, a size that became a constant spoils every later result and is seen.
    unknown = dict.fromkeys(sizes, float("nan"))
    twice(partial(graph, _with(backend, unknown)))
    return graph


def _apart(step: Any) -> _Step:
    """Return the same function with a code object of its own.

    torch stores graphs by code object and tells those of one code object apart by guards. Our
    graphs have no guards, so that backends with one code object would take each other's graphs.
    """
    return FunctionType(
        step.__code__.replace(),
        step.__globals__,
        step.__name__,
        step.__defaults__,
        step.__closure__,
    )


def forget() -> None:
    """Drop every graph, since graphs pile up: some megabytes for each cell of a long run.

    A backend that is still at work compiles its own graph anew when it next steps.
    """
    torch.compiler.reset()
    _CACHED_GRAPHS.clear()


class _NotShared(Exception):
    """A graph that takes sizes as tensors differs from the eager step."""


def _check_shared(backend: Any, after: Any) -> None:
    """Check the outputs of a graph that takes sizes as tensors.

    Args:
        backend: The replicates whose state the outputs replace.
        after: The outputs; None if the graph takes no sizes.

    Raises:
        _NotShared: If a size is a constant of the graph, or turns numbers of the state to doubles.
    """
    if after is None:
        return
    leaves = pytree.tree_leaves(after)
    if any(leaf.isnan().any() for leaf in leaves):
        raise _NotShared
    if signature(after) != signature(backend.carried):
        raise _NotShared


def _with(
    backend: Any,
    sizes: Mapping[str, float],
) -> Any:
    """A copy of the backend whose strategy has tensors for some of its settings."""
    twin = copy.copy(backend)
    strategy = copy.copy(backend.strategy)
    twin.strategy = strategy
    for name, value in sizes.items():
        size = torch.tensor(value, dtype=torch.float64, device=backend.device)
        # A strategy is frozen; this copy never leaves the graph.
        object.__setattr__(strategy, name, size)
    return twin


def step_constants(
    backend: Any,
    sizes: Mapping[str, float] = MappingProxyType({}),
) -> Hashable:
    """What may differ between the steps of two cells and is no tensor that they take.

    Args:
        backend: The replicates.
        sizes: The settings that a step takes as tensors.
    """
    benchmark = backend.benchmark
    strategy = backend.strategy
    settings = strategy.settings().items()
    fixed = {name: value for name, value in settings if name not in sizes}
    state = signature(backend.carried)
    # Kernels for the CPU are compiled for a number of threads.
    threads = torch.get_num_threads()
    values = (benchmark.settings(), fixed, backend.constants(), state, threads)
    return (
        type(benchmark),
        type(strategy),
        backend.net.networks.kinds,
        str(backend.device),
        repr(values),
    )


def _options(device: torch.device) -> dict[str, Any]:
    # The compiler cannot look into zlib. Marked where the function is defined, it would import the
    # compiler, which takes seconds, into every command.
    torch.compiler.assume_constant_result(randomness.number)  # type: ignore[no-untyped-call]
    # Shapes are static, and guards took 0.1 ms a step.
    options: dict[str, Any] = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    if device.type == "cpu":
        # Calls between kernels in C++: in Python they took a tenth of La-MAML's update.
        options["cpp_wrapper"] = True
        # Compute once what is read again: images were gathered in every inner step.
        options["realize_reads_threshold"] = 1
    return options


Tree = TypeVar("Tree")


def unaliased(tree: Tree) -> Tree:
    """The same structure with contiguous tensors that share no storage.

    A compiled step keeps the strides of its inputs, and takes tensors that were one for one.
    """
    copied: Tree = pytree.tree_map(
        lambda value: value.clone(memory_format=torch.contiguous_format), tree
    )
    return copied


_Signature = tuple[str, tuple[int, ...], str]


def signature(state: Any) -> list[_Signature]:
    """The name, shape and dtype of every tensor of a state, or of several."""
    forms = []
    for path, leaf in pytree.tree_flatten_with_path(state)[0]:
        name = pytree.keystr(path)
        forms.append((name, tuple(leaf.shape), str(leaf.dtype)))
    return forms


def check_compiler(device: torch.device) -> None:
    """Raise `UserError` if compiling for the CPU needs a C++ compiler and there is none."""
    compiler = os.environ.get("CXX", "g++")
    if device.type == "cpu" and not shutil.which(compiler):
        raise UserError(
            f"Compiling needs a C++ compiler, and {compiler!r} is not on the path. "
            "Install g++ or set CXX."
        )
