"""Omniglot: drawings of characters, decoded once and kept."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from retrograde import Dataset, DataSource, UserError
from retrograde.data import (
    decoded,
    decoded_once,
    import_torchvision,
    is_file,
    is_image,
    not_had,
)

PARTS = (("images_background", 964), ("images_evaluation", 659))
"""The two halves of Omniglot in the order of their classes, and their numbers of characters."""
DRAWINGS = 20
"""Drawings of each character."""
TRAIN = 15
"""Training examples of each character."""
SIZE = 28
"""Height and width of an example."""


@dataclass(frozen=True)
class Omniglot(DataSource):
    """Omniglot (Lake et al. 2015): 1623 characters, each with 15 training and 5 test drawings.

    Zips in `omniglot-py` of the data folder are read in place; without them, extracted folders are
    read; without these, Omniglot is downloaded.
    """

    def load(self, folder: Path) -> Dataset:
        sources = [_source(folder, part) for part, _ in PARTS]
        try:
            data = decoded_once(f"omniglot-{SIZE}", sources, lambda: _decoded(sources))
        except (OSError, UserError) as error:
            raise UserError(
                f"{error} Put a whole copy there, or delete it to have it downloaded."
            ) from error
        return replace(data, name="omniglot")


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
    return archive if is_file(archive) else extracted


def _decoded(sources: list[Path]) -> Dataset:
    halves = [
        _drawings(source, characters)
        for source, (_, characters) in zip(sources, PARTS, strict=True)
    ]
    return _cut(np.concatenate(halves))


def _drawings(
    source: Path,
    characters: int,
) -> UInt8[np.ndarray, "characters drawing 1 height width"]:
    """All drawings of one half, in the order of alphabet, character and file name."""
    drawn: dict[tuple[str, str], list[np.ndarray]] = {}
    for alphabet, character, image in decoded(source, is_image):
        drawn.setdefault((alphabet, character), []).append(_small(image))
    # An interrupted download or extraction leaves fewer; a dataset of them would look sound.
    whole = sum(len(images) == DRAWINGS for images in drawn.values())
    if not len(drawn) == whole == characters:
        raise UserError(
            f"{source.stem} of Omniglot is {characters} characters with {DRAWINGS} drawings each; "
            f"{source} holds {len(drawn)} characters, {whole} of them with {DRAWINGS}."
        )
    return np.stack([drawn[key] for key in sorted(drawn)])


def _small(image: UInt8[np.ndarray, "channel height width"]) -> UInt8[np.ndarray, "1 small small"]:
    """A drawing in MAML's size, with ink, which is black, as 255.

    The filter is the one that MAML names, but it is applied to grey.
    """
    resized = Image.fromarray(image[0]).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return 255 - np.asarray(resized)[None]


def _cut(x: UInt8[np.ndarray, "character drawing 1 height width"]) -> Dataset:
    """The first 15 drawings of a character for training, the last 5 for tests (as OML and ANML)."""
    x_train, y_train = _flat(x[:, :TRAIN])
    x_test, y_test = _flat(x[:, TRAIN:])
    return Dataset("omniglot", x_train, y_train, x_test, y_test, scale=1 / 255)


def _flat(
    drawings: UInt8[np.ndarray, "character drawing 1 height width"],
) -> tuple[np.ndarray, np.ndarray]:
    """The drawings one after the other, and the number of the character of each."""
    characters, each = drawings.shape[:2]
    y = np.repeat(np.arange(characters), each)
    return drawings.reshape(-1, *drawings.shape[2:]), y
