"""Tiny ImageNet, from its own zip, decoded once and kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from retrograde import Dataset, DataSource
from retrograde.data import Prepared, decoded_once, prepared

SIDE = 64
CLASSES = 200
TRAIN = 500
"""Training images of each class."""
TEST = 50
"""Validation images of each class, which are the test examples: those of the test have no label."""
SOURCE = (
    "Put tiny-imagenet-200.zip of Stanford's course CS231n there, as it is: "
    "train/<wnid>/images/*.JPEG, val/images/*.JPEG, val/val_annotations.txt and words.txt."
)


@dataclass(frozen=True)
class TinyImageNet(DataSource):
    """Tiny ImageNet (Le and Yang 2015): 110 000 images of 64 x 64 pixels, 200 classes.

    `tiny-imagenet-200.zip` in the data folder is read in place; without it, the folder
    `tiny-imagenet-200`. The WordNet ids of the classes in their order have the labels 0 to 199; a
    class has the first of its names in `words.txt`. The test examples are the images of `val`.
    """

    licence: ClassVar[str] = "not for commercial use"

    def load(self, folder: Path) -> Dataset:
        source = prepared(folder, "tiny-imagenet-200", "Tiny ImageNet", SOURCE)
        return decoded_once("tiny_imagenet", [source.path], lambda: _decoded(source))


def _decoded(source: Prepared) -> Dataset:
    """The images, all of which are there.

    Raises:
        UserError: Images are missing, damaged or of another size.
    """
    train = {name: name.split("/")[1] for name in source.names if _is_train(name)}
    val = {f"val/images/{name}": wnid for name, wnid, *_ in _annotations(source)}
    classes = sorted(set(train.values()))
    number = {wnid: label for label, wnid in enumerate(classes)}
    if stray := sorted(set(val.values()) - set(classes)):
        raise source.broken(f"has images of {stray[0]} in val alone")
    y_train, y_test = (
        np.array([number[wnid] for wnid in of.values()], dtype=np.int64) for of in (train, val)
    )
    counts = [np.bincount(y, minlength=1).tolist() for y in (y_train, y_test)]
    if counts != [[TRAIN] * CLASSES, [TEST] * CLASSES]:
        raise source.broken(
            f"has {len(train)} training images of {len(classes)} classes and {len(val)} in val; "
            f"there are {TRAIN} and {TEST} of each of {CLASSES} classes"
        )
    x_train = source.images(list(train), SIDE, original=SIDE)
    x_test = source.images(list(val), SIDE, original=SIDE)
    names = _names(source, classes)
    return Dataset(
        "tiny_imagenet", x_train, y_train, x_test, y_test, scale=1 / 255, class_names=names
    )


def _is_train(name: str) -> bool:
    return name.startswith("train/") and name.endswith(".JPEG")


def _annotations(source: Prepared) -> list[list[str]]:
    """The name and the class of each image of `val`, and its box."""
    lines = source.lines("val/val_annotations.txt")
    if any(len(line) < 2 for line in lines):
        raise source.broken("has a val_annotations.txt without a class in each line")
    return lines


def _names(source: Prepared, classes: list[str]) -> tuple[str, ...]:
    """The first name of each class; those that share it have their WordNet id too."""
    first = {wnid: " ".join(words).split(",")[0] for wnid, *words in source.lines("words.txt")}
    names = [first.get(wnid) or wnid for wnid in classes]
    return tuple(
        f"{name} ({wnid})" if names.count(name) > 1 else name
        for name, wnid in zip(names, classes, strict=True)
    )
