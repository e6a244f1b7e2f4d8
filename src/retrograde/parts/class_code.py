"""A digest of a class by its compiled code, for classes that are known by no file alone."""

import functools
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import CodeType, FunctionType
from typing import Any

# What Python and `dataclass` write into every class says nothing about an author's code.
GENERATED = {
    "__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__firstlineno__",
    "__static_attributes__", "__abstractmethods__", "_abc_impl", "__dataclass_fields__",
    "__dataclass_params__", "__match_args__", "__annotations__", "__parameters__", "__slotnames__",
}  # fmt: skip


def code_digest(cls: type) -> str:
    """Twelve hexadecimal digits that identify what a class does.

    They follow the code of its methods, their defaults and the values that closures hold; its
    constants; the functions and constants of its module that methods name; and the same of its
    base classes that belong neither to the engine nor to a library. So a class of a notebook that
    is edited, or one of a file that has changed since it was imported, is told from the one before.
    """
    pieces = [piece for base in _own_bases(cls) for piece in _Walk(base.__module__).of_class(base)]
    return hashlib.sha256("\n".join(pieces).encode()).hexdigest()[:12]


def _own_bases(cls: type) -> list[type]:
    def is_own(base: type) -> bool:
        root = base.__module__.partition(".")[0]
        installed = root in sys.stdlib_module_names or root in ("retrograde", "torch", "numpy")
        return base is cls or not installed

    return [base for base in cls.__mro__ if is_own(base)]


class _Walk:
    """Describes values; a function of the author's module is described once, where it is named."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.seen: set[int] = set()

    def of_class(self, cls: type) -> Iterator[str]:
        for name, value in sorted(vars(cls).items()):
            if name not in GENERATED:
                yield f"{name}={self.of(value)}"

    def of(self, value: Any) -> str:
        value = _unwrapped(value)
        ways: dict[Any, Callable[[Any], str]] = {
            FunctionType: self._of_function,
            CodeType: self._of_code,
            tuple | list: self._of_sequence,
            set | frozenset: lambda some: f"{{{','.join(sorted(map(self.of, some)))}}}",
            dict: lambda some: self.of(sorted((repr(k), self.of(v)) for k, v in some.items())),
            type: lambda some: f"{some.__module__}.{some.__qualname__}",
        }
        describe = next((way for kind, way in ways.items() if isinstance(value, kind)), _text)
        return describe(value)

    def _of_code(self, code: CodeType) -> str:
        return f"{code.co_code.hex()}{code.co_names}{code.co_varnames}{self.of(code.co_consts)}"

    def _of_sequence(self, values: tuple[Any, ...] | list[Any]) -> str:
        return f"({','.join(map(self.of, values))})"

    def _of_function(self, function: FunctionType) -> str:
        if id(function) in self.seen:
            return function.__qualname__
        self.seen.add(id(function))
        held = [value for value in _held(function) if not isinstance(value, type)]
        parts = (function.__code__, function.__defaults__, function.__kwdefaults__ or {}, held)
        return f"{self.of(parts)}{self._named(function)}"

    def _named(self, function: FunctionType) -> str:
        """The functions and plain values of the author's module that a function names."""
        found = {}
        for name in function.__code__.co_names:
            value = function.__globals__.get(name)
            own = isinstance(value, FunctionType) and value.__module__ == self.module
            if own or isinstance(value, bool | int | float | str | tuple):
                found[name] = value
        return self.of(found)


def _unwrapped(value: Any) -> Any:
    """The functions behind a decorated method; any other value as it is."""
    if isinstance(value, staticmethod | classmethod):
        return value.__func__
    if isinstance(value, property):
        return (value.fget, value.fset, value.fdel)
    if isinstance(value, functools.cached_property):
        return value.func
    if isinstance(value, functools.partial):
        return (value.func, value.args, value.keywords)
    return inspect.unwrap(value) if isinstance(value, FunctionType) else value


def _text(value: Any) -> str:
    text = repr(value)
    # An address is another in each process.
    return type(value).__name__ if " at 0x" in text else text


def _held(function: FunctionType) -> Iterator[Any]:
    """The values of a closure; a cell may still be empty."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):
            yield cell.cell_contents
