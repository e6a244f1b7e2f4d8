"""The settings that a search chooses from: values, or ranges of values."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, log

import numpy as np

from retrograde.errors import UserError, shown
from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse, range_ends, write
from retrograde.records.cell import PartSpec


@dataclass(frozen=True)
class ValueRange:
    """Any value between two ends, written `LOW..HIGH`.

    Args:
        low: The lower end, inclusive.
        high: The upper end, inclusive.
        whole: True if values are whole numbers.
    """

    low: float
    high: float
    whole: bool = False

    @property
    def logarithmic(self) -> bool:
        """True if values are drawn on a logarithmic scale: if both ends are above 0."""
        return self.low > 0

    @property
    def ends(self) -> tuple[str, str]:
        """Both ends as settings."""
        return self.text(self.low), self.text(self.high)

    def draw(self, random: np.random.Generator) -> str:
        """A random value, as a setting."""
        share = random.random()
        if self.logarithmic:
            return self.text(exp(log(self.low) + share * (log(self.high) - log(self.low))))
        return self.text(self.low + share * (self.high - self.low))

    def text(self, value: float) -> str:
        """A value as a setting: whole, or with four digits."""
        return str(round(value)) if self.whole else f"{value:.4g}"


Choice = tuple[str, ...] | ValueRange
"""The values to choose from for one setting."""


@dataclass(frozen=True)
class SearchSpace:
    """The settings of a strategy to choose from.

    Args:
        strategy: The name of the strategy.
        choices: The values of each setting.
    """

    strategy: str
    choices: dict[str, Choice]

    @classmethod
    def read(cls, spec: str, registry: Registry) -> "SearchSpace":
        """The space that a text such as `er:lr=0.001..1,buffer_size=50|200` stands for.

        Raises:
            UserError: The text cannot be read, or a value is not possible.
        """
        name, settings = parse(spec)
        choices: dict[str, Choice] = {}
        for key, text in settings.items():
            ends = _ends(key, text)
            if ends:
                values = [
                    getattr(registry.get("strategies", name, {key: end}), key) for end in ends
                ]
                whole = all(isinstance(value, int) for value in values)
                low, high = map(float, ends)
                choices[key] = ValueRange(low, high, whole)
                continue
            values = [value.strip() for value in text.split("|")]
            if not all(values):
                raise UserError(
                    f"Values to choose from are written {key}=A|B, or {key}=A..B for any between; "
                    f"{shown(spec)} has {key}={text}."
                )
            choices[key] = tuple(values)
        return cls(name, choices)

    @property
    def finite(self) -> bool:
        """True if no setting has a range."""
        return not any(isinstance(choice, ValueRange) for choice in self.choices.values())

    def grid(self) -> list[str]:
        """Every strategy of the space; of a range both ends."""
        several = [
            choice.ends if isinstance(choice, ValueRange) else choice
            for choice in self.choices.values()
        ]
        return [self.spec(values) for values in itertools.product(*several)]

    def draw(self, random: np.random.Generator) -> str:
        """A random strategy of the space."""
        return self.spec(
            choice.draw(random)
            if isinstance(choice, ValueRange)
            else choice[random.integers(len(choice))]
            for choice in self.choices.values()
        )

    def spec(self, values: Iterable[str]) -> str:
        """The strategy with these values of its settings, as text."""
        return write(self.strategy, dict(zip(self.choices, values, strict=True)))


def _ends(key: str, text: str) -> tuple[str, str] | None:
    """The ends of a range; None if the text is none."""
    ends = range_ends(text)
    if ends and not float(ends[0]) < float(ends[1]):
        raise UserError(f"A range is written {key}=LOW..HIGH; it was {key}={text}.")
    return ends


def canonical(spec: str, registry: Registry) -> str:
    """A strategy as records name it: without settings that have their defaults.

    Raises:
        UserError: There is no such strategy, or a setting is not possible.
    """
    name, settings = parse(spec)
    return PartSpec.of(name, registry.get("strategies", name, settings)).spec
