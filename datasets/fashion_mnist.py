"""Fashion-MNIST."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ._with_torchvision import WithTorchvision


@dataclass(frozen=True)
class FashionMNIST(WithTorchvision):
    """Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747): 70 000 images of clothes, as MNIST."""

    licence: ClassVar[str] = "MIT"
    name: ClassVar[str] = "fashion_mnist"
    title: ClassVar[str] = "Fashion-MNIST"
    inside: ClassVar[str] = "FashionMNIST/raw"
    files: ClassVar[str] = "the four *-ubyte files"

    def part(self, datasets: Any, folder: Path, train: bool, download: bool) -> Any:
        return datasets.FashionMNIST(folder, train=train, download=download)
