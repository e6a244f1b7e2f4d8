"""Datasets as parts: plugin files, entry points, unknown names."""

import sys
from importlib.metadata import EntryPoint

import pytest

from retrograde.data.sources import load
from retrograde.errors import UserError
from retrograde.parts.registry import Registry

DATA = '''
from dataclasses import dataclass
import numpy as np
from retrograde import Dataset, DataSource

@dataclass(frozen=True)
class MyData(DataSource):
    """Mine."""
    def load(self, folder):
        y = np.arange(8) % 2
        x = np.load(folder / "mine.npy")
        return Dataset("my_data", x, y, x, y)
'''


@pytest.fixture(autouse=True)
def own_modules():
    before = set(sys.modules)
    yield
    # Names of plugins hold for the whole process.
    for name in set(sys.modules) - before:
        if name.startswith(("retrograde_plugin_", "far_")):
            del sys.modules[name]


@pytest.fixture
def folder(tmp_path):
    import numpy as np

    np.save(tmp_path / "mine.npy", np.arange(24.0).reshape(8, 3))
    return tmp_path


def plugin(folder, text=DATA, name="my_data"):
    path = folder / f"{name}.py"
    path.write_text(text)
    return path


def test_a_dataset_of_a_plugin_file_is_loaded_from_the_data_folder(folder):
    Registry((plugin(folder),))
    data = load("my_data", folder)
    assert (data.name, data.shape, data.classes) == ("my_data", (3,), 2)


def test_a_dataset_of_an_entry_point_is_loaded(folder, monkeypatch):
    plugin(folder, name="far_data")
    monkeypatch.syspath_prepend(folder)
    point = EntryPoint("far", "far_data", "retrograde.datasets")
    monkeypatch.setattr(
        "retrograde.parts.registry.entry_points",
        lambda group: [point] if group == point.group else [],
    )
    assert load("far", folder).shape == (3,)


def test_an_unknown_dataset_is_refused_with_the_nearest_names_and_the_forms(folder):
    Registry((plugin(folder),))
    with pytest.raises(UserError, match=r"path to a \.npz.*'my_dta'.*Did you mean.* my_data\b"):
        load("my_dta", folder)


def test_an_error_of_a_plugin_that_loads_data_has_its_line(folder):
    Registry((plugin(folder),))
    (folder / "mine.npy").unlink()
    with pytest.raises(UserError, match=r"dataset=my_data cannot be loaded: my_data\.py:11: File"):
        load("my_data", folder)


def test_a_source_that_gives_no_dataset_is_refused_with_its_line(folder):
    Registry((plugin(folder, DATA.replace('return Dataset("my_data", x, y, x, y)', "return x")),))
    rule = r"A dataset is an rg\.Dataset; MyData\.load \(my_data\.py:9\) .* gave a ndarray"
    with pytest.raises(UserError, match=rule):
        load("my_data", folder)
