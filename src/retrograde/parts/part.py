"""Parts and their settings: dataclass fields that are checked, and read and written as text."""

import dataclasses
import inspect
from abc import ABC
from cmath import isfinite
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from retrograde.errors import UserError, nearest, shown
from retrograde.parts.fields import Bound, Count
from retrograde.parts.spec import as_json, as_pairs, as_text, literal

P = TypeVar("P", bound="Part")


Opened = TypeVar("Opened", bound="OpenPart")


class Part(ABC):
    """A dataclass with settings as its fields, as a file of a kind's folder defines it."""

    kind: ClassVar[str] = "part"
    # Of a benchmark or a strategy: raised when the same settings come to mean something else.
    # Records of before are then of another cell.
    version: ClassVar[Count] = 1
    # Of a benchmark or a strategy: the title in tables and figures, unless a suite names it; empty:
    # the name. That of a benchmark may hold settings in braces, as "Split {dataset}" does.
    title: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Check every setting, and convert it to its annotated type.

        Raises:
            UserError: a setting does not fit its type.
        """
        for field in _fields(type(self)):
            value = _converted(type(self), field.name, getattr(self, field.name))
            # The dataclass of a part is frozen.
            object.__setattr__(self, field.name, value)

    @classmethod
    def configured(cls: type[P], given: Mapping[str, object]) -> P:
        """Build the part from settings.

        Args:
            given: settings by name, as text or as values.

        Raises:
            UserError: a name is unknown, a value does not fit, a setting without a default is
                missing, or the class is abstract.
        """
        known = [field.name for field in _fields(cls)]
        for name in given:
            if name not in known:
                raise UserError(
                    f"{cls.__name__} has no setting {shown(name)}. {nearest(name, known)}"
                )
        missing = [
            field.name
            for field in _fields(cls)
            if _default(field) is dataclasses.MISSING and field.name not in given
        ]
        if missing:
            raise UserError(
                f"{cls.__name__} has no default for {', '.join(missing)}. Give a value."
            )
        abstract = sorted(getattr(cls, "__abstractmethods__", ()))
        if abstract:
            raise UserError(f"{cls.__name__} is not complete. Define {', '.join(abstract)}.")
        values = {name: _converted(cls, name, value) for name, value in given.items()}
        return cls(**values)

    def settings(self) -> dict[str, Any]:
        """Every setting, resolved, as JSON values."""
        return {name: _as_json(value) for name, value in _values(self).items()}

    def continuous_settings(self) -> dict[str, float]:
        """The float settings, which may be passed to a compiled step as tensors.

        A `Bound` is not among them, since its 0 means "no bound". The dictionary is empty if the
        part keeps more than its settings, which may have been computed from them.
        """
        values = _values(self)
        if vars(self).keys() - values.keys():
            return {}
        hints = _hints(type(self))
        return {
            name: value
            for name, value in values.items()
            if isinstance(value, float) and hints[name] != Bound
        }

    def overrides(self) -> dict[str, Any]:
        """The settings that differ from their defaults, as JSON values.

        They identify the part, together with its name and version: a new setting with a default
        changes no identity.
        """
        defaults = {field.name: _default(field) for field in _fields(type(self))}
        return {
            name: _as_json(value)
            for name, value in _values(self).items()
            if not _same(value, defaults[name])
        }

    @classmethod
    def defaults(cls) -> str:
        """Every setting with its default, as `key=value,...`.

        The default of a setting that must be given is empty.
        """
        defaults = {field.name: _default(field) for field in _fields(cls)}
        return as_pairs(
            {
                name: "" if value is dataclasses.MISSING else value
                for name, value in defaults.items()
            }
        )

    def declares(self) -> dict[str, str]:
        """Declarations about the part other than its settings, as texts by name."""
        return {}

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(cls) or "").partition("\n")[0]


class OpenPart(Part):
    """A part around a class or function of another library.

    Besides its fields, its settings are the arguments of that class or function. The field `name`
    is written `class`, and `arguments` holds the arguments, which are settings as they are given.
    """

    name: str
    arguments: dict[str, Any]

    def __post_init__(self) -> None:
        """Raise `UserError` if an argument has the name of a setting, which would hide it."""
        super().__post_init__()
        own = {"class", *(field.name for field in _fields(type(self)))}
        hidden = sorted(own & self.arguments.keys())
        if hidden:
            raise UserError(
                f"{type(self).__name__}: {hidden[0]} is a setting of its own, not one of the "
                f"arguments. Give it as {hidden[0]}=..."
            )

    @classmethod
    def configured(cls: type[Opened], given: Mapping[str, object]) -> Opened:
        fields = {field.name for field in _fields(cls)} - {"name", "arguments"}
        arguments = {
            name: literal(value) for name, value in given.items() if name not in {*fields, "class"}
        }
        settings = {name: value for name, value in given.items() if name in fields}
        settings["name"] = given.get("class", cls.name)
        # Default arguments are those of the default class alone.
        if arguments or "class" in given:
            settings["arguments"] = arguments
        return super().configured(settings)

    def settings(self) -> dict[str, Any]:
        values = super().settings()
        del values["arguments"]
        return {"class": values.pop("name")} | values | _typed_back(self.arguments)

    def overrides(self) -> dict[str, Any]:
        given = super().overrides()
        changed = given.keys() & {"name", "arguments"}
        fields = {name: value for name, value in given.items() if name not in changed}
        if not changed:
            return fields
        # Arguments have a meaning only together with the class that takes them.
        return {"class": self.name} | fields | _typed_back(self.arguments)

    @classmethod
    def defaults(cls) -> str:
        return as_pairs(cls().settings())


# Not a method, so that no name of an author's class hides it.
def _values(part: Part) -> dict[str, Any]:
    return {field.name: getattr(part, field.name) for field in _fields(type(part))}


def _same(value: object, default: object) -> bool:
    """True if a setting has its default, which JSON tells from one of another type."""
    if default is dataclasses.MISSING:
        return False
    return as_json(_as_json(value)) == as_json(_as_json(default))


def _as_json(value: object) -> object:
    """A setting as JSON has it, which has neither tuples nor numbers of NumPy, at any depth."""
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    # Not by `isinstance`, for which NumPy would have to be imported.
    tolist: Any = getattr(value, "tolist", None)
    return tolist() if tolist and type(value).__module__ == "numpy" else value


def _typed_back(arguments: Mapping[str, object]) -> dict[str, object]:
    """Arguments without types of their own, so that their texts stand for the same values.

    The text "5" and the tuple (1,) are kept as Python writes them. Else both would be read as
    numbers.
    """

    def kept(value: object) -> object:
        plain = not isinstance(value, str | tuple | list)
        in_json = _as_json(value)
        # What JSON has no form for stays as it is, and is refused.
        if plain or repr(literal(as_text(in_json))) == repr(value) or not _has_json(value):
            return in_json
        return repr(value)

    return {name: kept(value) for name, value in arguments.items()}


def _has_json(value: object) -> bool:
    try:
        as_json(_as_json(value))
    except (TypeError, ValueError):
        return False
    return True


def _converted(
    cls: Any,
    name: str,
    given: object,
) -> Any:
    try:
        value = _adapters(cls)[name].validate_python(given)
    except ValidationError as error:
        rule = rule_of(error)
        raise UserError(f"{cls.__name__}: {name}={shown(given)} is not possible. {rule}.") from None
    if not _finite(value):
        raise UserError(
            f"{cls.__name__}: {name}={shown(given)} is not possible. It should be a finite number."
        )
    return value


_WORDS = {
    "Value error, ": "",
    "Input should be": "It should be",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "above",
    "less than": "below",
    ", unable to parse string as a number": "",
    ", unable to parse string as an integer": "",
}
"""Words of pydantic's errors, and ours for them."""


def rule_of(error: ValidationError) -> str:
    """The first rule that a value breaks, as a sentence without its full stop."""
    text: str = error.errors()[0]["msg"]
    for theirs, ours in _WORDS.items():
        text = text.replace(theirs, ours)
    return text


def _finite(value: object) -> bool:
    """True unless the value contains NaN or an infinite number.

    No record or digest can hold such a setting.
    """
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(_finite, value))
    return not isinstance(value, float | complex) or isfinite(value)


def check_annotations(cls: Any, called: str) -> None:
    """Check that values of every setting can be validated by its annotation.

    Args:
        cls: the class of a part.
        called: the class, as an error names it.

    Raises:
        UserError: an annotation cannot be resolved, or no value of its type can be checked.
    """
    try:
        hints = _hints(cls)
    except Exception as error:
        raise UserError(
            f"{called}: an annotation cannot be resolved: {type(error).__name__}: {error}. "
            "Import what it names at the top of the file, not under TYPE_CHECKING."
        ) from error
    for field in _fields(cls):
        _check_type(cls, field.name, hints[field.name], called)


def _check_type(
    cls: Any,
    name: str,
    hint: object,
    called: str,
) -> None:
    try:
        _adapter(cls, name)
    except Exception as error:
        raise UserError(
            f"{called}: {name} is annotated with a type that no setting can have: {hint!r:.80}. "
            "Annotate it with numbers, text, truth values or tuples of these, "
            "such as Rate, Count, str or tuple[int, ...]."
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


def _default(field: dataclasses.Field[Any]) -> Any:
    """The default of a setting; MISSING if it has none."""
    if field.default_factory is dataclasses.MISSING:
        return field.default
    return field.default_factory()


@cache
def _fields(cls: type) -> tuple[dataclasses.Field[Any], ...]:
    # A learner need not be a dataclass, if it has no settings.
    if not dataclasses.is_dataclass(cls):
        return ()
    return tuple(field for field in dataclasses.fields(cls) if field.init)
