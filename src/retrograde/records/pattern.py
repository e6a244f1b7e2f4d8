"""Patterns that name parts by some of their settings, such as `er:buffer_size=500`."""

from collections.abc import Mapping
from typing import NamedTuple

from retrograde.parts.spec import literal, parse
from retrograde.records.privacy import without_folder


class Pattern(NamedTuple):
    """The name of a part, and settings that it has, as text."""

    name: str
    settings: dict[str, str]

    @classmethod
    def of(cls, text: str) -> "Pattern":
        """The pattern of a text, `NAME[:key=value,...]`.

        Raises:
            UserError: a setting is not written as key=value, or is given twice.
        """
        return cls(*parse(text))

    def fits(self, name: str, settings: Mapping[str, object]) -> bool:
        """True if a part has this name and all these settings, whatever its other ones."""
        return name == self.name and all(
            key in settings and _plain(settings[key]) == _plain(text)
            for key, text in self.settings.items()
        )


def _plain(value: object) -> object:
    """A setting as records keep it, whatever the spelling of its text."""
    return literal(without_folder(value))


def best_fit(
    patterns: Mapping[str, str],
    name: str,
    settings: Mapping[str, object],
) -> str | None:
    """The key of the pattern with the most settings among those that fit a part, if any does."""
    fitting = [text for text in patterns if Pattern.of(text).fits(name, settings)]
    return max(fitting, key=lambda text: len(Pattern.of(text).settings), default=None)
