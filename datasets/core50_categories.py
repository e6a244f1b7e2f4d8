"""CORe50 with a class for each category."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from retrograde import Dataset, DataSource

from ._core50 import CATEGORIES, EACH, objects


@dataclass(frozen=True)
class CORe50Categories(DataSource):
    """CORe50 with its 10 categories of five objects each as classes; see `core50`."""

    licence: ClassVar[str] = "CC BY 4.0"

    def load(self, folder: Path) -> Dataset:
        data = objects(folder)
        return replace(
            data,
            name="core50_categories",
            y_train=data.y_train // EACH,
            y_test=data.y_test // EACH,
            class_names=CATEGORIES[: data.classes // EACH],
        )
