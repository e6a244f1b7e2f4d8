"""Datasets as arrays: the bundled digits, MNIST, Omniglot, or the user's own `.npz`, image folder or zip of one."""

import hashlib
import importlib
import io
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped

from retrograde.errors import UserError, nearest

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".tif", ".tiff"}
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


def data_folder(given: Path | None = None) -> Path:
    """The folder of downloaded data: `given`, else RETROGRADE_DATA, else the user's cache folder."""
    return given or Path(os.environ.get("RETROGRADE_DATA") or cache_folder())


def cache_folder() -> Path:
    """Where retrograde keeps what it can fetch or make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "retrograde"


def keep(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file of the cache so that it is there whole or not at all; where it cannot be, it is made again the next time."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as folder:
            whole = Path(folder) / path.name
            write(whole)
            whole.replace(path)


def load(name: str, folder: Path) -> Dataset:
    """The dataset of that name, or at that path; raises `UserError` for missing or unusable data."""
    if name in _NAMED:
        return _NAMED[name](folder)
    path = Path(name).expanduser()
    if not name or not path.exists():
        raise UserError(
            f"A dataset is one of {', '.join(_NAMED)} or a path to a .npz, an image folder or a zip of one; "
            f"{name!r} is neither a name nor a file here. {nearest(name, _NAMED)}"
        )
    return arrays(path) if path.suffix == ".npz" else _images(path)


def _digits(_: Path) -> Dataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import StratifiedShuffleSplit

    bunch: Any = load_digits()
    x, y = bunch["images"][:, None].astype(np.uint8), bunch["target"].astype(np.int64)
    train, test = next(StratifiedShuffleSplit(1, test_size=0.25, random_state=0).split(x, y))
    return Dataset("digits", x[train], y[train], x[test], y[test], scale=1 / 16)


def _mnist(folder: Path) -> Dataset:
    try:
        parts = [_read_mnist(folder, train) for train in (True, False)]
    except Exception as error:
        raise not_had("MNIST", folder, "MNIST/raw", "the four *-ubyte files", error) from error
    (x_train, y_train), (x_test, y_test) = parts
    return Dataset("mnist", x_train, y_train, x_test, y_test, scale=1 / 255)


def _read_mnist(folder: Path, train: bool) -> tuple[np.ndarray, np.ndarray]:
    mnist = import_torchvision().datasets.MNIST
    try:
        part = mnist(folder, train=train, download=False)
    except RuntimeError:  # torchvision's way to say that the files are not there
        part = mnist(folder, train=train, download=True)
    return part.data.numpy()[:, None], part.targets.numpy().astype(np.int64)


def _omniglot(folder: Path) -> Dataset:
    from retrograde.omniglot import omniglot

    return omniglot(folder)


def not_had(what: str, folder: Path, inside: str, files: str, error: Exception) -> UserError:
    """What to raise where a dataset is neither inside the data folder nor to be downloaded."""
    return UserError(
        f"{what} could not be had. Looked in {folder.resolve() / inside}, then tried to download it there: "
        f"{type(error).__name__}: {' '.join(str(error).split())} Put {files} there, or name the folder "
        f"that holds {inside} with --data or RETROGRADE_DATA."
    )


def import_torchvision() -> ModuleType:
    """Import torchvision, also where its wheel's operators do not load beside a CPU-only torch."""
    import torch

    try:
        return importlib.import_module("torchvision")
    except RuntimeError:
        library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return importlib.import_module("torchvision")


_NAMED = {"digits": _digits, "mnist": _mnist, "omniglot": _omniglot}


def arrays(path: Path) -> Dataset:
    """The dataset in a `.npz` of plain arrays; raises `UserError` for a missing, damaged or unusable one."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            missing = [name for name in ARRAYS if name not in found.files]
            arrays = {name: found[name] for name in ARRAYS if name not in missing}
    except Exception as error:  # a damaged file fails in many ways
        raise UserError(f"{path} cannot be read as a .npz of plain arrays: {error}.") from error
    if missing:
        raise UserError(f"A .npz holds {', '.join(ARRAYS)}; {path} lacks {', '.join(missing)}.")
    for name in ("x_train", "x_test"):
        arrays[name] = _as_examples(arrays[name], f"{name} of {path}")
    for name in ("y_train", "y_test"):
        arrays[name] = _as_labels(arrays[name], f"{name} of {path}")
    scale = 1 / 255 if arrays["x_train"].dtype == np.uint8 else 1.0
    return Dataset(path.stem, **arrays, scale=scale)


def _as_examples(x: np.ndarray, where: str) -> np.ndarray:
    if x.ndim not in (2, 3, 4):
        raise UserError(
            f"Examples are (n, features), (n, height, width) or (n, channels, height, width); {where} is {x.shape}."
        )
    if x.dtype.kind not in "uif":
        raise UserError(f"Examples are numbers; {where} holds {x.dtype}.")
    x = x[:, None] if x.ndim == 3 else x
    return x if x.dtype == np.uint8 else x.astype(np.float32)


def _as_labels(y: np.ndarray, where: str) -> np.ndarray:
    if y.ndim != 1 or y.dtype.kind not in "ui":
        raise UserError(f"Labels are whole numbers of shape (n,); {where} is {y.dtype} of shape {y.shape}.")
    return y.astype(np.int64)


def _images(path: Path) -> Dataset:
    parts: dict[tuple[str, str], list[np.ndarray]] = {}
    for part, label, image in decoded(path, _is_example):
        parts.setdefault((part, label), []).append(image)
    labels = sorted({label for part, label in parts if part == "train"})
    stray = sorted({label for part, label in parts if part == "test"} - set(labels))
    if not labels or stray:
        what = f"test/{stray[0]} has no train/{stray[0]}" if stray else "no train/<class> was found"
        raise UserError(f"An image folder holds train/<class>/* and test/<class>/*; in {path} {what}.")
    (x_train, y_train), (x_test, y_test) = (_stack(path, parts, part, labels) for part in ("train", "test"))
    return Dataset(path.stem, x_train, y_train, x_test, y_test, scale=1 / 255)


def _stack(
    path: Path, parts: dict[tuple[str, str], list[np.ndarray]], part: str, labels: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    groups = [parts.get((part, label), []) for label in labels]
    shapes = {image.shape for images in parts.values() for image in images}
    if len(shapes) > 1:
        raise UserError(f"All images of a folder have one size and one number of channels; {path} has {sorted(shapes)}.")
    if not any(groups):
        raise UserError(f"An image folder holds train/<class>/* and test/<class>/*; {path} has no image under {part}/.")
    y = np.repeat(np.arange(len(labels)), [len(images) for images in groups])
    return np.stack([image for images in groups for image in images]), y


def decoded(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield the two folders that each wanted image lies in and its (channel, height, width) bytes, in the order of names."""
    from PIL import Image

    for name, content in _files(path, wanted):
        part, label = PurePosixPath(name).parts[-3:-1]
        try:
            image = Image.open(io.BytesIO(content))
            mode = image.mode
            pixels = np.asarray(image.convert("L" if mode in ("1", "L") else "RGB"))
        except Exception as error:
            raise UserError(f"{name} in {path} cannot be read as an image: {error}.") from error
        if mode.startswith(("I", "F")):
            raise UserError(f"Images have 8 bits per channel; {name} in {path} has mode {mode}. Convert it, or use a .npz.")
        yield part, label, pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _files(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if wanted(name := file.relative_to(path).as_posix()) and file.is_file():
                yield name, file.read_bytes()
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if wanted(name):
                    yield name, archive.read(name)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path} is neither a .npz, nor an image folder, nor a sound zip of one: {error}.") from error


def _is_example(name: str) -> bool:
    return is_image(name) and PurePosixPath(name).parts[-3] in ("train", "test")


def is_image(name: str) -> bool:
    """Whether the name is that of an image in a folder of a folder, as `decoded` wants it; hidden files are none."""
    path = PurePosixPath(name)
    return len(path.parts) >= 3 and path.suffix.lower() in IMAGES and not path.name.startswith(".")


def _check_examples(data: Dataset) -> None:
    for part in ("train", "test"):
        x, y = getattr(data, f"x_{part}"), getattr(data, f"y_{part}")
        if not x.size:
            raise UserError(f"There are examples, of at least one number each; x_{part} of {data.name} has shape {x.shape}.")
        if len(x) != len(y):
            raise UserError(f"There is one label for each example; {data.name} has {len(x)} x_{part}, {len(y)} y_{part}.")
        if x.dtype.kind == "f" and not np.isfinite(x).all():
            raise UserError(f"Examples are finite; x_{part} of {data.name} holds NaN or infinity. Clean it first.")
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
