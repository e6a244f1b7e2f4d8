"""Sidecars: files beside a record that are too large for it, the model and its predictions."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float, Float32, Int64
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from retrograde.errors import UserError
from retrograde.networks.build import build
from retrograde.records.schema import Digest, Positive

Sidecar = Literal["model", "predictions"]
"""What a run may keep of a replicate besides its record."""
SIDECARS: tuple[Sidecar, ...] = get_args(Sidecar)
SUFFIXES: Mapping[str, str] = {"model": ".safetensors", "predictions": ".predictions.npz"}
"""The end of each file's name, after `seed-N`."""
APART = "/"
"""Part of the names of tensors that are not the model's, such as `optimizer/momentum/0.weight`."""


class Predictions(NamedTuple):
    """Predictions for the test examples of a stream, before training and after each experience.

    Attributes:
        predicted: the output unit with the highest score, among those that the scenario admits.
        confidence: the softmax of the scores at the predicted unit.
        y: the output unit that is right.
        task: the task of the example.
        example: the place of the example in the test set.
    """

    predicted: Int64[np.ndarray, "evaluation test"]
    confidence: Float32[np.ndarray, "evaluation test"]
    y: Int64[np.ndarray, " test"]
    task: Int64[np.ndarray, " test"]
    example: Int64[np.ndarray, " test"]

    def __repr__(self) -> str:
        evaluations, tests = self.predicted.shape
        return f"<predictions for {tests} test examples, {evaluations} evaluations>"

    def confusion(self, evaluation: int = -1) -> Int64[np.ndarray, "right predicted"]:
        """Count test examples by the output unit that is right and the one that is predicted.

        Args:
            evaluation: the evaluation: 0 before training, -1 at the end.
        """
        predicted = self.predicted[evaluation]
        units = int(max(self.y.max(), self.predicted.max())) + 1
        counts = np.bincount(self.y * units + predicted, minlength=units * units)
        return counts.reshape(units, units)

    def calibration_error(self, bins: int = 15, evaluation: int = -1) -> float:
        """Expected calibration error (Guo et al. 2017): the mean gap of confidence and accuracy.

        Args:
            bins: intervals of equal width that the confidence is divided into.
            evaluation: the evaluation: 0 before training, -1 at the end.
        """
        confidence = self.confidence[evaluation].astype(float)
        right = self.predicted[evaluation] == self.y
        # The intervals are open to the left, as in the source.
        place = np.ceil(confidence * bins).astype(int).clip(1, bins) - 1
        gaps = np.bincount(place, weights=confidence - right, minlength=bins)
        return float(np.abs(gaps).sum() / len(right))

    def to_bytes(self) -> bytes:
        """The content of a `.npz` file, in which counts take no more bytes than they need."""
        small = {name: _narrow(value) for name, value in self._asdict().items()}
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **small)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Predictions":
        """Read the content of a `.npz` file."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in cls._fields}
        confidence = found.pop("confidence")
        whole = {name: value.astype(np.int64) for name, value in found.items()}
        return cls(confidence=confidence, **whole)


def _narrow(values: Float[np.ndarray, "..."] | Int64[np.ndarray, "..."]) -> np.ndarray:
    if values.dtype.kind == "f":
        return values
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


class Kept(NamedTuple):
    """The content of the sidecars of a replicate, before they are written."""

    files: dict[Sidecar, bytes]
    shape: list[int]
    outputs: int


def model_file(tensors: Mapping[str, Tensor]) -> bytes:
    """The content of a `.safetensors` file; tensors other than the model's have `/` in names."""
    return save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})


@dataclass(frozen=True)
class Sidecars:
    """The files that were kept beside a record.

    Attributes:
        digests: twelve hexadecimal digits that identify the content of each file.
        shape: the shape of one example.
        outputs: the number of output units.
    """

    digests: Annotated[dict[Sidecar, Digest], Field(min_length=1)]
    shape: list[Positive]
    outputs: Positive

    @classmethod
    def of(cls, kept: Kept) -> "Sidecars":
        """Describe files that are kept."""
        digests: dict[Sidecar, str] = {name: digest(each) for name, each in kept.files.items()}
        return cls(digests, kept.shape, kept.outputs)


def digest(content: bytes) -> str:
    """Twelve hexadecimal digits that identify the content of a file."""
    return hashlib.sha256(content).hexdigest()[:12]


def path_of(record: Path, name: str) -> Path:
    """The path of a sidecar of the record at a path."""
    return record.with_name(f"{record.stem}{SUFFIXES[name]}")


def read_model(
    content: bytes, spec: str, running: bool, sidecars: Sidecars, where: str
) -> nn.Module:
    """The model whose tensors a file has, in evaluation mode.

    Args:
        content: the content of the file.
        spec: the name of the model.
        running: True if its batch normalisation keeps running statistics, as in a stream.
        sidecars: the sizes of the model.
        where: the file, for errors.

    Raises:
        UserError: the model does not exist here, or is another one now.
    """
    module = build(spec, tuple(sidecars.shape), sidecars.outputs, 0, running)
    try:
        tensors = {name: value for name, value in load(content).items() if APART not in name}
        module.load_state_dict(tensors)
    except (SafetensorError, RuntimeError) as error:
        raise UserError(
            f"A kept model is that of its record, model={spec}, and {where} has other tensors: "
            f"{' '.join(str(error).split())}. Use the version of the model that was trained."
        ) from error
    return module.eval()


def read_predictions(content: bytes, where: str) -> Predictions:
    """The predictions in a file.

    Args:
        content: the content of the file.
        where: the file, for errors.

    Raises:
        UserError: the file holds something else.
    """
    try:
        return Predictions.from_bytes(content)
    except (KeyError, OSError, ValueError) as error:
        raise UserError(
            f"{where} does not hold predictions: {error}. Run the cell again."
        ) from error
