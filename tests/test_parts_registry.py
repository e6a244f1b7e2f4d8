"""The registry: parts by name, whether built in, in a file of the user's or from an entry point."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from textwrap import dedent

import pytest

from retrograde.errors import UserError
from retrograde.parts.part import Part
from retrograde.parts.registry import Registry, source_of

SOURCE = {
    "strategies": '''
        from dataclasses import dataclass
        from retrograde.parts.fields import Rate
        from retrograde.interface.strategy import Strategy

        @dataclass(frozen=True)
        class Mine(Strategy):
            """Mine."""
            lr: Rate = 0.5
            def step(self, net, state, data):
                return state
        ''',
    "benchmarks": '''
        from dataclasses import dataclass
        from retrograde.interface.benchmark import Benchmark
        from retrograde.streams.cuts import same_classes
        import numpy as np

        @dataclass(frozen=True, kw_only=True)
        class Mine(Benchmark):
            """Mine."""
            def cut(self, data, seed):
                return same_classes(data, np.zeros((1, 4), int), self.scenario)
        ''',
    "results": '''
        from retrograde.reporting.result import TableResult
        from retrograde.reporting.table import Table

        class Mine(TableResult):
            """Mine."""
            def table(self, records):
                return Table("mine", (), (), None)
        ''',
}
BUILT_IN = {
    "benchmarks": {"split", "permuted", "rotated"},
    "strategies": {"finetune", "er", "joint"},
    "results": {"scores", "timing"},
}
ONE = {"benchmarks": "benchmark", "strategies": "strategy", "results": "result"}


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "modules", sys.modules.copy())

    def written(source: str, name: str = "mine.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(dedent(source), encoding="utf-8")
        return path

    return written


@pytest.fixture
def enter(monkeypatch):
    def entered(kind: str, name: str, value: str) -> None:
        point = EntryPoint(name, value, f"retrograde.{kind}")
        monkeypatch.setattr(
            "retrograde.parts.registry.entry_points",
            lambda group: [point] if group == point.group else [],
        )

    return entered


@pytest.mark.parametrize(("kind", "names"), BUILT_IN.items())
def test_every_built_in_part_is_found_and_has_a_summary(kind, names):
    registry = Registry()
    assert names <= set(registry.names(kind))
    for name in names:
        part = registry.find(kind, name)
        assert (part.kind, part.__module__) == (kind, f"retrograde.{kind}.{name}")
        assert part.summary()


def test_a_part_comes_with_the_settings_given():
    part = Registry().get("benchmarks", "split", {"tasks": "2", "class_order": "1,0"})
    assert {"tasks": 2, "class_order": [1, 0]}.items() <= part.settings().items()


@pytest.mark.parametrize(
    ("kind", "name", "near"),
    [
        ("strategies", "finetun", "finetune"),
        ("benchmarks", "slpit", "split"),
        ("results", "time", "timing"),
    ],
)
def test_an_unknown_name_lists_the_nearest(kind, name, near):
    with pytest.raises(UserError, match=f"There is no {ONE[kind]} '{name}'. Did you mean .*{near}"):
        Registry().find(kind, name)


def test_an_unknown_kind_lists_the_nearest():
    with pytest.raises(UserError, match=r"'strategy'\. Did you mean strategies"):
        Registry().find("strategy", "er")


def test_the_source_of_a_part_is_its_file(write):
    path = write(SOURCE["strategies"])
    registry = Registry((path,))
    assert source_of(registry.find("strategies", "mine")) == path
    assert source_of(registry.find("benchmarks", "split")).name == "split.py"


@pytest.mark.parametrize("kind", SOURCE)
def test_a_plugin_file_adds_a_part_of_its_kind_under_its_file_name(kind, write):
    registry = Registry((write(SOURCE[kind]),))
    assert registry.kinds_of("mine") == {kind}
    assert isinstance(registry.get(kind, "mine"), registry.find(kind, "mine"))
    assert [k for k in SOURCE if "mine" in registry.names(k)] == [kind]


def test_a_plugin_file_may_define_a_part_of_each_kind(write):
    whole = "".join(
        dedent(source).replace("class Mine", f"class {kind.title()}")
        for kind, source in SOURCE.items()
    )
    registry = Registry((write(whole),))
    assert {kind: registry.find(kind, "mine").__name__ for kind in SOURCE} == {
        kind: kind.title() for kind in SOURCE
    }


@pytest.mark.parametrize("name", ["er.py", "split.py", "scores.py"])
def test_a_plugin_file_cannot_take_the_name_of_a_built_in_part(write, name):
    with pytest.raises(UserError, match="Rename"):
        Registry((write(SOURCE["strategies"], name),))


def test_a_plugin_of_one_registry_is_unknown_to_the_next(write):
    Registry((write(SOURCE["strategies"]),))
    assert "mine" not in Registry().names("strategies")


def test_two_plugin_files_of_one_name_do_not_silently_hide_each_other(write):
    files = write(SOURCE["strategies"], "one/mine.py"), write(SOURCE["benchmarks"], "two/mine.py")
    try:
        registry = Registry(files)
    except UserError:
        return
    assert registry.kinds_of("mine") == {"strategies", "benchmarks"}


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError"),
        ("1 +", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        ("raise KeyError('x')", "KeyError"),
    ],
)
def test_a_plugin_that_does_not_import_is_refused_with_the_reason(source, why, write):
    with pytest.raises(UserError, match=rf"mine\.py cannot be imported: (mine\.py:1: )?{why}"):
        Registry((write(source),))


@pytest.mark.parametrize(
    "source",
    [
        "",
        "class Mine: pass",
        "from retrograde.interface.strategy import Strategy",
        SOURCE["results"].replace("Mine", "_Mine"),
    ],
)
def test_a_plugin_without_a_public_part_of_its_own_is_refused(source, write):
    with pytest.raises(UserError, match=r"mine\.py defines no part.*retrograde new strategy"):
        Registry((write(source),))


BASES = {
    "benchmarks": "Benchmark or EpisodicBenchmark",
    "strategies": "Strategy, Learner or MetaStrategy",
    "results": "TableResult or FigureResult",
}


@pytest.mark.parametrize("kind", SOURCE)
def test_a_file_without_the_part_asked_for_is_told_what_such_a_part_derives_from(
    kind, write, enter, monkeypatch, tmp_path
):
    write("", f"far_{kind}.py")
    monkeypatch.syspath_prepend(tmp_path)
    enter(kind, "far", f"far_{kind}")
    with pytest.raises(UserError, match=f"exactly one public class derived from {BASES[kind]};"):
        Registry().find(kind, "far")


def test_a_plugin_without_a_part_is_told_every_class_that_parts_derive_from(write):
    every = (
        "Benchmark, EpisodicBenchmark, Strategy, Learner, MetaStrategy, TableResult, FigureResult, "
        "Model or DataSource"
    )
    with pytest.raises(UserError, match=f"a public class derived from {every}"):
        Registry((write(""),))


def test_a_plugin_that_is_no_python_file_is_refused(write, tmp_path):
    for path in (tmp_path, tmp_path / "absent.py", write("", "mine.txt")):
        with pytest.raises(UserError, match=r"Python file.*(none at|is none)"):
            Registry((path,))


@pytest.mark.parametrize("kind", SOURCE)
@pytest.mark.parametrize("target", ["far_away", "far_away:Mine"])
def test_an_entry_point_names_a_module_or_a_class(
    kind, target, write, enter, monkeypatch, tmp_path
):
    write(SOURCE[kind], "far_away.py")
    monkeypatch.syspath_prepend(tmp_path)
    enter(kind, "far", target)
    found = Registry().find(kind, "far")
    assert issubclass(found, Part)
    assert (found.__name__, found.kind, "far" in Registry().names(kind)) == ("Mine", kind, True)


@pytest.mark.parametrize("target", ["no_such_module_at_all", "json:Nothing"])
def test_an_entry_point_that_cannot_be_imported_is_refused(target, enter):
    enter("strategies", "far", target)
    with pytest.raises(UserError, match=f"entry point far = '{target}' cannot be imported"):
        Registry().find("strategies", "far")


def test_an_entry_point_to_a_module_with_no_part_or_two_is_refused(
    write, enter, monkeypatch, tmp_path
):
    two = dedent(SOURCE["strategies"]) + "class Other(Mine): pass\n"
    for name, source, what in (("far_none", "", "none"), ("far_two", two, "Mine, Other")):
        write(source, f"{name}.py")
        monkeypatch.syspath_prepend(tmp_path)
        enter("strategies", "far", name)
        with pytest.raises(UserError, match=f"defines {what}"):
            Registry().find("strategies", "far")


@pytest.mark.parametrize(
    "target", ["json:JSONDecoder", "json:loads", "retrograde.benchmarks.split:Split"]
)
def test_an_entry_point_to_what_is_no_part_of_its_kind_is_refused(target, enter):
    enter("strategies", "far", target)
    with pytest.raises(UserError):
        Registry().find("strategies", "far")
