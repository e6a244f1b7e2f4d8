"""Checks of a part's class: its settings, its methods, and values that a record can hold."""

import dataclasses
import inspect
from difflib import get_close_matches
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from retrograde.errors import UserError, shown
from retrograde.parts.author_code import begins
from retrograde.parts.kinds import KINDS
from retrograde.parts.part import Part, check_annotations, rule_of

_PLAIN_TYPES = (bool, int, float, str, type(None))
_RULE = (
    "A setting is None, a truth value, a finite number, text, or a tuple of these, "
    "since a record holds it as JSON and the command line as text."
)


def check_class(part: type[Part]) -> None:
    """Check that a class can be a part, before an object of it is made.

    Raises:
        UserError: it cannot, whatever its settings.
    """
    _check_dataclass(part)
    for name in _methods(part):
        value = inspect.getattr_static(part, name)
        # Class and static methods are not callable before they are bound, but have `__func__`.
        if not callable(value) and not hasattr(value, "__func__"):
            raise UserError(
                f"{_called(part)}: {name} is a method of every part, which the class replaces by "
                f"{value!r:.60}. Give it another name."
            )
    _check_retired(part)
    _check_misspelt(part)
    check_annotations(part, _called(part))
    for name, kind in _constants(part).items():
        _check_constant(part, name, kind)


RETIRED = {
    "Strategy": {
        "remember": "memory",
        "choose": "rank_exemplars",
        "prepare": "pretraining",
        "begin": "start",
        "end_task": "end_experience",
        "knows": "knows_ahead",
        "weighs": "handles_weighting",
        "weighing": "task_weighting",
        "tried_on": "contract_model",
    },
    "MetaStrategy": {
        "begin": "start_adaptation",
        "inner": "inner_step",
        "learned": "meta_params",
        "told": "sees_task_parameters",
        "trains": "meta_trains",
        "descends": "uses_meta_optimizer",
    },
    "Learner": {
        "begin": "setup",
        "agree": "receive",
        "end_task": "end_experience",
        "knows": "knows_ahead",
        "weighs": "handles_weighting",
        "weighing": "task_weighting",
    },
}
"""Names that the engine used in 0.1, by family, with those that it uses now.

A class that still defines one would train without it, and nothing would say so.
"""

REPLACED = {
    "Strategy": {
        "trained_on": (
            "Running statistics follow the examples whose gradient net.grad takes. Remove it."
        ),
        "pretrain_step": "Return a MetaStrategy from pretraining() instead.",
        "after_pretraining": "Define start(net, params) instead, which returns the first State.",
    },
}
"""Names that no other name replaces, by family, with what to do."""


def _check_retired(part: type[Part]) -> None:
    """Raise `UserError` if a class defines a method or a constant of an earlier interface."""
    family = _family(part)
    own = _own_names(part)
    for name, now in RETIRED.get(family, {}).items():
        if name in own:
            raise UserError(
                f"{_called(part)}: {name} is called {now} since 0.2, and {name} would never be "
                "used. Rename it; if it is a method of your own, give it another name."
            )
    for name, remedy in REPLACED.get(family, {}).items():
        if name in own:
            raise UserError(
                f"{_called(part)}: {name} is gone since 0.2, and would never be used. {remedy} "
                "If it is a method of your own, give it another name."
            )


ALIKE = 0.9
"""The likeness, from 0 to 1, from which on a name is taken for a misspelt one."""


def _check_misspelt(part: type[Part]) -> None:
    """Raise `UserError` if a class defines a name that is almost one that the engine uses."""
    known = {*_methods(part), *_constants(part)}
    for name in sorted(_own_names(part) - known - _field_names(part)):
        near = [] if name[0] == "_" else get_close_matches(name, sorted(known), 1, ALIKE)
        if near:
            raise UserError(
                f"{_called(part)}: {name} would never be used; did you mean {near[0]}? "
                "If it is a name of your own, give it another one, such as "
                f"_{name}."
            )


def _own_names(part: type[Part]) -> set[str]:
    """The names that a class and its bases of authors define."""
    return {name for cls in part.__mro__ if not _is_engine(cls) for name in vars(cls)}


def _check_dataclass(part: type[Part]) -> None:
    annotations = vars(part).get("__annotations__", {})
    settings = [name for name, kind in annotations.items() if not _is_constant(kind)]
    learner = _family(part) == "Learner"
    decorator = "@dataclass" if learner else "@dataclass(frozen=True)"
    # A class inherits this attribute, so only its own tells that it is decorated itself.
    if settings and "__dataclass_fields__" not in vars(part):
        raise UserError(
            f"{_called(part)} has settings ({', '.join(settings)}) and is no dataclass. "
            f"Write {decorator} above it."
        )
    params = vars(part).get("__dataclass_params__")
    if learner and params and params.frozen:
        raise UserError(
            f"{_called(part)}: a Learner keeps its model on itself, "
            "so that its dataclass is not frozen. "
            "Write @dataclass without frozen=True."
        )


def _family(part: type[Part]) -> str:
    """The name of the engine's class that the part derives from."""
    return next(cls.__name__ for cls in part.__mro__ if _is_engine(cls))


def _is_engine(kind: type) -> bool:
    """True if a class is of the engine, not of a part that ships or of an author."""
    package, _, path = kind.__module__.partition(".")
    folder = path.partition(".")[0]
    return package == "retrograde" and folder not in KINDS


def _is_constant(annotation: object) -> bool:
    """True if an annotation, which may be text, makes no setting."""
    if isinstance(annotation, str):
        generic = annotation.partition("[")[0]
        return generic.rpartition(".")[2] in ("ClassVar", "InitVar")
    if annotation is ClassVar or get_origin(annotation) is ClassVar:
        return True
    return isinstance(annotation, dataclasses.InitVar)


def _methods(part: type[Part]) -> list[str]:
    """The public methods that the engine calls on a part of that kind, sorted."""
    names: set[str] = set()
    for base in filter(_is_engine, part.__mro__):
        members = vars(base).items()
        names |= {name for name, value in members if name[0] != "_" and _is_method(value)}
    return sorted(names)


def _is_method(value: object) -> bool:
    return inspect.isfunction(value) or isinstance(value, classmethod | staticmethod)


def _constants(part: type[Part]) -> dict[str, Any]:
    """The class variables that the engine reads, such as `scenarios`, with their types."""
    constants: dict[str, Any] = {}
    for base in filter(_is_engine, part.__mro__):
        for name, kind in get_type_hints(base, include_extras=True).items():
            if get_origin(kind) is ClassVar:
                constants[name] = get_args(kind)[0]
    return constants


def _check_constant(
    part: type[Part],
    name: str,
    kind: Any,
) -> None:
    value = getattr(part, name)
    if name in _field_names(part):
        raise UserError(
            f"{_called(part)}: {name} is an attribute of the class, not a setting. "
            f"Write {name}: ClassVar[...] = ..."
        )
    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        rule = rule_of(error)
        raise UserError(
            f"{_called(part)}: {name} = {value!r:.80} is not possible. {rule}."
        ) from None


def _field_names(part: type[Part]) -> set[str]:
    if not dataclasses.is_dataclass(part):
        return set()
    return {field.name for field in dataclasses.fields(part)}


def check_recorded(part: Part) -> None:
    """Check that a record can hold the settings and declarations of a part.

    Raises:
        UserError: a record cannot hold a setting.
    """
    for name, value in part.settings().items():
        found = _unrecordable(value)
        if found is not None:
            kind = type(found).__name__
            raise UserError(
                f"{_called(type(part))}: the setting {name} holds {shown(found)} of type {kind}. "
                f"{_RULE} Make it such a value, and a {kind} of it where it is used."
            )
    # An author's override that raises does so here, before anything trains.
    part.overrides()
    part.declares()


def _unrecordable(value: Any) -> Any:
    """The first element of a value that JSON cannot represent; None if there is none."""
    if isinstance(value, tuple | list):
        results = map(_unrecordable, value)
        return next((found for found in results if found is not None), None)
    if isinstance(value, dict) and all(type(key) is str for key in value):
        return _unrecordable(list(value.values()))
    # NaN is not below infinity either.
    finite = not isinstance(value, float) or abs(value) < float("inf")
    return None if type(value) in _PLAIN_TYPES and finite else value


def _called(part: type[Part]) -> str:
    """The name of a class and its line, as an error names it."""
    where = begins(part)
    return f"{part.__name__} ({where})" if where else part.__name__
