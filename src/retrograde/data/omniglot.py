"""Omniglot (Lake et al. 2015): 1623 handwritten characters, 20 drawings of each, decoded once and then kept."""

import hashlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from retrograde.data.cache import cache_folder, keep
from retrograde.data.dataset import ARRAYS, Dataset
from retrograde.data.files import arrays, decoded, is_image
from retrograde.data.torchvision import import_torchvision, not_had
from retrograde.errors import UserError
from retrograde.paths import kind

PARTS = (("images_background", 964), ("images_evaluation", 659))
"""The two halves of Omniglot in the order of their classes, and how many characters each holds."""
DRAWINGS = 20
TRAIN = 15
SIZE = 28


def omniglot(folder: Path) -> Dataset:
    """Omniglot from `folder/omniglot-py`: zips, which are read in place, else folders, else a download."""
    sources = [_source(folder, part) for part, _ in PARTS]
    try:
        return _kept(sources)
    except (OSError, UserError) as error:
        raise UserError(
            f"{error} Put a whole copy there, or delete it to have it downloaded."
        ) from error


def _source(folder: Path, part: str) -> Path:
    extracted = folder / "omniglot-py" / part
    archive = extracted.with_suffix(".zip")
    if not archive.exists() and not extracted.exists():
        try:
            import_torchvision().datasets.Omniglot(
                folder, background=part == PARTS[0][0], download=True
            )
        except Exception as error:
            files = "images_background.zip and images_evaluation.zip"
            raise not_had("Omniglot", folder, "omniglot-py", files, error) from error
    return archive if kind(archive) == "file" else extracted


def _kept(sources: list[Path]) -> Dataset:
    """The dataset of these sources from the cache folder, else decoded and kept there for the next time."""
    path = cache_folder() / f"omniglot-{SIZE}-{_digest(sources)}.npz"
    with suppress(UserError):
        return replace(arrays(path), name="omniglot")
    data = _cut(
        np.concatenate(
            [
                _drawings(source, characters)
                for source, (_, characters) in zip(sources, PARTS, strict=True)
            ]
        )
    )
    keep(path, lambda file: np.savez(file, **{name: getattr(data, name) for name in ARRAYS}))
    return data


def _digest(sources: list[Path]) -> str:
    """Twelve digits that identify the bytes of zips, and the names, sizes and times of what is in folders."""
    sha = hashlib.sha256()
    for source in sources:
        sha.update(_listing(source) if source.is_dir() else source.read_bytes())
    return sha.hexdigest()[:12]


def _listing(folder: Path) -> bytes:
    found = [(str(path), path.stat()) for path in sorted(folder.rglob("*"))]
    return repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in found]).encode()


def _drawings(
    source: Path, characters: int
) -> UInt8[np.ndarray, "characters drawing 1 height width"]:
    """All drawings of one half, in the order of alphabet, character and file name."""
    drawn: dict[tuple[str, str], list[np.ndarray]] = {}
    for alphabet, character, image in decoded(source, is_image):
        drawn.setdefault((alphabet, character), []).append(_small(image))
    whole = sum(len(images) == DRAWINGS for images in drawn.values())
    if not len(drawn) == whole == characters:
        raise UserError(
            f"{source.stem} of Omniglot is {characters} characters with {DRAWINGS} drawings each; "
            f"{source} holds {len(drawn)} characters, {whole} of them with {DRAWINGS}."
        )
    return np.stack([drawn[key] for key in sorted(drawn)])


def _small(image: UInt8[np.ndarray, "channel height width"]) -> UInt8[np.ndarray, "1 small small"]:
    """A drawing in MAML's size, by the filter that MAML names but applied to grey; ink, which is black, becomes 255."""
    return (
        255
        - np.asarray(Image.fromarray(image[0]).resize((SIZE, SIZE), Image.Resampling.LANCZOS))[None]
    )


def _cut(x: UInt8[np.ndarray, "character drawing 1 height width"]) -> Dataset:
    """The first 15 drawings of a character are to be learned and the last 5 are for tests, as OML and ANML cut them."""
    train, test = x[:, :TRAIN], x[:, TRAIN:]
    (x_train, y_train), (x_test, y_test) = (
        (part.reshape(-1, *x.shape[2:]), np.repeat(np.arange(len(x)), part.shape[1]))
        for part in (train, test)
    )
    return Dataset("omniglot", x_train, y_train, x_test, y_test, scale=1 / 255)
