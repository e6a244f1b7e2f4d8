"""CIFAR-10."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ._with_torchvision import WithTorchvision


@dataclass(frozen=True)
class CIFAR10(WithTorchvision):
    """CIFAR-10 (Krizhevsky 2009): 50 000 training and 10 000 test images of 32 x 32 pixels."""

    licence: ClassVar[str] = "see the authors"
    name: ClassVar[str] = "cifar10"
    title: ClassVar[str] = "CIFAR-10"
    inside: ClassVar[str] = "cifar-10-batches-py"
    files: ClassVar[str] = "the files of cifar-10-python.tar.gz"

    def part(self, datasets: Any, folder: Path, train: bool, download: bool) -> Any:
        return datasets.CIFAR10(folder, train=train, download=download)
