"""ImageNet-R: renditions of 200 classes of ImageNet, decoded once and kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from retrograde import Dataset, DataSource
from retrograde.data import Prepared, decoded_once, prepared

SIDE = 64
"""The height and width of an example; files have all sizes."""
CLASSES = 200
EVERY = 5
"""Every fifth image of a class is a test example."""
SOURCE = (
    "Put the content of imagenet-r.tar of its authors there, the folder imagenet-r with "
    "<wnid>/*.jpg."
)


@dataclass(frozen=True)
class ImageNetR(DataSource):
    """ImageNet-R (Hendrycks et al. 2021, arXiv 2006.16241): 30 000 renditions, 200 classes.

    The folder `imagenet-r` in the data folder, or a zip of it, is read. Of each image, the square
    in its middle is resized to 64 x 64 pixels. It comes without a split. As in the literature (Wang
    et al. 2022, arXiv 2204.04799), 80 % are for training: all but every fifth image of each class,
    in the order of file names, which begin with the style. Their random split is another one.
    """

    licence: ClassVar[str] = "see the authors"

    def load(self, folder: Path) -> Dataset:
        source = prepared(folder, "imagenet-r", "ImageNet-R", SOURCE)
        return decoded_once("imagenet_r", [source.path], lambda: _decoded(source))


def _decoded(source: Prepared) -> Dataset:
    """The images in the order of class and name.

    Raises:
        UserError: Classes or images are missing, or one is damaged.
    """
    found = [name for name in source.names if name.count("/") == 1 and name.endswith(".jpg")]
    classes = sorted({name.partition("/")[0] for name in found})
    if len(classes) != CLASSES:
        raise source.broken(f"has images of {len(classes)} classes; there are {CLASSES}")
    members = [[name for name in found if name.startswith(f"{wnid}/")] for wnid in classes]
    few = [wnid for wnid, of in zip(classes, members, strict=True) if len(of) < EVERY]
    if few:
        raise source.broken(f"has fewer than {EVERY} images of {few[0]}")
    train = [[name for place, name in enumerate(of, 1) if place % EVERY] for of in members]
    test = [of[EVERY - 1 :: EVERY] for of in members]
    (x_train, y_train), (x_test, y_test) = (_part(source, part) for part in (train, test))
    return Dataset(
        "imagenet_r", x_train, y_train, x_test, y_test, scale=1 / 255, class_names=tuple(classes)
    )


def _part(source: Prepared, of_class: list[list[str]]) -> tuple[np.ndarray, np.ndarray]:
    """The images of one part and their labels, from the names of each class."""
    x = source.images([name for of in of_class for name in of], SIDE)
    return x, np.repeat(np.arange(len(of_class)), [len(of) for of in of_class])
