"""Adaptation from random weights, without meta-learning."""

from dataclasses import dataclass
from typing import ClassVar

from retrograde import MetaStrategy


@dataclass(frozen=True, kw_only=True)
class Scratch(MetaStrategy):
    """Fine-tune random weights on the new task: the lower bound."""

    meta_trains: ClassVar[bool] = False
    uses_meta_optimizer: ClassVar[bool] = False
