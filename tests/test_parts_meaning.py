"""`retrograde show`: settings with their meaning, as the source says it."""

from dataclasses import dataclass
from typing import Literal

import pytest
from typer.testing import CliRunner

from retrograde import Count, Rate, Strategy
from retrograde.cli import app
from retrograde.errors import UserError
from retrograde.parts.kinds import KINDS
from retrograde.parts.meaning import Setting, settings_of
from retrograde.parts.registry import Registry

REGISTRY = Registry()


@dataclass(frozen=True, kw_only=True)
class Base(Strategy):
    # Before it,
    # on two lines.
    base: Rate = 0.5
    undocumented: Literal["a", "b"] = "a"


@dataclass(frozen=True, kw_only=True)
class Derived(Base):
    first: Count  # must be given
    second: bool = True
    base: Rate = 0.25  # again, with another meaning


def test_meanings_are_the_comments_and_values_those_of_the_type():
    assert settings_of(Derived) == [
        Setting("base", "0.25", "a finite number above 0", "again, with another meaning"),
        Setting("first", None, "a whole number, at least 1", "must be given"),
        Setting("second", "true", "true | false", ""),
        Setting("undocumented", "a", "a | b", ""),
    ]
    (base, _) = settings_of(Base)
    assert base.meaning == "Before it, on two lines"


@pytest.mark.parametrize("kind", KINDS)
def test_every_shipped_part_has_the_settings_that_it_lists(kind):
    for name in REGISTRY.names(kind):
        part = REGISTRY.find(kind, name)
        listed = part.defaults()
        for setting in settings_of(part):
            assert f"{setting.name}=" in listed


def test_benchmarks_explain_every_setting_that_they_share():
    unexplained = {"dataset", "scenario", "epochs", "batch_size", "model", "optimizer", "schedule"}
    settings = {
        setting.name: setting for setting in settings_of(REGISTRY.find("benchmarks", "split"))
    }
    # The comment of `channel_means` is of both.
    unexplained |= {"channel_stds", "tasks"}
    assert {name for name, setting in settings.items() if not setting.meaning} <= unexplained
    assert settings["evaluate_on"].values == "test | validation"


def shown(*arguments):
    result = CliRunner().invoke(app, ["show", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_show_prints_docstring_settings_and_published_numbers():
    text = shown("er")
    assert "arXiv 1902.10486" in text
    assert "buffer_size=200  examples kept; a whole number, at least 1" in text
    assert "lr=0.1  learning rate; a finite number above 0" in text
    assert "ACC 80.43" in text
    assert "Buzzega et al. 2020" in text


def test_a_name_of_two_kinds_shows_both_and_an_unknown_one_names_its_neighbour():
    text = shown("omniglot")
    assert "of benchmarks" in text
    assert "of datasets" in text
    with pytest.raises(UserError, match="Did you mean ewc"):
        CliRunner().invoke(app, ["show", "ewcc"], catch_exceptions=False)


def test_metrics_are_listed_with_meaning_unit_direction_and_source():
    text = CliRunner().invoke(app, ["list", "metrics"]).stdout
    assert "forgetting  mean drop from a task's best earlier accuracy" in text
    assert "in percent; lower is better; Chaudhry et al. 2018" in text
    assert "MSE  mean squared error at the end" in text
    assert "BWT_gem" in text


def test_defaults_that_depend_on_others_stand_in_the_help():
    text = " ".join(CliRunner().invoke(app, ["run", "--help"]).stdout.replace("│", " ").split())
    for default in ("the suite's, or 1", "runs/<suite>", "RETROGRADE_DATA or the cache"):
        assert f"[default: {default}]" in text


def test_version():
    assert CliRunner().invoke(app, ["--version"]).stdout.startswith("retrograde 0.")
