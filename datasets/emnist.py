"""EMNIST."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ._with_torchvision import WithTorchvision


@dataclass(frozen=True)
class EMNIST(WithTorchvision):
    """EMNIST (Cohen et al. 2017, arXiv 1702.05373), balanced: 131 600 characters, 47 classes."""

    licence: ClassVar[str] = "see the authors"
    name: ClassVar[str] = "emnist"
    title: ClassVar[str] = "EMNIST"
    inside: ClassVar[str] = "EMNIST/raw"
    files: ClassVar[str] = "the emnist-balanced-*-ubyte files"

    def part(self, datasets: Any, folder: Path, train: bool, download: bool) -> Any:
        return datasets.EMNIST(folder, "balanced", train=train, download=download)

    def images(self, part: Any) -> np.ndarray:
        # The files hold the images transposed.
        return super().images(part).transpose(0, 1, 3, 2)
