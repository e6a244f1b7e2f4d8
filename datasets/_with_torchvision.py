"""Datasets of images that torchvision reads, and downloads if they are missing."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from retrograde import Dataset, DataSource, UserError
from retrograde.data import import_torchvision, is_file, not_had


class WithTorchvision(DataSource):
    """A dataset of images that torchvision reads, and downloads if it is missing."""

    # Its name in tables, and in errors.
    name: ClassVar[str]
    title: ClassVar[str]
    # The folder of its files inside the data folder, and these files in words.
    inside: ClassVar[str]
    files: ClassVar[str]

    @abstractmethod
    def part(self, datasets: Any, folder: Path, train: bool, download: bool) -> Any:
        """The training or the test part, as a dataset of `torchvision.datasets`."""

    def images(self, part: Any) -> np.ndarray:
        """The images of a part, of shape (n, channel, height, width)."""
        x = np.asarray(part.data)
        if x.ndim == 3:
            return x[:, None]
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.shape[3] == 3 else x

    def labels(self, part: Any) -> np.ndarray:
        """The labels of a part, from 0."""
        found = part.targets if hasattr(part, "targets") else part.labels
        return np.asarray(found).astype(np.int64)

    def load(self, folder: Path) -> Dataset:
        try:
            train, test = (self._had(folder, train) for train in (True, False))
            x_train, y_train = self.images(train), self.labels(train)
            x_test, y_test = self.images(test), self.labels(test)
        except UserError:
            raise
        except Exception as error:
            raise not_had(self.title, folder, self.inside, self.files, error) from error
        names = tuple(map(str, getattr(train, "classes", ())))
        return Dataset(
            self.name, x_train, y_train, x_test, y_test, scale=1 / 255, class_names=names
        )

    def _had(self, folder: Path, train: bool) -> Any:
        """A part from the data folder, or else downloaded."""
        for file in (folder / self.inside).glob("*"):
            is_file(file)  # a pipe would be waited for
        datasets = import_torchvision().datasets
        try:
            return self.part(datasets, folder, train, download=False)
        except RuntimeError:  # torchvision's way to say that the files are not there
            return self.part(datasets, folder, train, download=True)
