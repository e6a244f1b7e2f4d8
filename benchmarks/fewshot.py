"""Few-shot classification of the bundled digits, or of any dataset."""

from dataclasses import dataclass
from typing import Literal

from retrograde import ClassEpisodes, Count, Ints


@dataclass(frozen=True, kw_only=True)
class FewShot(ClassEpisodes):
    """Few-shot classification; the classes are divided among meta-training, -validation and -test.

    Classes rotated by quarter turns are further classes. No image is in two of the three parts, but
    shapes may be: a 6 rotated by half a turn is a 9.
    """

    dataset: str = "digits"
    split: Ints = (6, 2, 2)
    rotations: Literal["none", "train", "all"] = "all"
    iterations: Count = 2_000
    test_queries: Count = 15
    model: str = "mlp-64-64"
