"""Scikit-learn's digits, which come with the suite."""

from dataclasses import dataclass, replace
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np

from retrograde import Dataset, DataSource
from retrograde.data import decoded_once


@dataclass(frozen=True)
class Digits(DataSource):
    """Scikit-learn's 1797 handwritten digits of 8 x 8 pixels, a quarter of them for tests."""

    def load(self, folder: Path) -> Dataset:
        # Kept, since scikit-learn takes longer to import than a short run to train.
        source = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
        return replace(decoded_once("digits", [Path(str(source))], _read), scale=1 / 16)


def _read() -> Dataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import StratifiedShuffleSplit

    bunch: Any = load_digits()
    x = bunch["images"][:, None].astype(np.uint8)
    y = bunch["target"].astype(np.int64)
    # A fixed split: the test examples are the same for every seed of a benchmark.
    split = StratifiedShuffleSplit(1, test_size=0.25, random_state=0)
    train, test = next(split.split(x, y))
    return Dataset("digits", x_train=x[train], y_train=y[train], x_test=x[test], y_test=y[test])
