"""Models as parts: names and their sizes, plugin files, entry points."""

import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from torch import nn

from retrograde.errors import UserError
from retrograde.networks.build import build, extent, forget_files, model, model_file
from retrograde.networks.model import Model, ModelName, from_words, inner_name, is_around, usage
from retrograde.parts.fields import Count, Rate, Size, Sizes
from retrograde.parts.plugins import load_file
from retrograde.parts.registry import Registry

NET = '''
from dataclasses import dataclass
from torch import nn
from retrograde import Model, Size

@dataclass(frozen=True)
class MyNet(Model):
    """Mine."""
    width: Size

    def build(self, shape, outputs, running):
        modules = {"hidden": nn.Linear(shape[0], self.width), "head": nn.Linear(self.width, outputs)}
        return nn.Sequential(*modules.values()) if not running else Named(modules)

class Named(nn.Sequential):
    def __init__(self, modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
'''


@pytest.fixture(autouse=True)
def own_modules():
    forget_files()
    before = set(sys.modules)
    yield
    # Names of plugins hold for the whole process.
    for name in set(sys.modules) - before:
        if name.startswith(("retrograde_plugin_", "far_")):
            del sys.modules[name]


def plugin(folder, text=NET, name="my_net"):
    path = folder / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


@dataclass(frozen=True)
class Mixed(Model):
    """Settings of several types."""

    depth: Count
    rate: Rate = 0.5
    hidden: Sizes = ()

    def build(self, shape: tuple[int, ...], outputs: int, running: bool) -> nn.Module:
        return nn.Linear(shape[0], outputs)


@dataclass(frozen=True)
class Around(Model):
    """A model around another."""

    times: Size
    inside: ModelName

    def build(self, shape: tuple[int, ...], outputs: int, running: bool) -> nn.Module:
        return model(self.inside).build(shape, outputs, running)


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ("mixed-3", Mixed(depth=3)),
        ("mixed-3-0.25", Mixed(depth=3, rate=0.25)),
        ("mixed-3-0.25-8", Mixed(depth=3, rate=0.25, hidden=(8,))),
        ("mixed-3-0.5-8", Mixed(depth=3, hidden=(8,))),
        ("mixed-3-0.25-8-9-10", Mixed(depth=3, rate=0.25, hidden=(8, 9, 10))),
        ("around-2-mlp-100-100", Around(times=2, inside="mlp-100-100")),
    ],
)
def test_the_words_of_a_name_are_the_settings_in_their_order(spec, part):
    assert from_words(type(part), spec) == part


@pytest.mark.parametrize(
    ("cls", "spec", "rule"),
    [
        (
            Mixed,
            "mixed",
            "It is written mixed-DEPTH-RATE-HIDDEN-HIDDEN...; Mixed has no default for depth",
        ),
        (Mixed, "mixed-", "'mixed-' is not possible"),
        (Mixed, "mixed-x", "depth='x' is not possible"),
        (Mixed, "mixed-3-0.25-", "'mixed-3-0.25-' is not possible"),
        (Mixed, "mixed-3-0.25-8-", "'mixed-3-0.25-8-' is not possible. It is written"),
        (Mixed, "mixed-3-0.25-0", "at least 1"),
        (Mixed, "mixed-03", "here mixed-3: each model has one name. Write that"),
        (Mixed, "mixed-3-0.250", "here mixed-3-0.25: each model has one name"),
        (Mixed, "mixed-3-0.5", "here mixed-3: each model has one name"),
        (Around, "around-2", "Around has no default for inside"),
    ],
)
def test_a_name_with_other_words_is_refused_with_its_form(cls, spec, rule):
    with pytest.raises(UserError, match=rule):
        from_words(cls, spec)


def test_a_model_tells_its_form_and_the_model_that_it_is_built_around():
    assert usage(Mixed, "mixed") == "mixed-DEPTH-RATE-HIDDEN-HIDDEN..."
    assert usage(Around, "around") == "around-TIMES-INSIDE"
    assert (is_around(Mixed), is_around(Around)) == (False, True)
    assert inner_name(Mixed, "mixed-3-0.25-8") == inner_name(Around, "around-2") == ""
    assert inner_name(Around, "around-2-mlp-100-100") == "mlp-100-100"


@pytest.mark.parametrize(
    "spec", ["mlp-0", "mlp-05", "mlp-", "mlp--5", "mlp-5-", "mlp-x", "conv4", "conv4-6-7", "conv-5"]
)
def test_sizes_that_a_model_of_the_suite_cannot_have_are_refused(spec):
    with pytest.raises(UserError, match=f"model='{spec}' is not possible. It is written"):
        model(spec)


def test_a_model_of_a_plugin_file_is_built_by_name(tmp_path):
    Registry((plugin(tmp_path),))
    module = build("my_net-8", (3,), 2, seed=0)
    assert module(torch.zeros(4, 3)).shape == (4, 2)
    assert extent("my_net-8", (3,), 2) == (3 * 8 + 8 + 8 * 2 + 2, 8 + 2, 8)
    assert model_file("my_net-8") == tmp_path / "my_net.py"


def test_a_model_of_a_plugin_file_can_be_gated(tmp_path):
    Registry((plugin(tmp_path),))
    module = build("gated-my_net-8", (3,), 2, seed=0, running=True)
    assert isinstance(module.gated.gate.head, nn.Linear)
    assert model_file("gated-my_net-8") == tmp_path / "my_net.py"


def test_of_two_plugin_files_of_one_name_the_one_loaded_last_counts(tmp_path):
    first = plugin(tmp_path / "first")
    second = plugin(tmp_path / "second")
    for path in (first, second, first):
        Registry((path,))
        assert model_file("my_net-8") == path


def test_the_file_of_an_imported_model_adds_no_name(tmp_path):
    path = plugin(
        tmp_path, f"{NET}\ndef net(shape, outputs): return nn.Linear(shape[0], outputs)\n"
    )
    build(f"{path}:net", (3,), 2, seed=0)
    with pytest.raises(UserError, match="A model is NAME"):
        model("my_net-8")


def test_an_unknown_model_is_refused_with_the_nearest_names_and_the_forms(tmp_path):
    Registry((plugin(tmp_path),))
    with pytest.raises(UserError, match=r"FILE\.py:attribute.*'my_nit-8'.*Did you mean my_net\?"):
        build("my_nit-8", (3,), 2, seed=0)
    with pytest.raises(UserError, match="'mpl-8' is none of them. Did you mean mlp"):
        build("gated-mpl-8", (3,), 2, seed=0)


def test_a_model_of_an_entry_point_is_built_by_name(tmp_path, monkeypatch):
    plugin(tmp_path, name="far_models")
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("far", "far_models:MyNet", "retrograde.models")
    monkeypatch.setattr(
        "retrograde.parts.registry.entry_points",
        lambda group: [point] if group == point.group else [],
    )
    assert build("far-8", (3,), 2, seed=0)[0].weight.shape == (8, 3)
    assert model_file("far-8") == tmp_path / "far_models.py"


def test_an_entry_point_that_cannot_be_imported_has_no_file_and_says_why(monkeypatch):
    point = EntryPoint("far", "no_such_module_at_all", "retrograde.models")
    monkeypatch.setattr("retrograde.parts.registry.entry_points", lambda **_: [point])
    assert model_file("far-8") is None
    with pytest.raises(UserError, match="entry point far = 'no_such_module_at_all' cannot be"):
        model("far-8")


def test_an_error_of_a_plugin_that_builds_a_model_has_its_line(tmp_path):
    Registry((plugin(tmp_path, NET.replace("shape[0]", "shape[9]")),))
    with pytest.raises(UserError, match=r"model=my_net-8 could not be built .*my_net\.py:12"):
        build("my_net-8", (3,), 2, seed=0)


def test_a_model_that_gives_no_module_is_refused(tmp_path):
    Registry((plugin(tmp_path, NET.replace("return nn.Seq", "return 3 #")),))
    with pytest.raises(UserError, match="A model is an nn.Module; model=my_net-8 gave a int"):
        build("my_net-8", (3,), 2, seed=0)


def test_a_part_that_is_given_by_its_file_is_refused_with_the_remedy(tmp_path):
    path = plugin(tmp_path)
    with pytest.raises(UserError, match="MyNet of model=.* is a part.*Give its file with --plugin"):
        build(f"{path}:MyNet", (3,), 2, seed=0)


def test_a_model_whose_layers_need_contents_is_measured_by_building_it(tmp_path):
    text = NET.replace(
        "        modules =", "        nn.Linear(1, 1).bias.item()\n        modules ="
    )
    Registry((plugin(tmp_path, text),))
    assert extent("my_net-8", (3,), 2) == (3 * 8 + 8 + 8 * 2 + 2, 0, 0)


def test_a_path_that_begins_like_a_name_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make = "from torch import nn\ndef net(shape, outputs): return nn.Linear(shape[0], outputs)\n"
    plugin(tmp_path / "mlp-nets", make, name="net")
    assert build("mlp-nets/net.py:net", (3,), 2, seed=0).weight.shape == (2, 3)
    assert model_file("mlp-nets/net.py:net") == Path("mlp-nets/net.py").resolve()


def test_a_model_may_stand_in_others_but_not_without_end():
    assert build("gated-gated-mlp-2", (3,), 2, seed=0).head.out_features == 2
    with pytest.raises(UserError, match="at most 4 others inside each other and 1000 layers"):
        model(f"{5 * 'gated-'}mlp-2")


def test_a_plugin_is_loaded_apart_from_a_file_of_models(tmp_path):
    path = plugin(tmp_path)
    registry = Registry((path,))
    load_file(path, "retrograde_model_")
    assert sys.modules[registry.own["my_net"].__name__] is registry.own["my_net"]
