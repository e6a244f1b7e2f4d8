"""Rows become examples: the dataset on the device, and batches of its rows as a model sees them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from retrograde.augmentation import Augment, augmented
from retrograde.data.channels import Channels
from retrograde.data.dataset import Dataset
from retrograde.interface.batch import Batch
from retrograde.optim import NO_TENSORS, Params
from retrograde.randomness import named
from retrograde.training.columns import Columns

SCALED_BYTES = 1 << 28
"""The largest test set that is kept scaled, which takes four times the memory of bytes."""


class ExampleRows:
    """The examples of a dataset as rows of stored values on the device.

    Whole numbers are scaled as they are read, but for those of a test set that is not too large:
    every evaluation reads it.

    Args:
        dataset: The dataset.
        device: The device.
        channels: The mean and standard deviation with which images are normalised, if they are.
        augment: The random changes of the images that are trained on.
        tells_task: If False, every example says that its task is 0.
    """

    def __init__(
        self,
        dataset: Dataset,
        device: torch.device,
        channels: Channels | None = None,
        augment: Augment = "none",
        tells_task: bool = True,
    ) -> None:
        self.shape = dataset.shape
        self.scale = dataset.scale
        self.augment: Augment = augment
        self.tells_task = tells_task
        self.normalised = normaliser(channels, device)
        self.train = self._rows(dataset.x_train, device)
        test = self._rows(dataset.x_test, device)
        small = 4 * test.numel() <= SCALED_BYTES
        self.test = self._scaled(test) if small else test

    def _rows(self, x: np.ndarray, device: torch.device) -> Tensor:
        """All examples as rows of stored values, with a black pixel at the end."""
        flat = x.reshape(len(x), -1)
        stored = torch.from_numpy(np.pad(flat, ((0, 0), (0, 1)))).to(device)
        return stored * self.scale if stored.is_floating_point() else stored

    def images(
        self,
        stored: Tensor,
        view: Tensor,
        pixels: Tensor | None = None,
    ) -> Float[Tensor, "row *shape"]:
        """Images from rows of stored values; `pixels` selects the values of each view."""
        flat = stored if pixels is None else stored.gather(1, pixels[view])
        return self._scaled(flat).reshape(-1, *self.shape)

    def _scaled(self, stored: Tensor) -> Tensor:
        """Stored values as the numbers that they stand for."""
        return stored if stored.is_floating_point() else stored * self.scale

    def batch(
        self,
        columns: Columns,
        own: dict[str, Any],
        dataset: Tensor,
        kept: Params = NO_TENSORS,
    ) -> Batch:
        """The examples of some rows of one replicate as they are.

        Args:
            columns: The rows.
            own: The tensors of the replicate, among them the tables `pixels` and `targets` of the
                stream if it has them.
            dataset: All examples, as `train` or `test`.
            kept: What was kept with each of them.
        """
        images = self._plain(columns, own, dataset)
        return self._batch(columns, own, self.normalised(images), kept)

    def _plain(self, columns: Columns, own: dict[str, Any], dataset: Tensor) -> Tensor:
        """The images of some rows before augmentation and normalisation."""
        pixels = own.get("pixels")
        stored = without_black(dataset) if pixels is None else dataset
        return self.images(stored.index_select(0, columns.row), columns.view, pixels)

    def _batch(
        self, columns: Columns, own: dict[str, Any], x: Tensor, kept: Params = NO_TENSORS
    ) -> Batch:
        task = columns.task if self.tells_task else torch.zeros_like(columns.task)
        return Batch(x, targets_of(columns, own), task, columns.weight.float(), kept)

    def views(
        self,
        columns: Columns,
        own: dict[str, Any],
        dataset: Tensor,
        count: int,
    ) -> list[Batch]:
        """The examples of some rows to train on, augmented; see `batch`.

        Args:
            columns: The rows.
            own: The tensors of the replicate, among them the key of the step.
            dataset: All examples.
            count: The number of views, each with random changes of its own.
        """
        images = self._plain(columns, own, dataset)
        batches = []
        for number in range(count):
            view = images
            if self.augment != "none":
                key = named(own["key"], f"view {number}")
                view = augmented(images, key, self.augment)
            batches.append(self._batch(columns, own, self.normalised(view)))
        return batches


def targets_of(columns: Columns, own: dict[str, Any]) -> Tensor:
    """The labels of some rows of one replicate or, in regression, their values."""
    return own["targets"][columns.y] if "targets" in own else columns.y


def normaliser(
    channels: Channels | None,
    device: torch.device,
) -> Callable[[Tensor], Tensor]:
    """A function that normalises each channel of images; without channels, it changes nothing.

    Args:
        channels: The mean and the standard deviation of each channel.
        device: The device of the images.
    """
    if channels is None:
        return lambda images: images
    mean, std = (torch.from_numpy(values).float().to(device)[:, None, None] for values in channels)
    return lambda images: (images - mean) / std


def without_black(stored: Tensor) -> Tensor:
    """Rows without the black pixel at the end, to which only `Stream.pixels` refers."""
    return stored[:, :-1]
