"""Compiling a step where that pays, and what a compiled step asks of the state."""

import os
import shutil
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch.utils import _pytree as pytree

from retrograde.errors import UserError
from retrograde.heap import keep_memory
from retrograde.net import State

Compile = Literal["auto", "on", "off"]
WORTH_COMPILING = 5000
"""Steps from which compiling pays: it took 4 to 12 s, and then saved 1.4 ms a step (MLP 100-100 on two cores)."""


def tried(mode: Compile, pays: bool, compile_: Callable[[], None]) -> str | None:
    """Compile if that is asked for, or left to us and pays; returns why that failed, if it did."""
    if mode == "off" or (mode == "auto" and not pays):
        return None
    try:
        compile_()
    except Exception as error:
        if mode == "on":
            raise UserError(f"--compile on: the step cannot be compiled: {error}") from error
        return str(error).strip().partition("\n")[0]
    return None


def compile_step(step: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """The step, compiled for the shapes of its first call."""
    check_compiler(device)
    keep_memory()
    torch.compiler.reset()  # one cell at a time has a compiled step, so that no guard need tell cells apart
    options: dict[str, Any] = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    # shapes are static; guards took 0.1 ms a step
    if device.type == "cpu":
        options["cpp_wrapper"] = True  # calls between kernels in C++: in Python they took a tenth of La-MAML's update
        options["realize_reads_threshold"] = 1  # compute once what is used again: images were cut in every inner step
    return torch.compile(step, fullgraph=True, dynamic=False, options=options)


def separate(state: State) -> State:
    """The state, every tensor contiguous and apart from all others: a compiled step keeps strides, and what was one tensor."""
    copied: State = pytree.tree_map(lambda value: value.clone(memory_format=torch.contiguous_format), state)
    return copied


def form(state: State) -> list[tuple[str, tuple[int, ...], str]]:
    """The name, shape and dtype of every tensor of a state."""
    leaves = pytree.tree_flatten_with_path(state)[0]
    return [(pytree.keystr(path), tuple(leaf.shape), str(leaf.dtype)) for path, leaf in leaves]


def check_compiler(device: torch.device) -> None:
    """Raise `UserError` where a step for the CPU cannot be compiled for want of a C++ compiler."""
    compiler = os.environ.get("CXX", "g++")
    if device.type == "cpu" and not shutil.which(compiler):
        raise UserError(f"Compiling needs a C++ compiler, and {compiler!r} is not on the path. Install g++ or set CXX.")
