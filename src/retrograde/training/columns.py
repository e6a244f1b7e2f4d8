"""Rows on the device, taken apart by column."""

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Columns(NamedTuple):
    """The columns of rows on the device, in the order of `streams.rows.COLUMNS`.

    Attributes:
        row: The row of the dataset.
        task: The number of the task.
        y: The output unit that is right.
        view: The row of `Stream.pixels` by which the example is seen.
        weight: 1, or 0 for padding.
        slot: The slot of the memory, a tensor too; None for test and pretraining examples.
    """

    row: Tensor
    task: Tensor
    y: Tensor
    view: Tensor
    weight: Tensor
    slot: Any = None

    @classmethod
    def of(cls, rows: Tensor) -> "Columns":
        """Take rows apart by their last axis; no number is copied."""
        return cls(*rows.unbind(-1))

    def stacked(self) -> Tensor:
        """The columns as one tensor of rows."""
        return torch.stack([column for column in self if column is not None], dim=-1)
