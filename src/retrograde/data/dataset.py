"""A dataset: training and test examples as arrays."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int64, Shaped

from retrograde.errors import UserError

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True)
class Dataset:
    """Train and test examples; `scale` turns a stored value into what a model sees."""

    name: str
    x_train: Shaped[np.ndarray, "train *shape"]
    y_train: Int64[np.ndarray, " train"]
    x_test: Shaped[np.ndarray, "test *shape"]
    y_test: Int64[np.ndarray, " test"]
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Raise `UserError` where the arrays do not fit together."""
        _check_examples(self)
        _check_classes(self)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example: (channel, height, width) for images."""
        return tuple(self.x_train.shape[1:])

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return int(self.y_train.max()) + 1

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits that identify the content."""
        sha = hashlib.sha256(repr(self.scale).encode())
        for name in ARRAYS:
            array = np.ascontiguousarray(getattr(self, name))
            sha.update(repr((name, array.shape, array.dtype.str)).encode())
            sha.update(array.tobytes())
        return sha.hexdigest()[:12]


def _check_examples(data: Dataset) -> None:
    for part in ("train", "test"):
        x, y = getattr(data, f"x_{part}"), getattr(data, f"y_{part}")
        if not x.size:
            raise UserError(
                f"There are examples, of at least one number each; x_{part} of {data.name} has shape {x.shape}."
            )
        if len(x) != len(y):
            raise UserError(
                f"There is one label for each example; {data.name} has {len(x)} x_{part}, {len(y)} y_{part}."
            )
        if x.dtype.kind == "f" and not np.isfinite(x).all():
            raise UserError(
                f"Examples are finite; x_{part} of {data.name} holds NaN or infinity. Clean it first."
            )
    if data.x_train.shape[1:] != data.x_test.shape[1:] or data.x_train.dtype != data.x_test.dtype:
        raise UserError(
            f"Train and test examples have one shape and type; {data.name} has "
            f"{data.x_train.shape[1:]} {data.x_train.dtype} and {data.x_test.shape[1:]} {data.x_test.dtype}."
        )


def _check_classes(data: Dataset) -> None:
    known = np.unique(data.y_train)
    if not np.array_equal(known, np.arange(len(known))):
        raise UserError(
            f"Labels are 0, 1, 2, ... and each class has training examples; y_train of {data.name} holds {_few(known)}."
        )
    tested = np.unique(data.y_test)
    if not np.array_equal(known, tested):
        raise UserError(
            f"Every class has training and test examples; of {data.name}, y_train holds {_few(known)}, y_test {_few(tested)}."
        )


def _few(labels: np.ndarray) -> str:
    return ", ".join(map(str, labels[:12].tolist())) + (", ..." if len(labels) > 12 else "")
