"""Datasets by name or path."""

import os
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

from retrograde.data.cache import cache_folder
from retrograde.data.dataset import Dataset
from retrograde.data.decoding_cache import decoded_once
from retrograde.data.files import arrays, image_folder
from retrograde.errors import UserError, nearest, shown
from retrograde.parts.author_code import guarded, hook
from retrograde.parts.part import Part
from retrograde.parts.registry import loaded
from retrograde.paths import home_path, kind

CONVERTED = {
    ".pt": "content = torch.load('{}'); x_train = content['x_train'].numpy(), ...",
    ".csv": "table = pd.read_csv('{}'); x_train = table.drop(columns='label').to_numpy(), ...",
    ".parquet": (
        "table = pd.read_parquet('{}'); x_train = table.drop(columns='label').to_numpy(), ..."
    ),
}
"""Lines that read files of other kinds, by their endings."""

ARROW = (
    "data = datasets.load_from_disk('{}'); "
    "x = {{part: np.stack([np.asarray(image) for image in data[part]['image']]) "
    "for part in ('train', 'test')}}; "
    "y = {{part: np.array(data[part].features['label'].int2str(list(data[part]['label']))) "
    "for part in ('train', 'test')}}; "
    "np.savez('data.npz', x_train=x['train'], y_train=y['train'], x_test=x['test'], "
    "y_test=y['test'])"
)
"""Lines that read a folder of the library `datasets` with training and test examples."""

SPLIT = "data = data.train_test_split(0.2, seed=0); "
"""A line that makes them, if the folder has one set of examples."""


@dataclass(frozen=True)
class DataSource(Part):
    """A dataset by name; its file defines `load`."""

    kind: ClassVar[str] = "datasets"
    # The licence of the data, in words.
    licence: ClassVar[str] = ""

    def declares(self) -> dict[str, str]:
        """The licence, if it is stated."""
        return {"licence": self.licence} if self.licence else {}

    @abstractmethod
    def load(self, folder: Path) -> Dataset:
        """Load the dataset.

        Args:
            folder: The data folder, for what is downloaded.

        Raises:
            UserError: The data are missing or unusable.
        """


def data_folder(given: Path | None = None) -> Path:
    """The folder of downloaded data.

    It is `given`, or else the environment's RETROGRADE_DATA, or else the user's cache folder.
    """
    return given or Path(os.environ.get("RETROGRADE_DATA") or cache_folder())


def load(name: str, folder: Path) -> Dataset:
    """The dataset of a name or at a path.

    Args:
        name: The name of a dataset, or the path of a `.npz`, of an image folder or of a zip of one;
            several of them with `+` between them are joined.
        folder: The data folder, for datasets that are downloaded.

    Raises:
        UserError: The data are missing or unusable.
    """
    registry = loaded()
    if name.isidentifier() and registry.knows("datasets", name):
        source = cast("DataSource", registry.get("datasets", name))
        return _loaded_by(source, name, folder)
    path = home_path(name)
    if "+" in name and kind(path) == "nothing":
        from retrograde.data.joined import joined  # it imports torch, which takes long

        return joined([load(part.strip(), folder) for part in name.split("+")])
    if not name or kind(path) == "nothing":
        names = registry.names("datasets")
        raise UserError(
            "A dataset is a name or a path to a .npz, an image folder or a zip of one; "
            f"{shown(name)} is neither a name nor a file here. {nearest(name, names)}"
        )
    if path.suffix == ".npz":
        return arrays(path)
    if path.suffix in CONVERTED:
        raise UserError(
            f"A dataset is a .npz, an image folder or a zip of one; {shown(name)} ends in "
            f"{path.suffix}. Convert it: {CONVERTED[path.suffix].format(path.name)}; "
            "np.savez('data.npz', x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)"
        )
    _check_arrow(path)
    return decoded_once(path.stem, [path], lambda: image_folder(path))


def _check_arrow(path: Path) -> None:
    """Raise `UserError` if a folder is one that the library `datasets` has saved."""
    parts = (path / "dataset_dict.json").is_file()
    if parts or (path / "state.json").is_file():
        load_it, _, rest = ARROW.format(path).partition("; ")
        lines = f"{load_it}; {'' if parts else SPLIT}{rest}"
        raise UserError(
            f"A dataset is a .npz, an image folder or a zip of one; {path} is a folder of the "
            f"library datasets. Convert it, with the names of its columns: {lines}"
        )


def _loaded_by(source: DataSource, name: str, folder: Path) -> Dataset:
    with guarded(f"dataset={name} cannot be loaded", source):
        data: object = source.load(folder)
    if not isinstance(data, Dataset):
        raise UserError(
            f"A dataset is an rg.Dataset; {hook(source, 'load')} of dataset={name} gave a "
            f"{type(data).__name__}."
        )
    return data
