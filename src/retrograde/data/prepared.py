"""Prepared datasets: images and lists that somebody put into the data folder as they came."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from retrograde.data.files import check_bytes, files, is_file, names, pixels
from retrograde.errors import UserError


@dataclass(frozen=True)
class Prepared:
    """A folder, or a zip of it, in the layout of the authors of a dataset.

    Names are relative to the folder, with slashes: `images/1.jpg`. A zip may hold the folder itself
    or what is in it.

    Args:
        title: The name of the dataset in errors.
        path: The folder or the zip.
    """

    title: str
    path: Path

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of all files, sorted; hidden ones are left out."""
        found = map(self._inner, names(self.path))
        return tuple(sorted(name for name in found if not name.rpartition("/")[2].startswith(".")))

    def _inner(self, name: str) -> str:
        """A name without the folder that a zip may hold."""
        return name.removeprefix(f"{self.path.stem}/") if self.path.suffix == ".zip" else name

    def lines(self, name: str) -> list[list[str]]:
        """The words of each line of a text file.

        Raises:
            UserError: It is missing, or is no text.
        """
        content = [content for _, content in files(self.path, lambda at: self._inner(at) == name)]
        if not content:
            raise self.broken(f"has no {name}")
        try:
            text = content[0].decode()
        except UnicodeDecodeError:
            raise self.broken(f"has a {name} that is no text") from None
        return [line.split() for line in text.splitlines() if line.strip()]

    def images(
        self, wanted: Sequence[str], side: int, original: int = 0
    ) -> UInt8[np.ndarray, "n 3 side side"]:
        """Images in colour, in the order of their names, with progress on the terminal.

        Larger and smaller ones are cut to the largest square in their middle, which is resized by
        bilinear interpolation, with antialiasing.

        Args:
            wanted: Their names.
            side: The height and width of an example.
            original: The height and width of each file; 0: any.

        Raises:
            UserError: An image is missing, damaged or of another size, or they do not fit into
                memory.
        """
        from rich.progress import Progress

        place = {name: number for number, name in enumerate(wanted)}
        check_bytes(self.path, len(wanted) * 3 * side * side)
        x = np.empty((len(wanted), 3, side, side), np.uint8)
        left = set(place)
        with Progress(transient=True) as progress:
            bar = progress.add_task(f"{self.title}, images", total=len(wanted))
            for at, content in files(self.path, lambda at: self._inner(at) in place):
                name = self._inner(at)
                image = pixels(at, content, self.path)
                if original and image.shape[1:] != (original, original):
                    raise self.broken(
                        f"has {name} of {image.shape[1]} x {image.shape[2]} pixels, and its images "
                        f"have {original} x {original}"
                    )
                x[place[name]] = _squared(image, side)
                left.discard(name)
                progress.advance(bar)
        if left:
            raise self.broken(f"lacks {len(left)} images, such as {min(left)}")
        return x

    def broken(self, why: str) -> UserError:
        """The error for a copy that is not whole: `PATH why`."""
        return UserError(f"{self.title}: {self.path} {why}. Put a whole copy there.")


def prepared(folder: Path, name: str, title: str, source: str) -> Prepared:
    """The dataset `name.zip` in the data folder, or else the folder `name`.

    Args:
        folder: The data folder.
        name: The name of the folder in it.
        title: The name of the dataset in errors.
        source: A sentence on what to download where, and how it becomes the folder or the zip.

    Raises:
        UserError: There is neither.
    """
    extracted = folder.resolve() / name
    archive = extracted.with_name(f"{name}.zip")
    if is_file(archive):
        return Prepared(title, archive)
    if extracted.is_dir():
        return Prepared(title, extracted)
    raise UserError(
        f"{title} is not downloaded by retrograde. Looked for {archive} and the folder {extracted}."
        f" {source} Or set RETROGRADE_DATA to the folder that holds {name}.zip or {name}."
    )


def _squared(
    image: UInt8[np.ndarray, "channel height width"], side: int
) -> UInt8[np.ndarray, "3 side side"]:
    """The largest square in the middle of an image, in colour and of another size."""
    if image.shape[1:] == (side, side):
        return np.broadcast_to(image, (3, side, side))
    from PIL import Image, ImageOps

    picture = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
    fitted = ImageOps.fit(picture.convert("RGB"), (side, side), Image.Resampling.BILINEAR)
    return np.asarray(fitted).transpose(2, 0, 1)
