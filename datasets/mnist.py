"""MNIST."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ._with_torchvision import WithTorchvision


@dataclass(frozen=True)
class MNIST(WithTorchvision):
    """MNIST (LeCun et al. 1998): 60 000 training and 10 000 test digits of 28 x 28 pixels."""

    licence: ClassVar[str] = "CC BY-SA 3.0"
    name: ClassVar[str] = "mnist"
    title: ClassVar[str] = "MNIST"
    inside: ClassVar[str] = "MNIST/raw"
    files: ClassVar[str] = "the four *-ubyte files"

    def part(self, datasets: Any, folder: Path, train: bool, download: bool) -> Any:
        return datasets.MNIST(folder, train=train, download=download)
