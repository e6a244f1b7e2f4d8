"""STL-10."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ._with_torchvision import WithTorchvision


@dataclass(frozen=True)
class STL10(WithTorchvision):
    """STL-10 (Coates et al. 2011): 5000 training and 8000 test images of 96 x 96 pixels."""

    licence: ClassVar[str] = "see the authors"
    name: ClassVar[str] = "stl10"
    title: ClassVar[str] = "STL-10"
    inside: ClassVar[str] = "stl10_binary"
    files: ClassVar[str] = "the files of stl10_binary.tar.gz"

    def part(self, datasets: Any, folder: Path, train: bool, download: bool) -> Any:
        split = "train" if train else "test"
        return datasets.STL10(folder, split, download=download)
