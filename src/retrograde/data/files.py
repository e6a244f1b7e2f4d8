"""Datasets in files: a `.npz`, an image folder, or a zip of one."""

import io
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from retrograde.errors import DataWarning, UserError, gigabytes
from retrograde.machine import physical_bytes
from retrograde.paths import kind, read_bytes, reason

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

from retrograde.data.dataset import ARRAYS, OPTIONAL, Dataset, has_channels_last

NAMES = "class_names"
"""The member of a `.npz` with the names of the classes, if they have any."""

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".tif", ".tiff"}


IMAGE_BYTES = 200_000_000
"""The largest size of an image file."""


PNG_END = b"IEND\xaeB`\x82"


MAX_FOLDERS = 20_000
"""The largest number of folders in an image folder; ImageNet has a tenth of them."""

_Groups = dict[tuple[str, str], list[np.ndarray]]
"""Images by part ("train" or "test") and label."""


def arrays(path: Path) -> Dataset:
    """The dataset in a `.npz` of plain arrays.

    Args:
        path: A file with `x_train`, `y_train`, `x_test` and `y_test`, as `np.savez` writes it.
            Examples are (n, features), (n, height, width) or (n, channels, height, width), or have
            their channels last. Labels are 0, 1, 2, ..., or 1, 2, 3, ... or texts, which are
            numbered in their order and name the classes. Bytes are scaled by 1 / 255. It may also
            have `x_val` and `y_val`, and the number of the task of each example in `task_train`,
            `task_test` and `task_val`; see `Dataset`.

    Raises:
        UserError: The file is missing, damaged or unusable.
    """
    loaded = _read_npz(path)
    missing = [name for name in ARRAYS if name not in loaded]
    if missing:
        raise UserError(f"A .npz holds {', '.join(ARRAYS)}; {path} lacks {', '.join(missing)}.")
    # A .npz is a zip, and np.load gives any member that is not a .npy as bytes.
    others = [name for name in loaded if not isinstance(loaded[name], np.ndarray)]
    if others:
        raise UserError(
            f"A .npz holds arrays, as np.savez writes them; {others[0]} of {path} is none."
        )
    for name in {"x_train", "x_test", "x_val"} & set(loaded):
        loaded[name] = _as_examples(loaded[name], f"{name} of {path}")
    for name in {"y_train", "y_test", "y_val"} & set(loaded):
        loaded[name] = _as_labels(loaded[name], f"{name} of {path}")
    for name in {"task_train", "task_test", "task_val"} & set(loaded):
        loaded[name] = _as_tasks(loaded[name], f"{name} of {path}")
    names = _number_labels(loaded, path)
    scale = 1 / 255 if loaded["x_train"].dtype == np.uint8 else 1.0
    return Dataset(path.stem, **loaded, scale=scale, class_names=names)


def _number_labels(loaded: dict[str, Any], path: Path) -> tuple[str, ...]:
    """Number the labels in place, and return the names of the classes; none if they have none.

    Raises:
        UserError: A test label is none of the training labels.
    """
    given = loaded.pop(NAMES, None)
    for other in ("y_test", "y_val"):
        if other in loaded and loaded["y_train"].dtype.kind != loaded[other].dtype.kind:
            raise UserError(
                "Labels are whole numbers or texts, in training and in test alike; those of "
                f"{path} are {loaded['y_train'].dtype} and {loaded[other].dtype}."
            )
    labels = np.unique(loaded["y_train"])
    from_one = len(labels) > 0 and np.array_equal(labels, np.arange(1, len(labels) + 1))
    # Other whole numbers are as they should be, or `Dataset` refuses them.
    if labels.dtype.kind != "U" and not from_one:
        return () if given is None else tuple(map(str, given))
    for name in ("y_test", "y_val", "y_train"):
        if name not in loaded:
            continue
        stray = np.setdiff1d(loaded[name], labels)
        if len(stray):
            raise UserError(
                f"Every label has training examples; {name} of {path} holds {stray[0]!s}, and "
                "y_train does not."
            )
        loaded[name] = np.searchsorted(labels, loaded[name]).astype(np.int64)
    return tuple(map(str, labels))


def _read_npz(path: Path) -> dict[str, Any]:
    """The members of a `.npz` that a dataset needs, by name: arrays, if the file is sound."""
    try:
        kind(path)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as members:
            known = (*ARRAYS, *OPTIONAL, NAMES)
            present = [name for name in known if name in members.files]
            unread = sorted(set(members.files) - set(present))
            if unread and set(ARRAYS) <= set(present):
                warnings.warn(
                    f"{path.name} has arrays that are not read: {', '.join(unread)}. A dataset is "
                    f"{', '.join(ARRAYS)}, and may have {', '.join((*OPTIONAL, NAMES))}.",
                    DataWarning,
                    stacklevel=2,
                )
            unpacked = sum(member.file_size for member in members.zip.infolist())
            check_bytes(path, unpacked)
            return {name: members[name] for name in present}
    except UserError:
        raise
    except Exception as error:  # a damaged file fails in many ways
        raise UserError(f"{path} cannot be read as a .npz of plain arrays: {error}.") from error


def _as_examples(x: np.ndarray, where: str) -> np.ndarray:
    if x.ndim not in (2, 3, 4):
        raise UserError(
            "Examples are (n, features), (n, height, width) or (n, channels, height, width); "
            f"{where} is {x.shape}."
        )
    if x.dtype.kind not in "uif":
        raise UserError(
            f"Examples are numbers; {where} holds {x.dtype}. Store them as fractions (float32)."
        )
    if has_channels_last(x.shape[1:]):
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    x = x[:, None] if x.ndim == 3 else x
    if x.dtype == np.uint8:
        return x
    # A number that float32 cannot hold becomes infinite, which `Dataset` refuses.
    with np.errstate(over="ignore"):
        return x.astype(np.float32)


def _as_labels(y: np.ndarray, where: str) -> np.ndarray:
    if y.ndim != 1 or y.dtype.kind not in "uiU":
        raise UserError(
            "Labels are whole numbers or texts of shape (n,); "
            f"{where} is {y.dtype} of shape {y.shape}. {_remedy(y)}"
        )
    return y if y.dtype.kind == "U" else y.astype(np.int64)


def _remedy(labels: np.ndarray) -> str:
    """The remedy for labels that are none, by their form."""
    if labels.ndim == 2 and labels.shape[1] > 1:
        return "Store the class of each example: y.argmax(1)."
    if labels.ndim == 2:
        return "Store the column alone: y[:, 0]."
    kind = "texts: y.astype(str)" if labels.dtype.kind in "SO" else "whole numbers: y.astype(int)"
    return f"Store them as {kind}."


def _as_tasks(task: np.ndarray, where: str) -> np.ndarray:
    if task.ndim != 1 or task.dtype.kind not in "ui":
        raise UserError(
            "Tasks are whole numbers of shape (n,), one for each example; "
            f"{where} is {task.dtype} of shape {task.shape}."
        )
    return task.astype(np.int64)


def image_folder(path: Path) -> Dataset:
    """The dataset in an image folder, or in a zip of one.

    Args:
        path: A folder or zip with `train/<class>/*` and `test/<class>/*`. Labels follow the
            sorted names of the classes.

    Raises:
        UserError: The folder is unusable, or its images do not fit into memory.
    """
    groups = _read_groups(path)
    labels = sorted({label for part, label in groups if part == "train"})
    tested = {label for part, label in groups if part == "test"}
    stray = sorted(tested - set(labels))
    if not labels or stray:
        what = f"test/{stray[0]} has no train/{stray[0]}" if stray else "no train/<class> was found"
        raise UserError(
            f"An image folder holds train/<class>/* and test/<class>/*; in {path} {what}."
        )
    x_train, y_train = _stack(path, groups, "train", labels)
    x_test, y_test = _stack(path, groups, "test", labels)
    names = tuple(labels)
    return Dataset(path.stem, x_train, y_train, x_test, y_test, scale=1 / 255, class_names=names)


def _read_groups(path: Path) -> _Groups:
    groups: _Groups = {}
    total = 0
    memory = physical_bytes()
    for part, label, image in decoded(path, _is_example):
        groups.setdefault((part, label), []).append(image)
        total += image.nbytes
        # Checked while reading: afterwards it would be too late.
        check_bytes(path, total, memory)
    return groups


def _stack(
    path: Path,
    groups: _Groups,
    part: str,
    labels: list[str],
) -> tuple[np.ndarray, np.ndarray]:
    """The images of one part in the order of their labels, and the numbers of these labels."""
    by_label = [groups.get((part, label), []) for label in labels]
    shapes = {image.shape for images in groups.values() for image in images}
    if len(shapes) > 1:
        raise UserError(
            "All images of a folder have one size and one number of channels; "
            f"{path} has {sorted(shapes)}."
        )
    if not any(by_label):
        raise UserError(
            "An image folder holds train/<class>/* and test/<class>/*; "
            f"{path} has no image under {part}/."
        )
    x = np.stack([image for images in by_label for image in images])
    counts = [len(images) for images in by_label]
    return x, np.repeat(np.arange(len(labels)), counts)


def decoded(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Decode the images of a folder or a zip, in the order of their names.

    Args:
        path: The folder or the zip.
        wanted: True for the name, relative to `path`, of a file to decode.

    Yields:
        The names of the two folders that an image lies in, the outer one first, and its
        (channel, height, width) bytes.

    Raises:
        UserError: A file cannot be read as an image of 8 bits per channel.
    """
    for name, content in files(path, wanted):
        part, label = PurePosixPath(name).parts[-3:-1]
        yield part, label, pixels(name, content, path)


def pixels(name: str, content: bytes, path: Path) -> np.ndarray:
    """The (channel, height, width) bytes of an image file: grey, or in colour.

    Args:
        name: The name of the file in `path`.
        content: Its content.
        path: The folder or the zip.

    Raises:
        UserError: It cannot be read as an image of 8 bits per channel.
    """
    try:
        mode, image = _decode(content)
    except Exception as error:
        raise UserError(f"{name} in {path} cannot be read as an image: {error}.") from error
    if mode.startswith(("I", "F")):
        raise UserError(
            f"Images have 8 bits per channel; {name} in {path} has mode {mode}. "
            "Convert it, or use a .npz."
        )
    return image


def _decode(content: bytes) -> tuple[str, np.ndarray]:
    """The mode of an image file, and its (channel, height, width) pixels."""
    from PIL import Image

    # `verify` leaves an image unusable, so it gets one of its own.
    _check_whole(Image.open(io.BytesIO(content)), content)
    image = Image.open(io.BytesIO(content))
    grey = image.mode in ("1", "L")
    pixels = np.asarray(image.convert("L" if grey else "RGB"))
    return image.mode, pixels[None] if grey else pixels.transpose(2, 0, 1)


def _check_whole(image: "ImageFile", content: bytes) -> None:
    """Raise if a PNG is damaged or cut off, even if it has all its pixels."""
    image.verify()
    if image.format == "PNG" and PNG_END not in content:
        raise ValueError("it is cut off")


def files(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """The names and contents of the wanted files of a folder or a zip, sorted by name."""
    if kind(path) == "folder":
        for file in sorted(walked(path)):
            name = file.relative_to(path).as_posix()
            if wanted(name):
                yield name, read_bytes(file, IMAGE_BYTES)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for name in filter(wanted, sorted(archive.namelist())):
                yield name, _member(archive, name, path)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{path} is neither a .npz, nor an image folder, nor a sound zip of one: {error}."
        ) from error


def names(path: Path) -> list[str]:
    """The names of the files in a folder or a zip, relative to it, with slashes.

    Raises:
        UserError: It cannot be read.
    """
    if kind(path) == "folder":
        return [file.relative_to(path).as_posix() for file in walked(path)]
    try:
        with zipfile.ZipFile(path) as archive:
            return [name for name in archive.namelist() if not name.endswith("/")]
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is no sound zip: {reason(error)}. Put a whole copy there."
        ) from error


def _member(
    archive: zipfile.ZipFile,
    name: str,
    path: Path,
) -> bytes:
    # A small zip can unpack to any size.
    size = archive.getinfo(name).file_size
    if size > IMAGE_BYTES:
        raise UserError(
            f"An image has at most {IMAGE_BYTES} bytes; {name} in {path} has {size}. Scale it down."
        )
    return archive.read(name)


def walked(path: Path) -> Iterator[Path]:
    """The files below a folder, links followed.

    Raises:
        UserError: A folder may not be read, or there are far too many.
    """

    def refuse(error: OSError) -> None:
        if isinstance(error, FileNotFoundError):  # gone since its folder was listed
            return
        raise UserError(
            f"{error.filename} in {path} cannot be read: {reason(error)}. "
            "Let this user read it, or take it out."
        )

    seen: set[str] = set()
    for folder, inside, files in os.walk(path, onerror=refuse, followlinks=True):
        seen.add(os.path.realpath(folder))
        if len(seen) > MAX_FOLDERS:
            raise UserError(
                f"An image folder has at most {MAX_FOLDERS} folders; {path} has more. "
                "Name the one that holds train/."
            )
        # Links may go round. `os.walk` descends into what this list holds afterwards.
        where = {name: os.path.realpath(Path(folder, name)) for name in inside}
        inside[:] = [name for name in inside if where[name] not in seen]
        yield from (Path(folder, name) for name in files)


def check_bytes(path: Path, count: int, memory: int | None = None) -> None:
    """Raise `UserError` if the data and a copy of them do not fit into memory.

    Args:
        path: The place of the data.
        count: The number of their bytes.
        memory: The number of bytes of memory; None: that of the machine.
    """
    memory = physical_bytes() if memory is None else memory
    if 2 * count > memory:
        raise UserError(
            f"Data and a copy of them are held in memory; {path} holds {gigabytes(count)}, "
            f"and this machine has {gigabytes(memory)}. Take fewer or smaller examples."
        )


def _is_example(name: str) -> bool:
    return is_image(name) and PurePosixPath(name).parts[-3] in ("train", "test")


def is_file(path: Path) -> bool:
    """True if there is a file at a path.

    Raises:
        UserError: It is a pipe, a device or a socket, whose content may never end.
    """
    return kind(path) == "file"


def is_image(name: str) -> bool:
    """True if the name is that of an image at least two folders deep, as `decoded` expects.

    Hidden files are no images.
    """
    path = PurePosixPath(name)
    deep = len(path.parts) >= 3
    return deep and path.suffix.lower() in IMAGES and not path.name.startswith(".")
