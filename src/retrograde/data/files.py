"""Datasets in files: a `.npz`, an image folder, or a zip of one."""

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from retrograde.errors import UserError, gigabytes
from retrograde.machine import physical_bytes
from retrograde.paths import kind, read_bytes, reason

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

from retrograde.data.dataset import ARRAYS, Dataset

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".tif", ".tiff"}


CHANNELS = (1, 3, 4)
"""Channels of an image: grey, colours, and colours with transparency."""


IMAGE_BYTES = 200_000_000
"""The size of an image's file."""


PNG_END = b"IEND\xaeB`\x82"


FOLDERS = 20_000
"""Folders in an image folder: ImageNet has a tenth of them."""


def arrays(path: Path) -> Dataset:
    """The dataset in a `.npz` of plain arrays; raises `UserError` for a missing, damaged or unusable one."""
    try:
        kind(path)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            missing = [name for name in ARRAYS if name not in found.files]
            _check_bytes(
                path, sum(member.file_size for member in found.zip.infolist()), physical_bytes()
            )
            arrays = {name: found[name] for name in ARRAYS if name not in missing}
    except UserError:
        raise
    except Exception as error:  # a damaged file fails in many ways
        raise UserError(f"{path} cannot be read as a .npz of plain arrays: {error}.") from error
    if missing:
        raise UserError(f"A .npz holds {', '.join(ARRAYS)}; {path} lacks {', '.join(missing)}.")
    if plain := [name for name in ARRAYS if not isinstance(arrays[name], np.ndarray)]:
        raise UserError(
            f"A .npz holds arrays, as np.savez writes them; {plain[0]} of {path} is none."
        )
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
    if (
        x.ndim == 4
        and x.shape[3] in CHANNELS
        and x.shape[1] not in CHANNELS
        and x.shape[2] != x.shape[3]
    ):
        array = where.partition(" ")[0]
        raise UserError(
            f"Images are (n, channels, height, width); {where} is {x.shape}, whose channels seem to come last. "
            f"Save it with {array} = {array}.transpose(0, 3, 1, 2)."
        )
    x = x[:, None] if x.ndim == 3 else x
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        return x if x.dtype == np.uint8 else x.astype(np.float32)


def _as_labels(y: np.ndarray, where: str) -> np.ndarray:
    if y.ndim != 1 or y.dtype.kind not in "ui":
        raise UserError(
            f"Labels are whole numbers of shape (n,); {where} is {y.dtype} of shape {y.shape}."
        )
    return y.astype(np.int64)


def image_folder(path: Path) -> Dataset:
    """The dataset in an image folder or a zip of one; raises `UserError` for an unusable one."""
    parts: dict[tuple[str, str], list[np.ndarray]] = {}
    total, memory = 0, physical_bytes()
    for part, label, image in decoded(path, _is_example):
        parts.setdefault((part, label), []).append(image)
        total += image.nbytes
        _check_bytes(path, total, memory)
    labels = sorted({label for part, label in parts if part == "train"})
    stray = sorted({label for part, label in parts if part == "test"} - set(labels))
    if not labels or stray:
        what = f"test/{stray[0]} has no train/{stray[0]}" if stray else "no train/<class> was found"
        raise UserError(
            f"An image folder holds train/<class>/* and test/<class>/*; in {path} {what}."
        )
    (x_train, y_train), (x_test, y_test) = (
        _stack(path, parts, part, labels) for part in ("train", "test")
    )
    return Dataset(path.stem, x_train, y_train, x_test, y_test, scale=1 / 255)


def _stack(
    path: Path, parts: dict[tuple[str, str], list[np.ndarray]], part: str, labels: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    groups = [parts.get((part, label), []) for label in labels]
    shapes = {image.shape for images in parts.values() for image in images}
    if len(shapes) > 1:
        raise UserError(
            f"All images of a folder have one size and one number of channels; {path} has {sorted(shapes)}."
        )
    if not any(groups):
        raise UserError(
            f"An image folder holds train/<class>/* and test/<class>/*; {path} has no image under {part}/."
        )
    y = np.repeat(np.arange(len(labels)), [len(images) for images in groups])
    return np.stack([image for images in groups for image in images]), y


def decoded(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield the two folders that each wanted image lies in and its (channel, height, width) bytes, in the order of names."""
    from PIL import Image

    for name, content in _files(path, wanted):
        part, label = PurePosixPath(name).parts[-3:-1]
        try:
            _check_whole(Image.open(io.BytesIO(content)), content)
            image = Image.open(io.BytesIO(content))
            mode = image.mode
            pixels = np.asarray(image.convert("L" if mode in ("1", "L") else "RGB"))
        except Exception as error:
            raise UserError(f"{name} in {path} cannot be read as an image: {error}.") from error
        if mode.startswith(("I", "F")):
            raise UserError(
                f"Images have 8 bits per channel; {name} in {path} has mode {mode}. Convert it, or use a .npz."
            )
        yield part, label, pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _check_whole(image: "ImageFile", content: bytes) -> None:
    """Raise where a PNG is damaged or cut off, which may leave it all its pixels."""
    image.verify()
    if image.format == "PNG" and PNG_END not in content:
        raise ValueError("it is cut off")


def _files(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    if kind(path) == "folder":
        for file in sorted(_walked(path)):
            if wanted(name := file.relative_to(path).as_posix()):
                yield name, read_bytes(file, IMAGE_BYTES)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if wanted(name):
                    if (size := archive.getinfo(name).file_size) > IMAGE_BYTES:
                        raise UserError(
                            f"An image has at most {IMAGE_BYTES} bytes; {name} in {path} has {size}. Scale it down."
                        )
                    yield name, archive.read(name)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{path} is neither a .npz, nor an image folder, nor a sound zip of one: {error}."
        ) from error


def _walked(path: Path) -> Iterator[Path]:
    """The files below a folder; raises `UserError` where a folder may not be read, or there are far too many."""

    def refuse(error: OSError) -> None:
        if isinstance(error, FileNotFoundError):  # gone since its folder was listed
            return
        raise UserError(
            f"{error.filename} in {path} cannot be read: {reason(error)}. Let this user read it, or take it out."
        )

    seen: set[str] = set()
    for folder, inside, files in os.walk(path, onerror=refuse, followlinks=True):
        seen.add(os.path.realpath(folder))
        if len(seen) > FOLDERS:
            raise UserError(
                f"An image folder has at most {FOLDERS} folders; {path} has more. Name the one that holds train/."
            )
        inside[:] = [
            name for name in inside if os.path.realpath(Path(folder, name)) not in seen
        ]  # links may go round
        yield from (Path(folder, name) for name in files)


def _check_bytes(path: Path, count: int, memory: int) -> None:
    """Raise `UserError` where data and a copy of them would not fit into memory."""
    if 2 * count > memory:
        raise UserError(
            f"Data and a copy of them are held in memory; {path} holds {gigabytes(count)}, and this machine has "
            f"{gigabytes(memory)}. Take fewer or smaller examples."
        )


def _is_example(name: str) -> bool:
    return is_image(name) and PurePosixPath(name).parts[-3] in ("train", "test")


def is_image(name: str) -> bool:
    """Whether the name is that of an image in a folder of a folder, as `decoded` wants it; hidden files are none."""
    path = PurePosixPath(name)
    return len(path.parts) >= 3 and path.suffix.lower() in IMAGES and not path.name.startswith(".")
