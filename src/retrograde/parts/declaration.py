"""The class of a part, verified once: its settings, what it overrides, and that a record can hold what it is told."""

import dataclasses
import inspect
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from retrograde.errors import UserError, shown
from retrograde.parts.author_code import begins
from retrograde.parts.part import Part, check_annotations

_PLAIN = (bool, int, float, str, type(None))
_RULE = (
    "A setting is None, a truth value, a finite number, text, or a tuple of these, since a record holds it as JSON and the "
    "command line as text."
)


def check_class(part: type[Part]) -> None:
    """Raise `UserError` where a class cannot be a part, whatever its settings: before one is made of it."""
    _check_dataclass(part)
    for name in _methods(part):
        if not callable(inspect.getattr_static(part, name)) and not hasattr(
            inspect.getattr_static(part, name), "__func__"
        ):
            raise UserError(
                f"{_called(part)}: {name} is a method of every part, which the class replaces by "
                f"{inspect.getattr_static(part, name)!r:.60}. Give it another name."
            )
    check_annotations(part, _called(part))
    for name, kind in _constants(part).items():
        _check_constant(part, name, kind)


def _check_dataclass(part: type[Part]) -> None:
    own = [
        name
        for name, kind in vars(part).get("__annotations__", {}).items()
        if not _is_constant(kind)
    ]
    frozen = {"Learner": "@dataclass"}.get(_family(part), "@dataclass(frozen=True)")
    if own and "__dataclass_fields__" not in vars(part):
        raise UserError(
            f"{_called(part)} has settings ({', '.join(own)}) and is no dataclass. Write {frozen} above it."
        )
    told = vars(part).get("__dataclass_params__")
    if told and told.frozen and _family(part) == "Learner":
        raise UserError(
            f"{_called(part)}: a Learner keeps its model on itself, so that its dataclass is not frozen. "
            "Write @dataclass without frozen=True."
        )


def _family(part: type[Part]) -> str:
    """The engine's class that the part derives from."""
    return next(each.__name__ for each in part.__mro__ if _is_engine(each))


def _is_engine(kind: type) -> bool:
    package, _, rest = kind.__module__.partition(".")
    return package == "retrograde" and rest.partition(".")[0] not in (
        "benchmarks",
        "strategies",
        "results",
    )


def _is_constant(annotation: object) -> bool:
    if isinstance(annotation, str):
        return annotation.partition("[")[0].rpartition(".")[2] in ("ClassVar", "InitVar")
    return (
        annotation is ClassVar
        or get_origin(annotation) is ClassVar
        or isinstance(annotation, dataclasses.InitVar)
    )


def _methods(part: type[Part]) -> list[str]:
    """The public methods that the engine calls on a part of that kind."""
    bases = [each for each in part.__mro__ if _is_engine(each)]
    return sorted(
        {
            n
            for base in bases
            for n, value in vars(base).items()
            if not n.startswith("_") and _is_method(value)
        }
    )


def _is_method(value: object) -> bool:
    return inspect.isfunction(value) or isinstance(value, classmethod | staticmethod)


def _constants(part: type[Part]) -> dict[str, Any]:
    """What the engine reads on the class, with its type: `scenarios`, `upper_bound` and their like."""
    hints = [get_type_hints(each, include_extras=True) for each in part.__mro__ if _is_engine(each)]
    return {
        name: get_args(kind)[0]
        for each in hints
        for name, kind in each.items()
        if get_origin(kind) is ClassVar
    }


def _check_constant(part: type[Part], name: str, kind: Any) -> None:
    value = getattr(part, name)
    if name in _field_names(part):
        raise UserError(
            f"{_called(part)}: {name} is told by the class, not a setting. Write {name}: ClassVar[...] = ..."
        )
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        rule = error.errors()[0]["msg"]
        raise UserError(
            f"{_called(part)}: {name} = {value!r:.80} is not possible. {rule}."
        ) from None


def _field_names(part: type[Part]) -> set[str]:
    return (
        {field.name for field in dataclasses.fields(part)}
        if dataclasses.is_dataclass(part)
        else set()
    )


def check_recorded(part: Part) -> None:
    """Raise `UserError` where a record cannot hold a setting, or the part cannot say what it is."""
    for name, value in part.settings().items():
        if (found := _unrecordable(value)) is not None:
            raise UserError(
                f"{_called(type(part))}: the setting {name} holds {shown(found)} of type {type(found).__name__}. {_RULE} "
                f"Make it such a value, and a {type(found).__name__} of it where it is used."
            )
    part.changed()
    part.declares()


def _unrecordable(value: Any) -> Any:
    """The first thing in a value that JSON has no form for; None if it has one for all."""
    if isinstance(value, tuple | list):
        return next((found for each in value if (found := _unrecordable(each)) is not None), None)
    if isinstance(value, dict) and all(type(key) is str for key in value):
        return _unrecordable(list(value.values()))
    finite = not isinstance(value, float) or abs(value) < float("inf")
    return None if type(value) in _PLAIN and finite else value


def _called(part: type[Part]) -> str:
    where = begins(part)
    return f"{part.__name__} ({where})" if where else part.__name__
