"""CIFAR-10 as JPEG: images of CIFAR-10 in a folder or a zip, decoded once and kept."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retrograde import Dataset, DataSource, UserError
from retrograde.data import decoded_once, image_folder, is_file

FILES = "cifar10-jpeg"
"""The name of the folder in the data folder; that of the zip ends in .zip."""
SHAPE = (3, 32, 32)
CLASSES = 10
TRAIN = 5000
"""Training images of each class."""
TEST = 1000
"""Test images of each class."""


@dataclass(frozen=True)
class CIFAR10JPEG(DataSource):
    """CIFAR-10 as JPEG (Krizhevsky 2009): 50 000 training and 10 000 test images of 32 x 32 pixels.

    `cifar10-jpeg.zip` in the data folder is read in place; without it, the folder `cifar10-jpeg`.
    Either holds `train/<class>/*.jpg`, 5000 images of each class, and `test/<class>/*.jpg`, 1000.
    The names of the classes in alphabetical order have the labels 0 to 9, as in CIFAR-10. Results
    are not those on CIFAR-10, since JPEG loses detail.
    """

    def load(self, folder: Path) -> Dataset:
        source = _source(folder)
        try:
            return decoded_once("cifar10_jpeg", [source], lambda: _decoded(source))
        except UserError as error:
            raise UserError(f"{error} Put a whole copy of CIFAR-10 as JPEG there.") from error


def _source(folder: Path) -> Path:
    """The zip or the folder of images.

    Raises:
        UserError: There is neither.
    """
    extracted = folder.resolve() / FILES
    archive = extracted.with_suffix(".zip")
    if is_file(archive):
        return archive
    if extracted.is_dir():
        return extracted
    raise UserError(
        f"CIFAR-10 as JPEG is not downloaded. Looked for {archive} and the folder {extracted}. "
        f"Put train/<class>/*.jpg there, {TRAIN} images of each class, and test/<class>/*.jpg, "
        f"{TEST}, or set RETROGRADE_DATA to the folder that holds {FILES}.zip or {FILES}."
    )


def _decoded(source: Path) -> Dataset:
    """The images, all of which are there.

    Raises:
        UserError: Images are missing, or have another size.
    """
    data = image_folder(source)
    found = data.classes, sorted(set(_counts(data.y_train))), sorted(set(_counts(data.y_test)))
    if data.shape != SHAPE or found != (CLASSES, [TRAIN], [TEST]):
        raise UserError(
            f"CIFAR-10 as JPEG has {CLASSES} classes, each with {TRAIN} training and {TEST} test "
            f"images of shape {SHAPE}; {source} holds {data.classes} classes with {found[1]} and "
            f"{found[2]} images of shape {data.shape}."
        )
    return data


def _counts(y: np.ndarray) -> list[int]:
    counts: list[int] = np.bincount(y).tolist()
    return counts
