"""CIFAR-100."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ._with_torchvision import WithTorchvision


@dataclass(frozen=True)
class CIFAR100(WithTorchvision):
    """CIFAR-100 (Krizhevsky 2009): 50 000 training and 10 000 test images, 100 classes."""

    licence: ClassVar[str] = "see the authors"
    name: ClassVar[str] = "cifar100"
    title: ClassVar[str] = "CIFAR-100"
    inside: ClassVar[str] = "cifar-100-python"
    files: ClassVar[str] = "the files of cifar-100-python.tar.gz"

    def part(self, datasets: Any, folder: Path, train: bool, download: bool) -> Any:
        return datasets.CIFAR100(folder, train=train, download=download)
