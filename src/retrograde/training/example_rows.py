"""Rows become examples: the dataset on the device, and batches of its rows as a model sees them."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from retrograde.data.dataset import Dataset
from retrograde.interface.batch import Batch
from retrograde.optim import Params
from retrograde.training.columns import Columns


class ExampleRows:
    """The examples of a dataset as rows of stored values on the device.

    Args:
        dataset: The dataset.
        device: The device.
    """

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        self.shape = dataset.shape
        self.scale = dataset.scale
        self.train = _rows(dataset.x_train, device)
        self.test = _rows(dataset.x_test, device)

    def images(
        self,
        stored: Tensor,
        task: Tensor,
        pixels: Tensor | None = None,
    ) -> Float[Tensor, "row *shape"]:
        """Images from rows of stored values; `pixels` selects the values of each task."""
        # Only `pixels` refers to the black pixel at the end.
        flat = stored[:, :-1] if pixels is None else stored.gather(1, pixels[task])
        return (flat * self.scale).reshape(-1, *self.shape)

    def batch(
        self,
        columns: Columns,
        own: dict[str, Any],
        dataset: Tensor,
        kept: Params | None = None,
    ) -> Batch:
        """The examples of some rows of one replicate.

        Args:
            columns: The rows.
            own: The tensors of the replicate, among them `pixels` if the stream has such a table.
            dataset: All examples, as `train` or `test`.
            kept: What was kept with each of them.
        """
        images = self.images(dataset[columns.row], columns.task, own.get("pixels"))
        return Batch(images, columns.y, columns.task, columns.weight.float(), kept or {})


def _rows(x: np.ndarray, device: torch.device) -> Tensor:
    """All examples as rows of stored values, with a black pixel at the end."""
    flat = x.reshape(len(x), -1)
    padded = np.pad(flat, ((0, 0), (0, 1)))
    return torch.from_numpy(padded).to(device)
