"""CORe50 with a class for each object."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from retrograde import Dataset, DataSource

from ._core50 import objects


@dataclass(frozen=True)
class CORe50(DataSource):
    """CORe50 (Lomonaco and Maltoni 2017, arXiv 1705.03550): frames of 50 objects in 11 sessions.

    `core50_128x128.zip` in the data folder is read in place; without it, the folder
    `core50_128x128`. Frames are resized to 32 x 32 pixels. Sessions 3, 7 and 10 are the tests; the
    others are tasks: `given:dataset=core50,scenario=domain` has new instances in each experience.
    """

    licence: ClassVar[str] = "CC BY 4.0"

    def load(self, folder: Path) -> Dataset:
        return objects(folder)
