"""Several datasets of images as one, whose classes follow one another."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from torch.nn.functional import interpolate

from retrograde.data.dataset import ARRAYS, Dataset
from retrograde.errors import UserError

GREY = (0.299, 0.587, 0.114)
"""The shares of red, green and blue in the brightness of a pixel (ITU-R BT.601)."""


def joined(datasets: Sequence[Dataset]) -> Dataset:
    """The examples of several datasets, all in the form of the first one's images.

    The classes of each dataset follow those of the one before. Images are resized by bilinear
    interpolation, and are stored as bytes.

    Raises:
        UserError: A dataset has no images, comes twice, or has tasks or validation of its own.
    """
    names = [data.name for data in datasets]
    for data in datasets:
        if len(data.shape) != 3 or data.shape[0] not in (1, 3):
            raise UserError(
                "Datasets that are joined have images with one or three channels; the examples of "
                f"{data.name} have shape {data.shape}."
            )
        if names.count(data.name) > 1:
            raise UserError(
                f"Each dataset is joined once; {data.name} comes twice. Rename one of the files."
            )
        others = sorted(set(data.arrays) - set(ARRAYS))
        if others:
            raise UserError(
                "Datasets that are joined have training and test examples alone; "
                f"{data.name} has {', '.join(others)} too. Leave them out."
            )
    shape = datasets[0].shape
    starts = np.cumsum([0, *(data.classes for data in datasets[:-1])])
    pairs = list(zip(datasets, starts, strict=True))
    return Dataset(
        "+".join(names),
        np.concatenate([_resized(data.x_train, data, shape) for data in datasets]),
        np.concatenate([data.y_train + start for data, start in pairs]),
        np.concatenate([_resized(data.x_test, data, shape) for data in datasets]),
        np.concatenate([data.y_test + start for data, start in pairs]),
        scale=1 / 255,
        class_names=_names(datasets),
        joined=tuple(data.classes for data in datasets),
    )


def _names(datasets: Sequence[Dataset]) -> tuple[str, ...]:
    """The names of all classes, each with that of its dataset; none if a dataset has none."""
    if not all(data.class_names for data in datasets):
        return ()
    return tuple(f"{data.name} {name}" for data in datasets for name in data.class_names)


def _resized(
    x: np.ndarray, data: Dataset, shape: tuple[int, ...]
) -> UInt8[np.ndarray, "n channel height width"]:
    """Images in another form, as bytes."""
    channels, height, width = shape
    blocks = [np.zeros((0, *shape), np.uint8)]
    for start in range(0, len(x), 1000):
        images = torch.from_numpy(x[start : start + 1000] * np.float32(data.scale)).clamp(0, 1)
        if len(images[0]) > channels:
            weights = torch.tensor(GREY)[:, None, None]
            images = (images * weights).sum(1, keepdim=True)
        images = images.expand(-1, channels, -1, -1)
        if images.shape[2:] != (height, width):
            images = interpolate(images, (height, width), mode="bilinear", antialias=True)
        blocks.append((images * 255).round().to(torch.uint8).numpy())
    return np.concatenate(blocks)
