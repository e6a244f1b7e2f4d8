"""MNIST."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retrograde import Dataset, DataSource, UserError
from retrograde.data import import_torchvision, is_file, not_had


@dataclass(frozen=True)
class MNIST(DataSource):
    """MNIST (LeCun et al. 1998): 60 000 training and 10 000 test digits of 28 x 28 pixels."""

    def load(self, folder: Path) -> Dataset:
        try:
            x_train, y_train = _read(folder, train=True)
            x_test, y_test = _read(folder, train=False)
        except UserError:
            raise
        except Exception as error:
            raise not_had("MNIST", folder, "MNIST/raw", "the four *-ubyte files", error) from error
        return Dataset("mnist", x_train, y_train, x_test, y_test, scale=1 / 255)


def _read(folder: Path, train: bool) -> tuple[np.ndarray, np.ndarray]:
    for file in (folder / "MNIST" / "raw").glob("*-ubyte*"):
        is_file(file)  # a pipe would be waited for
    mnist = import_torchvision().datasets.MNIST
    try:
        part = mnist(folder, train=train, download=False)
    except RuntimeError:  # torchvision's way to say that the files are not there
        part = mnist(folder, train=train, download=True)
    x = part.data.numpy()[:, None]
    return x, part.targets.numpy().astype(np.int64)
