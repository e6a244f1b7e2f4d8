"""Kuzushiji-MNIST."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ._with_torchvision import WithTorchvision


@dataclass(frozen=True)
class KMNIST(WithTorchvision):
    """Kuzushiji-MNIST (Clanuwat et al. 2018, arXiv 1812.01718): 70 000 characters, as MNIST."""

    licence: ClassVar[str] = "CC BY-SA 4.0"
    name: ClassVar[str] = "kmnist"
    title: ClassVar[str] = "Kuzushiji-MNIST"
    inside: ClassVar[str] = "KMNIST/raw"
    files: ClassVar[str] = "the four *-ubyte files"

    def part(self, datasets: Any, folder: Path, train: bool, download: bool) -> Any:
        return datasets.KMNIST(folder, train=train, download=download)
