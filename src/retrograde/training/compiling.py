"""Compiling a step where that pays, and what a compiled step asks of the state."""

import copy
import os
import shutil
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from types import FunctionType
from typing import Any, Literal

import torch
from torch.utils import _pytree as pytree

from retrograde.errors import UserError
from retrograde.interface.state import State
from retrograde.process import keep_memory

Compile = Literal["auto", "on", "off"]


def tried(mode: Compile, compile_: Callable[[], None]) -> str | None:
    """Compile unless that is off; returns why it failed, if it did, and raises `UserError` where it was asked for."""
    if mode == "off":
        return None
    try:
        compile_()
    except Exception as error:
        if mode == "on":
            raise UserError(f"--compile on: the step cannot be compiled: {error}") from error
        return str(error).strip().partition("\n")[0]
    return None


Twice = Callable[[Callable[..., Any]], Any]
"""Calls a step with a cell's inputs, and again with what came out, which is to go in without a new graph; returns the last."""


def compile_step(backend: Any, step: Callable[..., Any], twice: Twice) -> Callable[..., Any]:
    """A step of a backend, compiled for the inputs with which `twice` calls it; the graph of the cell before, where it serves.

    It serves cells that differ in nothing but the `sizes` of the strategy's settings, which go in as tensors. A strategy that
    makes a case or a constant of one has a graph of its own.
    """
    check_compiler(backend.device)
    keep_memory()
    sizes = backend.strategy.sizes()
    if not sizes or _SERVING.get(step, (None, None))[0] == _constants(backend, {}):
        return _compiled(backend, step, twice, {})
    try:
        return _compiled(backend, step, twice, sizes)
    except Exception:
        return _compiled(backend, step, twice, {})


_SERVING: dict[Callable[..., Any], tuple[Hashable, Callable[..., Any]]] = {}
"""For each step of a backend: what the last cell has as constants, and its graph."""


def _compiled(
    backend: Any, step: Callable[..., Any], twice: Twice, sizes: Mapping[str, float]
) -> Callable[..., Any]:
    constants = _constants(backend, sizes)
    of_last, graph = _SERVING.get(step, (None, None))
    found = graph if of_last == constants else None
    try:
        if found is None:
            if graph:
                forget()
            found = torch.compile(
                _apart(step), fullgraph=True, dynamic=False, options=_options(backend.device)
            )
            twice(
                partial(found, _with(backend, dict.fromkeys(sizes, float("nan"))))
            )  # so that a size made a constant is seen
        own = partial(found, _with(backend, sizes))
        _check_shared(backend, twice(own) if sizes else None)
    except Exception:
        forget()
        raise
    _SERVING[step] = constants, found
    return own


def _apart(step: Any) -> Callable[..., Any]:
    """Return the same function with a code object of its own.

    torch stores graphs by code object and tells those of one code object apart by guards. Our graphs have no guards, so that
    backends with one code object would take each other's graphs.
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
    _SERVING.clear()


class _NotShared(Exception):
    """A graph that takes sizes as tensors does not do what the step does."""


def _check_shared(backend: Any, after: Any) -> None:
    """Raise `_NotShared` where a size is a constant of the graph, or makes doubles of the state's numbers."""
    if after is None:
        return
    if any(leaf.isnan().any() for leaf in pytree.tree_leaves(after)):
        raise _NotShared
    if form(after) not in (form(backend.state), form((backend.state, backend.buffers))):
        raise _NotShared


def _with(backend: Any, sizes: Mapping[str, float]) -> Any:
    """The backend with tensors for some numbers among its strategy's settings."""
    twin, twin.strategy = (copy.copy(each) for each in (backend, backend.strategy))
    for name, value in sizes.items():
        object.__setattr__(
            twin.strategy, name, torch.tensor(value, dtype=torch.float64, device=backend.device)
        )
    return twin


def _constants(backend: Any, sizes: Mapping[str, float]) -> Hashable:
    """What a graph has in it that may differ between cells."""
    benchmark, strategy = backend.benchmark, backend.strategy
    rest = {name: value for name, value in strategy.settings().items() if name not in sizes}
    own = backend.constants(), form((backend.state, backend.buffers)), torch.get_num_threads()
    return (
        type(benchmark),
        type(strategy),
        str(backend.device),
        repr((benchmark.settings(), rest, *own)),
    )


def _options(device: torch.device) -> dict[str, Any]:
    options: dict[str, Any] = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    # shapes are static; guards took 0.1 ms a step
    if device.type == "cpu":
        options["cpp_wrapper"] = (
            True  # calls between kernels in C++: in Python they took a tenth of La-MAML's update
        )
        options["realize_reads_threshold"] = (
            1  # compute once what is used again: images were cut in every inner step
        )
    return options


def separate(state: State) -> State:
    """The state, every tensor contiguous and apart from all others: a compiled step keeps strides, and what was one tensor."""
    copied: State = pytree.tree_map(
        lambda value: value.clone(memory_format=torch.contiguous_format), state
    )
    return copied


def form(state: State | tuple[Any, ...]) -> list[tuple[str, tuple[int, ...], str]]:
    """The name, shape and dtype of every tensor of a state, or of several."""
    leaves = pytree.tree_flatten_with_path(state)[0]
    return [(pytree.keystr(path), tuple(leaf.shape), str(leaf.dtype)) for path, leaf in leaves]


def check_compiler(device: torch.device) -> None:
    """Raise `UserError` where a step for the CPU cannot be compiled for want of a C++ compiler."""
    compiler = os.environ.get("CXX", "g++")
    if device.type == "cpu" and not shutil.which(compiler):
        raise UserError(
            f"Compiling needs a C++ compiler, and {compiler!r} is not on the path. Install g++ or set CXX."
        )
