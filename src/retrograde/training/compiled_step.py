"""Compilation of steps into libraries, which are kept in the user's cache for later processes."""

import copy
import hashlib
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from retrograde.data.cache import cache_folder
from retrograde.errors import UserError
from retrograde.parts.class_code import code_digest
from retrograde.process import keep_memory
from retrograde.records.environment import cpu_instructions, cpu_name, device_name
from retrograde.training.traced_step import NotTraced, Run, Step, Trace, trace

Compile = Literal["auto", "on", "off"]

KEPT_DAYS = 30
"""Days after which a library that no run has used is removed."""

OPTIONS = {
    # Compute once what is read again: images were gathered in every inner step.
    "realize_reads_threshold": 1,
}


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
            reason = str(error).strip().removesuffix(".")
            raise UserError(
                f"compile=on needs a step that can be compiled; this one cannot: {reason}. "
                "Use compile=auto or compile=off."
            ) from error
        return str(error).strip().partition("\n")[0]
    return None


def compile_step(backend: Any, inputs: tuple[Any, ...]) -> Step:
    """Compile a step of a backend, or load the library of an equal one.

    The library is that of a trace, in which the `sizes` of the strategy's settings are tensors, so
    that cells that differ in them alone share it. A strategy that branches on a size, or makes a
    constant of it, has a library for each.

    Args:
        backend: The replicates to train. Its strategy and what it carries take part in the trace.
        inputs: The inputs of the step besides what it changes.

    Raises:
        UserError: If there is no C++ compiler.
        NotTraced: If the step is no list of operations on tensors.
    """
    check_compiler()
    keep_memory()
    sizes = backend.strategy.continuous_settings()
    try:
        return _compiled(backend, sizes, inputs)
    except NotTraced:
        if not sizes:
            raise
        return _compiled(backend, {}, inputs)


def _compiled(backend: Any, sizes: Mapping[str, float], inputs: tuple[Any, ...]) -> Step:
    step = type(backend).step_all

    def of_sizes(values: Mapping[str, Tensor], *given: Any) -> Any:
        return step(_with(backend, values), *given)

    values = {
        name: torch.tensor(value, dtype=torch.float64, device=backend.device)
        for name, value in sizes.items()
    }
    whole = (values, backend.carried, *inputs)
    found = trace((step, "compiled"), of_sizes, whole, step_constants(backend, sizes))
    if signature(found.listed(*whole)) != signature(backend.carried):
        raise NotTraced("a size that is a tensor changes the form of the state.")
    run = _library(found, found.tensors(whole), backend.device)
    return partial(found.step(run), values)


def _with(backend: Any, values: Mapping[str, Tensor]) -> Any:
    """A copy of the backend whose strategy has tensors for some of its settings."""
    twin = copy.copy(backend)
    twin.to_compile = True
    twin.strategy = copy.copy(backend.strategy)
    for name, value in values.items():
        # A strategy is frozen; this copy never leaves the trace.
        object.__setattr__(twin.strategy, name, value)
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
    values = (benchmark.settings(), fixed, backend.constants(), state)
    return (
        type(benchmark),
        type(strategy),
        # Of a notebook's classes, the values that their methods use may have changed.
        code_digest(type(benchmark)),
        code_digest(type(strategy)),
        backend.net.networks.kinds,
        str(backend.device),
        repr(values),
    )


def _library(found: Trace, tensors: list[Tensor], device: torch.device) -> Run:
    """The library of a trace, from the user's cache or compiled now."""
    steps = cache_folder() / "steps"
    folder = steps / _digest(found, tensors, device)
    if folder.exists():
        with suppress(OSError, RuntimeError):  # it is damaged
            run = _loaded(folder, tensors, device)
            with suppress(OSError):  # the cache can be read alone
                folder.touch()
            return run
        shutil.rmtree(folder, ignore_errors=True)
    made = _new_folder(steps)
    try:
        _make(found, tensors, made)
        run = _loaded(made, tensors, device)
        with suppress(OSError):  # another process was faster, or the cache cannot be written
            made = made.rename(folder)
        return run
    finally:
        if made != folder:
            shutil.rmtree(made, ignore_errors=True)


def _new_folder(steps: Path) -> Path:
    """An empty folder within `steps`, if that can be written."""
    try:
        steps.mkdir(parents=True, exist_ok=True)
        _remove_unused(steps)
        return Path(tempfile.mkdtemp(prefix=".", dir=steps))
    except OSError:
        return Path(tempfile.mkdtemp())


def _make(found: Trace, tensors: list[Tensor], folder: Path) -> None:
    """Compile a trace into a library in a folder."""
    # Seconds, which a step that is not compiled does without.
    from torch._inductor import aot_compile

    options = OPTIONS | {"aot_inductor.output_path": str(folder)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        aot_compile(found.module, tuple(tensors), options=options)


def _loaded(folder: Path, tensors: list[Tensor], device: torch.device) -> Run:
    """The library in a folder, which is tried.

    Raises:
        OSError: If there is none.
        RuntimeError: If it is damaged.
    """
    path = next(iter(folder.glob("*.so")), None)
    if path is None:
        raise FileNotFoundError(folder)
    # What loads it by a public name imports the compiler, for seconds.
    runners = import_module("torch._C._aoti")
    if device.type == "cpu":
        run: Run = runners.AOTIModelContainerRunnerCpu(str(path), 1).run
    else:
        # Kernels are files beside the library, which names the folder that it was made in.
        kernels = str(folder)
        run = runners.AOTIModelContainerRunnerCuda(str(path), 1, str(device), kernels).run
    # The first call reads kernels, whose files may be gone later.
    with torch.no_grad():
        run(tensors)
    return run


def _digest(found: Trace, tensors: list[Tensor], device: torch.device) -> str:
    """Of everything that a library depends on."""
    module = found.module
    constants = [
        (node.target, _content(getattr(module, node.target)))
        for node in module.graph.nodes
        if node.op == "get_attr"
    ]
    forms = list(map(_form, tensors))
    # Kernels for the CPU are compiled for a number of threads.
    cpu = (cpu_name(), cpu_instructions(), torch.get_num_threads())
    machine = (cpu, str(device), device_name(device), torch.__version__, OPTIONS)
    content = repr((module.code, constants, forms, machine))
    return hashlib.sha256(content.encode()).hexdigest()[:20]


def _form(tensor: Tensor) -> tuple[object, ...]:
    return tuple(tensor.shape), tensor.stride(), tensor.dtype


def _content(constant: Tensor) -> tuple[object, ...]:
    """The form, the device and the bytes of a constant, which may be large."""
    whole = constant.detach().cpu().contiguous().reshape(-1)
    read = whole.view(torch.uint8).numpy().tobytes()
    return *_form(constant), str(constant.device), hashlib.sha256(read).hexdigest()


def _remove_unused(steps: Path) -> None:
    oldest = time.time() - KEPT_DAYS * 24 * 3600
    for folder in steps.iterdir():
        with suppress(OSError):  # another process has removed or renamed it
            if folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)


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
    """The name, shape and dtype of every tensor of a state, or of several, in order of names."""
    forms = []
    for path, leaf in pytree.tree_flatten_with_path(state)[0]:
        name = pytree.keystr(path)
        forms.append((name, tuple(leaf.shape), str(leaf.dtype)))
    # A hook may give the state's dictionaries in another order than it was given.
    return sorted(forms)


def check_compiler() -> None:
    """Raise `UserError` if there is no C++ compiler."""
    compiler = os.environ.get("CXX", "g++")
    if not shutil.which(compiler):
        raise UserError(
            f"Compiling needs a C++ compiler, and {compiler!r} is not on the path. "
            "Install g++ or set CXX."
        )
