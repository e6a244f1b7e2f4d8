"""Datasets by name or path."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from retrograde.data.cache import cache_folder
from retrograde.data.dataset import Dataset
from retrograde.data.files import arrays, image_folder
from retrograde.data.torchvision import import_torchvision, not_had
from retrograde.errors import UserError, nearest, shown
from retrograde.paths import home_path, kind


def data_folder(given: Path | None = None) -> Path:
    """The folder of downloaded data.

    It is `given`, or else the environment's RETROGRADE_DATA, or else the user's cache folder.
    """
    return given or Path(os.environ.get("RETROGRADE_DATA") or cache_folder())


def load(name: str, folder: Path) -> Dataset:
    """The dataset of a name or at a path.

    Args:
        name: One of the suite's datasets, or the path of a `.npz`, of an image folder or of a zip
            of one.
        folder: The data folder, for datasets that are downloaded.

    Raises:
        UserError: The data are missing or unusable.
    """
    if name in _NAMED:
        return _NAMED[name](folder)
    path = home_path(name)
    if not name or kind(path) == "nothing":
        raise UserError(
            f"A dataset is one of {', '.join(_NAMED)} or a path to a .npz, an image folder or a "
            f"zip of one; {shown(name)} is neither a name nor a file here. {nearest(name, _NAMED)}"
        )
    return arrays(path) if path.suffix == ".npz" else image_folder(path)


def _digits(_: Path) -> Dataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import StratifiedShuffleSplit

    bunch: Any = load_digits()
    x = bunch["images"][:, None].astype(np.uint8)
    y = bunch["target"].astype(np.int64)
    # A fixed split: the test examples are the same for every seed of a benchmark.
    split = StratifiedShuffleSplit(1, test_size=0.25, random_state=0)
    train, test = next(split.split(x, y))
    return Dataset(
        "digits",
        x_train=x[train],
        y_train=y[train],
        x_test=x[test],
        y_test=y[test],
        scale=1 / 16,
    )


def _mnist(folder: Path) -> Dataset:
    try:
        x_train, y_train = _read_mnist(folder, train=True)
        x_test, y_test = _read_mnist(folder, train=False)
    except UserError:
        raise
    except Exception as error:
        raise not_had("MNIST", folder, "MNIST/raw", "the four *-ubyte files", error) from error
    return Dataset("mnist", x_train, y_train, x_test, y_test, scale=1 / 255)


def _read_mnist(folder: Path, train: bool) -> tuple[np.ndarray, np.ndarray]:
    for file in (folder / "MNIST" / "raw").glob("*-ubyte*"):
        kind(file)  # a pipe would be waited for
    mnist = import_torchvision().datasets.MNIST
    try:
        part = mnist(folder, train=train, download=False)
    except RuntimeError:  # torchvision's way to say that the files are not there
        part = mnist(folder, train=train, download=True)
    x = part.data.numpy()[:, None]
    return x, part.targets.numpy().astype(np.int64)


def _omniglot(folder: Path) -> Dataset:
    from retrograde.data.omniglot import omniglot

    return omniglot(folder)


_NAMED = {"digits": _digits, "mnist": _mnist, "omniglot": _omniglot}
