"""The digests of a part's files: the files that they cover, and the changes between them."""

import importlib.metadata
import sys
from itertools import product
from pathlib import Path

import pytest

from retrograde.networks.build import model_file
from retrograde.parts.provenance import changes, files, version_digest
from retrograde.parts.registry import Registry, source_of


def lay(folder, **texts):
    """Write files, `a/b` for a/b.py; returns the first."""
    paths = [folder / f"{name}.py" for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return paths[0]


IMPORTS = {
    "import aid": {"aid.py"},
    "import aid as other, json": {"aid.py"},
    "from aid import value": {"aid.py"},
    "def late():\n    from aid import value": {"aid.py"},
    "from . import aid": {"aid.py"},
    "from .aid import *": {"aid.py"},
    "import deep": {"deep/__init__.py", "deep/inner.py"},
    "import deep.other": {"deep/__init__.py", "deep/inner.py", "deep/other.py", "aid.py"},
    "from deep import other": {"deep/__init__.py", "deep/inner.py", "deep/other.py", "aid.py"},
    "from bare import leaf": {"bare/leaf.py"},
    "from retrograde.strategies._lookahead import LookAhead": {
        "retrograde/strategies/_lookahead.py"
    },
    "import torch, retrograde.interface.strategy": set(),
    "from ..elsewhere import gone": set(),
}


@pytest.mark.parametrize("text", IMPORTS)
def test_a_digest_covers_what_a_file_imports_from_beside_it_and_nothing_else(tmp_path, text):
    rest = {"aid": "value = 1", "unused": "import aid", "retrograde": "", "bare/leaf": ""}
    deep = {
        "deep/__init__": "from .inner import x",
        "deep/inner": "x = 1",
        "deep/other": "import aid",
    }
    path = lay(tmp_path, mine=text, **rest, **deep)
    assert files(path).keys() == {"mine.py", *IMPORTS[text]}
    assert next(iter(files(path))) == "mine.py"


def test_imports_are_followed_from_file_to_file_round_a_circle_and_past_one_that_cannot_be_read(
    tmp_path,
):
    path = lay(tmp_path, mine="import a", a="import b", b="import mine, broken", broken="def (")
    assert list(files(path)) == ["mine.py", "a.py", "b.py", "broken.py"]


def test_a_package_is_followed_through_its_own_name(tmp_path):
    lay(tmp_path, **{"own/__init__": "", "own/sub/__init__": "", "own/aid": "", "own/sub/more": ""})
    text = "from own.aid import x\nfrom ..sub import more\nfrom .more import y"
    path = lay(tmp_path, **{"own/sub/mine": text})
    assert files(path).keys() == {
        "mine.py",
        "more.py",
        "__init__.py",
        "../aid.py",
        "../__init__.py",
    }


@pytest.mark.parametrize(("where", "ends"), list(product(["one", "another/place"], ["\n", "\r\n"])))
def test_a_digest_depends_neither_on_the_folder_nor_on_the_ends_of_lines(tmp_path, where, ends):
    texts = {"mine": "import aid\nx = 1\n", "aid": "y = 2\n"}
    here = lay(tmp_path / "here", **texts)
    there = lay(
        tmp_path / where, **{name: text.replace("\n", ends) for name, text in texts.items()}
    )
    assert files(here) == files(there)


@pytest.mark.parametrize("edited", ["mine", "aid"])
def test_an_edit_of_any_of_the_files_changes_its_digest_alone(tmp_path, edited):
    texts = {"mine": "import aid", "aid": "y = 2"}
    before, after = (
        files(lay(tmp_path, **each)) for each in (texts, texts | {edited: texts[edited] + " "})
    )
    assert {name for name in before if before[name] != after[name]} == {f"{edited}.py"}


def test_the_digests_of_a_built_in_part_cover_its_helpers_and_not_the_engine():
    registry = Registry()
    assert list(registry.digests(source_of(registry.find("strategies", "lamaml")))) == [
        "lamaml.py",
        "_lookahead.py",
    ]
    assert list(registry.digests(source_of(registry.find("benchmarks", "split")))) == [
        "split.py",
        "_class_groups.py",
    ]


def test_a_registry_keeps_the_digests_of_a_plugin_as_it_was_loaded(tmp_path):
    text = "from retrograde.strategies.finetune import Finetune\nclass Mine(Finetune): pass\n"
    path = lay(tmp_path, mine=text)
    registry, before = Registry((path,)), files(path)
    path.write_text(text + "# edited")
    assert registry.digests(source_of(registry.find("strategies", "mine"))) == before != files(path)


MODELS = {
    "mlp-10": None,
    "gated-conv": None,
    "no.such.package:make": None,
    "gated-net.py:make": "net.py",
    "net.py:make": "net.py",
}


@pytest.mark.parametrize("spec", MODELS)
def test_a_model_of_ones_own_has_a_file_and_one_of_the_suite_has_none(spec):
    assert model_file(spec) == (MODELS[spec] and Path(MODELS[spec]).resolve())


def test_a_digest_covers_a_model_of_the_suite_that_a_file_imports(tmp_path):
    path = lay(tmp_path, mine="from retrograde.models._layers import Halving\n")
    assert list(files(path)) == ["mine.py", "retrograde/models/_layers.py"]


def test_a_model_of_an_installed_package_is_identified_by_the_version_of_the_package():
    assert files(model_file("torch.nn:Linear")) == {"torch": importlib.metadata.version("torch")}
    assert "torch.nn" in sys.modules


def test_changes_name_the_file_its_part_and_both_digests():
    old = {
        "strategy": {"mine.py": "1" * 12, "aid.py": "2" * 12},
        "model": {"net.py": "3" * 12},
    }
    new = {
        "strategy": {"mine.py": "1" * 12, "aid.py": "4" * 12},
        "model": {"net.py": "5" * 12},
    }
    said = [f"{change.what} changed ({change.digests})" for change in changes(old, new)]
    assert said == [
        "aid.py (imported by strategy mine.py) changed (2222222 -> 4444444)",
        "model net.py changed (3333333 -> 5555555)",
    ]


def test_a_new_helper_is_a_change_of_the_file_that_imports_it():
    old = {"mine.py": "1", "aid.py": "2"}
    new = {"mine.py": "3", "aid.py": "2", "more.py": "4"}
    assert [each.file for each in changes({"strategy": old}, {"strategy": new})] == ["mine.py"]


def test_a_new_helper_alone_is_a_change_of_its_own():
    old = {"mine.py": "1", "aid.py": "2"}
    new = old | {"more.py": "4"}
    found = changes({"strategy": old}, {"strategy": new})
    assert [each.digests for each in found] == ["none -> 4"]


def test_unknown_files_have_no_changes():
    known = {"strategy": {"mine.py": "1"}, "benchmark": {"b.py": "2"}}
    assert changes({}, known) == changes(known, {}) == []


def test_the_order_of_files_does_not_change_a_version():
    one = {"strategy": {"a.py": "1", "b.py": "2"}}
    other = {"strategy": {"b.py": "2", "a.py": "1"}}
    assert version_digest(one) == version_digest(other) != version_digest({})
    assert changes(one, other) == []
