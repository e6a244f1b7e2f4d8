"""SVHN."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ._with_torchvision import WithTorchvision


@dataclass(frozen=True)
class SVHN(WithTorchvision):
    """SVHN (Netzer et al. 2011): 99 289 house numbers in colour, 26 032 of them for tests."""

    licence: ClassVar[str] = "not for commercial use"
    name: ClassVar[str] = "svhn"
    title: ClassVar[str] = "SVHN"
    inside: ClassVar[str] = ""
    files: ClassVar[str] = "train_32x32.mat and test_32x32.mat"

    def part(self, datasets: Any, folder: Path, train: bool, download: bool) -> Any:
        split = "train" if train else "test"
        return datasets.SVHN(folder, split, download=download)
