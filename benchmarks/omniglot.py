"""Omniglot: few-shot classification of handwritten characters."""

from dataclasses import dataclass
from typing import Literal

from retrograde import ClassEpisodes, Ints


@dataclass(frozen=True, kw_only=True)
class Omniglot(ClassEpisodes):
    """1623 characters, divided 1100 / 100 / 423; turned ones are new classes in meta-training (Santoro et al. 2016)."""

    dataset: str = "omniglot"
    split: Ints = (1100, 100, 423)
    rotations: Literal["none", "train", "all"] = "train"
    model: str = "conv4-64"
