"""Rows: examples in the order in which they are used, as one integer array with named columns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

COLUMNS = ("row", "task", "y", "view", "weight", "slot")
"""The columns of `Rows`, in order."""
EXAMPLE = 4
"""The number of columns that say which example it is.

They are the row of the dataset, the task, the output unit and the view.
"""


@dataclass(frozen=True, eq=False)
class Rows:
    """Examples in the order in which they are used.

    One array holds all columns, so that the rows of many steps reach a device in one transfer.
    Indices and shapes are those of the examples: the axis of the columns is not counted.

    Args:
        array: Integers whose last axis has the first columns of `COLUMNS`. Examples of a memory
            have four, test and pretraining examples five, and training examples all six.
    """

    array: Int64[np.ndarray, "*shape column"]

    @classmethod
    def of(
        cls,
        row: Int64[np.ndarray, "*shape"],
        task: int | Int64[np.ndarray, "*shape"],
        y: Int64[np.ndarray, "*shape"],
        view: Int64[np.ndarray, "*shape"] | None = None,
    ) -> "Rows":
        """Rows with the four columns of an example; by default, its view is that of its task."""
        tasks = np.broadcast_to(task, row.shape)
        return cls(np.stack([row, tasks, y, tasks if view is None else view], axis=-1))

    @classmethod
    def concat(cls, parts: Sequence["Rows"], axis: int = 0) -> "Rows":
        """Join rows along an axis of examples."""
        return cls(np.concatenate([part.array for part in parts], axis=axis))

    @classmethod
    def stack(cls, parts: Sequence["Rows"], axis: int = 0) -> "Rows":
        """Stack rows along a new axis of examples."""
        return cls(np.stack([part.array for part in parts], axis=axis))

    @classmethod
    def where(cls, condition: Bool[np.ndarray, "*shape"], first: "Rows", second: "Rows") -> "Rows":
        """Rows of `first` if the condition holds, and of `second` otherwise."""
        return cls(np.where(condition[..., None], first.array, second.array))

    @property
    def row(self) -> np.ndarray:
        """The row of the dataset."""
        return self.array[..., 0]

    @property
    def task(self) -> np.ndarray:
        """The number of the task."""
        return self.array[..., 1]

    @property
    def y(self) -> np.ndarray:
        """The output unit that is right."""
        return self.array[..., 2]

    @property
    def view(self) -> np.ndarray:
        """The row of `Stream.pixels` by which the example is seen."""
        return self.array[..., 3]

    @property
    def weight(self) -> np.ndarray:
        """1, or 0 for padding."""
        return self.array[..., 4]

    @property
    def slot(self) -> np.ndarray:
        """The slot of the memory; the memory's size stands for none.

        An incoming example is written into it after the step; a replayed example comes from it.
        """
        return self.array[..., 5]

    @property
    def real(self) -> Bool[np.ndarray, "*shape"]:
        """False for padding."""
        return self.weight > 0

    @property
    def examples(self) -> "Rows":
        """The columns of the example alone."""
        return Rows(self.array[..., :EXAMPLE])

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, without the axis of the columns."""
        return self.array.shape[:-1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the integers; with `shape` it lets annotations state the axes of rows."""
        return self.array.dtype

    def __len__(self) -> int:
        """The length of the first axis."""
        return len(self.array)

    def __iter__(self) -> Iterator["Rows"]:
        """The rows along the first axis."""
        return (Rows(part) for part in self.array)

    def __getitem__(self, index: Any) -> "Rows":
        """Some of the rows, by an index over the axes of examples."""
        return Rows(self.array[index])

    def reshape(self, *shape: int) -> "Rows":
        """The same rows in another shape."""
        return Rows(self.array.reshape(*shape, self.array.shape[-1]))

    def transposed(self) -> "Rows":
        """A copy with the first two axes exchanged."""
        return Rows(np.ascontiguousarray(self.array.swapaxes(0, 1)))

    def tuples(self) -> list[tuple[int, ...]]:
        """Every row as a tuple of its columns, in order."""
        flat: list[list[int]] = self.reshape(-1).array.tolist()
        return [tuple(row) for row in flat]

    def replaced(self, index: Any, by: "Rows") -> "Rows":
        """A copy in which some rows are replaced; of several for one place, the last one counts."""
        array = self.array.copy()
        array[index] = by.array
        return Rows(array)

    def weighted(self, real: Bool[np.ndarray, "*shape"]) -> "Rows":
        """Examples with a column of weights: 1, or 0 where `real` is False."""
        return self._joined(real.astype(np.int64))

    def with_slots(self, slot: int | Int64[np.ndarray, "*shape"]) -> "Rows":
        """Weighted rows with a column of memory slots."""
        return self._joined(np.broadcast_to(slot, self.shape))

    def _joined(self, column: np.ndarray) -> "Rows":
        return Rows(np.concatenate([self.array, column[..., None]], axis=-1))

    def masked(self, real: bool | Bool[np.ndarray, "*shape"]) -> "Rows":
        """A copy with weight 0 where `real` is False."""
        array = self.array.copy()
        array[..., 4] *= real
        return Rows(array)
