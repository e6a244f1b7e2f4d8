"""CUB-200-2011: birds, from the authors' folder, decoded once and kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Int64

from retrograde import Dataset, DataSource
from retrograde.data import Prepared, decoded_once, prepared

SIDE = 128
"""The height and width of an example; the files have about 500 x 400 pixels."""
IMAGES = 11_788
CLASSES = 200
SOURCE = (
    "Put the content of CUB_200_2011.tgz of CaltechDATA there, the folder CUB_200_2011 with "
    "images/, images.txt, image_class_labels.txt, train_test_split.txt and classes.txt."
)


@dataclass(frozen=True)
class CUB200(DataSource):
    """CUB-200-2011 (Wah et al. 2011): 5994 training and 5794 test images of 200 kinds of birds.

    The folder `CUB_200_2011` in the data folder, or a zip of it, is read. Of each image, the square
    in its middle is resized to 128 x 128 pixels. The split is that of the authors.
    """

    licence: ClassVar[str] = "not for commercial use"

    def load(self, folder: Path) -> Dataset:
        source = prepared(folder, "CUB_200_2011", "CUB-200-2011", SOURCE)
        return decoded_once("cub200", [source.path], lambda: _decoded(source))


def _decoded(source: Prepared) -> Dataset:
    """The images that the lists name, in their order.

    Raises:
        UserError: The lists do not fit together, or images are missing or damaged.
    """
    names = [f"images/{name}" for name in _column(source, "images.txt")]
    y = _numbers(source, "image_class_labels.txt") - 1
    is_train = _numbers(source, "train_test_split.txt") == 1
    # 001.Black_footed_Albatross
    classes = [name.partition(".")[2] for name in _column(source, "classes.txt")]
    counts = [len(names), len(y), len(is_train), len(classes), len(np.unique(y))]
    if counts != [IMAGES, IMAGES, IMAGES, CLASSES, CLASSES]:
        raise source.broken(
            f"has {counts[0]} images, {counts[1]} labels, {counts[2]} places in the split and "
            f"{counts[3]} classes in its lists; there are {IMAGES} images of {CLASSES} classes"
        )
    x_train, x_test = (
        source.images([names[place] for place in np.flatnonzero(part)], SIDE)
        for part in (is_train, ~is_train)
    )
    return Dataset(
        "cub200",
        x_train=x_train,
        y_train=y[is_train],
        x_test=x_test,
        y_test=y[~is_train],
        scale=1 / 255,
        class_names=tuple(classes),
    )


def _column(source: Prepared, name: str) -> list[str]:
    """The second word of each line of a list, whose first is a number that counts from 1."""
    lines = source.lines(name)
    counted = [str(number) for number in range(1, len(lines) + 1)]
    if [line[0] for line in lines] != counted or any(len(line) != 2 for line in lines):
        raise source.broken(f"has a {name} whose lines are not a number from 1 on and a word")
    return [line[1] for line in lines]


def _numbers(source: Prepared, name: str) -> Int64[np.ndarray, " n"]:
    words = _column(source, name)
    if not all(word.isdecimal() for word in words):
        raise source.broken(f"has a {name} with other words than whole numbers")
    return np.array(words, dtype=np.int64)
