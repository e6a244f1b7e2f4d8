"""Omniglot: few-shot classification of handwritten characters."""

from dataclasses import dataclass
from typing import Literal

from retrograde import ClassEpisodes, Ints


@dataclass(frozen=True, kw_only=True)
class Omniglot(ClassEpisodes):
    """Few-shot classification of 1623 handwritten characters, divided 1100 / 100 / 423.

    In meta-training, rotated characters are new classes (Santoro et al. 2016).
    """

    dataset: str = "omniglot"
    split: Ints = (1100, 100, 423)
    rotations: Literal["none", "train", "all"] = "train"
    model: str = "conv4-64"
