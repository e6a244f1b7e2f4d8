"""The interface of a model."""

import dataclasses
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, get_type_hints

from torch import nn

from retrograde.errors import UserError, shown
from retrograde.parts.fields import Sizes
from retrograde.parts.part import Part
from retrograde.parts.spec import as_text

ModelName = Annotated[str, "of another model"]
"""The name of a model that another one is built around; the last of the settings."""


@dataclass(frozen=True)
class Model(Part):
    """A network by name; its file defines `build`.

    A benchmark names it `NAME-VALUE-VALUE...`: the values of its settings in their order, of which
    the last takes all that remains. `my_net-32` is `MyNet(width=32)`.
    """

    kind: ClassVar[str] = "models"

    @abstractmethod
    def build(
        self,
        shape: tuple[int, ...],
        outputs: int,
        running: bool,
    ) -> nn.Module:
        """Build the network, with initial weights drawn from torch's global generator.

        Methods that treat the last layer apart need it to be an attribute `head` of the module.

        Args:
            shape: The shape of one example, (channel, height, width) for images.
            outputs: The number of output units.
            running: If True, batch normalisation keeps running statistics and uses them in
                evaluation mode, as a stream needs it. If False, it always normalises a batch by
                itself, as MAML does in episodes.
        """


def from_words(
    cls: type[Model],
    spec: str,
) -> Model:
    """The model of a class that a name such as `mlp-100-100` stands for.

    Raises:
        UserError: The values do not fit the settings of the class.
    """
    name, dash, rest = spec.partition("-")
    settings = _settings(cls)
    # The last setting takes the dashes that remain.
    words = rest.split("-", max(len(settings) - 1, 0)) if dash else []
    given = dict(zip(settings, words, strict=False))
    form = f"model={shown(spec)} is not possible. It is written {usage(cls, name)}"
    if dash and (not settings or spec.endswith("-")):
        raise UserError(f"{form}.")
    try:
        part = cls.configured(given)
    except UserError as error:
        raise UserError(f"{form}; {error}") from error
    written = "-".join([name, *_words(part, given)])
    if written != spec:
        raise UserError(f"{form}, here {written}: each model has one name. Write that.")
    return part


def _words(part: Model, given: Iterable[str]) -> list[str]:
    """The settings as they stand in the name of a model; the last ones only if no default."""
    values = {setting: getattr(part, setting) for setting in given}
    fields = {field.name: field for field in dataclasses.fields(part)}
    while values and values[last := next(reversed(values))] == fields[last].default:
        del values[last]
    return [_word(value) for value in values.values()]


def usage(cls: type[Model], name: str) -> str:
    """The form of a model's name: `conv4-WIDTH`, `mlp-HIDDEN-HIDDEN...`."""
    hints = get_type_hints(cls, include_extras=True)
    words = [name]
    for setting in _settings(cls):
        several = hints[setting] == Sizes
        words.append(f"{setting}-{setting}...".upper() if several else setting.upper())
    return "-".join(words)


def is_around(cls: type[Model]) -> bool:
    """True if models of a class are built around another one, which their last setting names."""
    hints = get_type_hints(cls, include_extras=True)
    return any(hints[name] == ModelName for name in _settings(cls)[-1:])


def inner_name(cls: type[Model], spec: str) -> str:
    """The name of the model that the one of a name is built around; empty if there is none."""
    words = spec.split("-", len(_settings(cls)))
    # The name of the class stands before the settings.
    complete = len(words) > len(_settings(cls))
    return words[-1] if is_around(cls) and complete else ""


def _settings(cls: type[Model]) -> list[str]:
    return [field.name for field in dataclasses.fields(cls) if field.init]


def _word(value: object) -> str:
    """A setting as it stands in the name of a model."""
    return "-".join(map(as_text, value)) if isinstance(value, tuple) else as_text(value)
