"""A part's settings: the fields of its dataclass, checked, read from text and written as text."""

import dataclasses
import inspect
from abc import ABC
from cmath import isfinite
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from retrograde.errors import UserError, nearest, shown
from retrograde.parts.fields import Bound
from retrograde.parts.spec import as_text, literal

P = TypeVar("P", bound="Part")


Opened = TypeVar("Opened", bound="OpenPart")


class Part(ABC):
    """What a file of the three folders defines: a dataclass whose fields are its settings."""

    kind: ClassVar[str] = "part"
    later: ClassVar[tuple[str, ...]] = ()
    """Settings that came after records were made: they are among a part's settings only where they are not the default."""

    def __post_init__(self) -> None:
        """Check and convert every setting to its annotated type; raise `UserError` at the first misfit."""
        for field in _fields(type(self)):
            object.__setattr__(
                self, field.name, _converted(type(self), field.name, getattr(self, field.name))
            )

    @classmethod
    def configured(cls: type[P], given: Mapping[str, object]) -> P:
        """Build the part from settings by name, as text or as values; unknown names raise `UserError`."""
        known = [field.name for field in _fields(cls)]
        for name in given:
            if name not in known:
                raise UserError(
                    f"{cls.__name__} has no setting {shown(name)}. {nearest(name, known)}"
                )
        missing = [f.name for f in _fields(cls) if _has_no_default(f) and f.name not in given]
        if missing:
            raise UserError(
                f"{cls.__name__} needs {', '.join(missing)}, which have no default. Give them."
            )
        if abstract := sorted(getattr(cls, "__abstractmethods__", ())):
            raise UserError(f"{cls.__name__} is not complete. Define {', '.join(abstract)}.")
        return cls(**{name: _converted(cls, name, value) for name, value in given.items()})

    def settings(self) -> dict[str, Any]:
        """Every setting, resolved, as JSON values; of `later` only those that are not as the declaring class has them."""
        declared = next(each for each in type(self).__mro__ if "later" in vars(each))
        unsaid = {
            field.name: field.default for field in _fields(declared) if field.name in self.later
        }
        own = {field.name: getattr(self, field.name) for field in _fields(type(self))}
        values = {
            name: value
            for name, value in own.items()
            if name not in unsaid or value != unsaid[name]
        }
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }

    def sizes(self) -> dict[str, float]:
        """The settings that are numbers with a fraction, of which only the size counts; not a `Bound`, whose 0 is none.

        Nothing where the part keeps more than its settings, which may have been made of them.
        """
        hints, own = (
            _hints(type(self)),
            {field.name: getattr(self, field.name) for field in _fields(type(self))},
        )
        if vars(self).keys() - own.keys():
            return {}
        return {
            name: value
            for name, value in own.items()
            if isinstance(value, float) and hints[name] != Bound
        }

    def changed(self) -> str:
        """The settings that differ from their defaults, as `key=value,...`: what a table shows."""
        pairs = ((field, getattr(self, field.name)) for field in _fields(type(self)))
        return ",".join(
            f"{field.name}={as_text(value)}" for field, value in pairs if value != field.default
        )

    @classmethod
    def defaults(cls) -> str:
        """Every setting with its default, as `key=value,...`; one that must be given has none."""
        pairs = (
            (f.name, "" if f.default is dataclasses.MISSING else as_text(f.default))
            for f in _fields(cls)
        )
        return ",".join(f"{name}={default}" for name, default in pairs)

    def declares(self) -> dict[str, str]:
        """What it says of itself beside its settings, in words."""
        return {}

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(cls) or "").partition("\n")[0]


class OpenPart(Part):
    """A part around a class or function of another library: beside its fields, its settings are whatever that is called with.

    The field `name` is written `class`, and `arguments` holds the others, which are settings as they are given.
    """

    name: str
    arguments: dict[str, Any]

    @classmethod
    def configured(cls: type[Opened], given: Mapping[str, object]) -> Opened:
        own = {field.name for field in _fields(cls)} - {"name", "arguments"}
        arguments = {
            name: literal(value) for name, value in given.items() if name not in {*own, "class"}
        }
        named = {"name": given.get("class", cls.name)} | (
            {"arguments": arguments} if arguments or "class" in given else {}
        )
        return super().configured(
            {name: value for name, value in given.items() if name in own} | named
        )

    def settings(self) -> dict[str, Any]:
        values = super().settings()
        given = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.pop("arguments").items()
        }
        return {"class": values.pop("name")} | values | given

    def changed(self) -> str:
        default = type(self)().settings()
        pairs = self.settings().items()
        return ",".join(
            f"{name}={as_text(value)}"
            for name, value in pairs
            if name not in default or value != default[name]
        )

    @classmethod
    def defaults(cls) -> str:
        return ",".join(f"{name}={as_text(value)}" for name, value in cls().settings().items())


def _converted(cls: Any, name: str, given: object) -> Any:
    try:
        value = _adapters(cls)[name].validate_python(given)
    except ValidationError as error:
        rule = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UserError(f"{cls.__name__}: {name}={shown(given)} is not possible. {rule}.") from None
    if not _finite(value):
        raise UserError(
            f"{cls.__name__}: {name}={shown(given)} is not possible. Input should be a finite number."
        )
    return value


def _finite(value: object) -> bool:
    """True unless a number in it is NaN or infinite: no record or digest can hold such a setting."""
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(_finite, value))
    return not isinstance(value, float | complex) or isfinite(value)


def check_annotations(cls: Any, called: str) -> None:
    """Raise `UserError` where a setting's annotation cannot be resolved, or is of a type that cannot be checked."""
    try:
        hints = _hints(cls)
    except Exception as error:
        raise UserError(
            f"{called}: an annotation cannot be resolved: {type(error).__name__}: {error}. "
            "Import what it names at the top of the file, not under TYPE_CHECKING."
        ) from error
    for field in _fields(cls):
        _check_type(cls, field.name, hints[field.name], called)


def _check_type(cls: Any, name: str, hint: object, called: str) -> None:
    try:
        _adapter(cls, name)
    except Exception as error:
        raise UserError(
            f"{called}: {name} is annotated with a type that no setting can have: {hint!r:.80}. "
            "Annotate it with numbers, text, truth values or tuples of these, such as Rate, Count, str or tuple[int, ...]."
        ) from error


@cache
def _adapters(cls: Any) -> dict[str, TypeAdapter[Any]]:
    return {field.name: _adapter(cls, field.name) for field in _fields(cls)}


@cache
def _adapter(cls: Any, name: str) -> TypeAdapter[Any]:
    return TypeAdapter(_hints(cls)[name])


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _has_no_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


@cache
def _fields(cls: type) -> tuple[dataclasses.Field[Any], ...]:
    return (
        tuple(f for f in dataclasses.fields(cls) if f.init) if dataclasses.is_dataclass(cls) else ()
    )
