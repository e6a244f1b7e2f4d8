"""A part's class and settings are verified before one is made of them: what a record cannot hold is refused."""

from textwrap import dedent

import pytest

from retrograde.contract.claims import is_recorded, verdict
from retrograde.errors import UserError
from retrograde.parts.registry import Registry

HEAD = """
from __future__ import annotations
import enum, pathlib, typing
import numpy as np, torch
from dataclasses import dataclass, field
from typing import Any, ClassVar
from retrograde.interface.learner import Learner
from retrograde.parts.fields import Rate
from retrograde.interface.strategy import Strategy

class Mode(enum.Enum):
    SOFT = "soft"

class Text(str, enum.Enum):
    SOFT = "soft"

"""
STEP = "    def step(self, net, state, data): return state\n"
FIELDS = {
    "a path": (
        "where: pathlib.Path = pathlib.Path('x')",
        "setting where holds PosixPath|setting where holds WindowsPath",
    ),
    "an enum": ("mode: Mode = Mode.SOFT", "setting mode holds <Mode.SOFT: 'soft'> of type Mode"),
    "an enum that is text": ("mode: Text = Text.SOFT", "of type Text"),
    "a set": ("layers: frozenset = frozenset({1, 2})", "of type frozenset"),
    "bytes": ("key: bytes = b'x'", "of type bytes"),
    "a complex number": ("at: complex = 1j", "of type complex"),
    "a callable": ("of: typing.Callable = len", "of type builtin_function_or_method"),
    "a set deep within": ("of: Any = ((1, (b'x',)),)", "setting of holds b'x'"),
    "NaN": ("of: Any = float('nan')", "of=nan is not possible. It should be a finite number"),
    "keys that are no text": ("of: Any = field(default_factory=lambda: {1: 2})", "of type dict"),
    "an array": (
        "weights: np.ndarray = None",
        "weights is annotated with a type that no setting can have",
    ),
    "a tensor": (
        "weights: torch.Tensor = None",
        "weights is annotated with a type that no setting can have",
    ),
    "an unresolved annotation": (
        "of: Nowhere = 1",
        "an annotation cannot be resolved: NameError.*Import what it names",
    ),
    "a setting named like a method": ("settings: int = 3", "settings is a method of every part"),
    "an attribute named like a method": (
        "settings = {'a': 1}",
        "settings is a method of every part",
    ),
    "a constant as a setting": (
        "upper_bound: bool = True",
        "upper_bound is an attribute of the class",
    ),
    "scenarios that are none": (
        "scenarios: ClassVar[Any] = ('some',)",
        "scenarios = .* is not possible",
    ),
    "a __post_init__ that raises": (
        "def __post_init__(self): {}['x']",
        r"mine\.py:\d+: KeyError: 'x'",
    ),
    "a hook that raises": ("def knows_ahead(self): {}['x']", r"mine\.py:\d+: KeyError: 'x'"),
    "a schedule that leaves": (
        "def schedule(self): raise GeneratorExit",
        r"mine\.py:\d+: GeneratorExit",
    ),
    "an error without words": (
        "def knows_ahead(self):\n        class Mute(Exception):\n            def __str__(self): return 1 / 0\n        raise Mute",
        "Mute .whose text cannot be had: str.. raises ZeroDivisionError",
    ),
    "a __getattr__ that raises": (
        "def __getattr__(self, name): raise RuntimeError(name)\n    def knows_ahead(self): return self.facts",
        r"mine\.py:\d+: RuntimeError: facts",
    ),
}


@pytest.fixture
def made(tmp_path):
    """Make the part of a plugin with this class."""

    def make(text):
        (tmp_path / "mine.py").write_text(HEAD + dedent(text))
        return Registry((tmp_path / "mine.py",)).get("strategies", "mine")

    return make


@pytest.mark.parametrize("fault", FIELDS)
def test_what_a_record_cannot_hold_or_the_engine_cannot_call_is_refused(made, fault):
    body, why = FIELDS[fault]
    with pytest.raises(UserError, match=why) as refusal:
        made(f"@dataclass(frozen=True)\nclass Mine(Strategy):\n    {body}\n{STEP}")
    assert "\n" not in str(refusal.value)


LEARNER = "    def setup(self, model): pass\n    def observe(self, x, y, task): pass\n    def predict(self, x, task): pass\n"
CLASSES = {
    "a frozen learner": (
        "@dataclass(frozen=True)\nclass Mine(Learner):\n    lr: Rate = 0.1\n",
        "Write @dataclass without",
    ),
    "a learner that is no dataclass": (
        "class Mine(Learner):\n    lr: Rate = 0.1\n",
        r"settings \(lr\).*Write @dataclass above",
    ),
    "a strategy that is none": (
        "class Mine(Strategy):\n    lr: Rate = 0.1\n",
        r"Write @dataclass\(frozen=True\) above",
    ),
}


@pytest.mark.parametrize("fault", CLASSES)
def test_the_rule_of_a_dataclass_is_said(made, fault):
    text, rule = CLASSES[fault]
    with pytest.raises(UserError, match=rule):
        made(text + (STEP if "Strategy" in text else LEARNER))


RETIRED = [
    ("@dataclass(frozen=True)\nclass Mine(Strategy):\n", STEP, "remember", "memory"),
    ("@dataclass(frozen=True)\nclass Mine(Strategy):\n", STEP, "begin", "start"),
    ("@dataclass(frozen=True)\nclass Mine(Strategy):\n", STEP, "end_task", "end_experience"),
    ("class Mine(Learner):\n", LEARNER, "begin", "setup"),
    ("class Mine(Learner):\n", LEARNER, "end_task", "end_experience"),
]


@pytest.mark.parametrize(("head", "body", "name", "now"), RETIRED)
def test_a_hook_of_0_1_is_refused_with_its_name_of_today(made, head, body, name, now):
    """Else the class would train without it, and nothing would say so."""
    with pytest.raises(UserError, match=f"{name} is called {now} since 0.2"):
        made(f"{head}    def {name}(self): return None\n{body}")


MISSPELT = [
    (
        "Strategy",
        STEP,
        "def before_evalution(self, net, state, memory): return state",
        "before_evaluation",
    ),
    ("Strategy", STEP, "later_class_in_loss = False", "later_classes_in_loss"),
    ("Learner", LEARNER, "def end_experiance(self): pass", "end_experience"),
]


@pytest.mark.parametrize(("base", "body", "line", "meant"), MISSPELT)
def test_a_name_that_is_almost_one_of_the_engine_is_refused_with_the_one_that_is_meant(
    made, base, body, line, meant
):
    head = "@dataclass(frozen=True)\n" if base == "Strategy" else ""
    with pytest.raises(UserError, match=f"would never be used; did you mean {meant}"):
        made(f"{head}class Mine({base}):\n    {line}\n{body}")


def test_a_helper_and_a_setting_whose_names_are_like_a_hook_are_accepted(made):
    made(
        "@dataclass(frozen=True)\nclass Mine(Strategy):\n    scenario: str = 'x'\n"
        f"    def steps(self): pass\n    def _predicts(self): pass\n{STEP}"
    )


def test_a_memory_that_is_none_is_refused_before_anything_asks_for_it(made):
    with pytest.raises(UserError, match=r"Mine\.memory .*gives a Memory or None; it gave 200"):
        made(
            "@dataclass(frozen=True)\nclass Mine(Strategy):\n"
            f"    def memory(self): return 200\n{STEP}"
        ).declares()


REPLACED = {
    "trained_on": "Running statistics follow .* Remove it",
    "pretrain_step": r"Return a MetaStrategy from pretraining\(\)",
    "after_pretraining": r"Define start\(net, params\)",
}


@pytest.mark.parametrize("name", REPLACED)
def test_a_hook_that_is_gone_is_refused_with_what_to_do_instead(made, name):
    with pytest.raises(UserError, match=f"{name} is gone since 0.2.*{REPLACED[name]}"):
        made(f"@dataclass(frozen=True)\nclass Mine(Strategy):\n    def {name}(self): pass\n{STEP}")


@pytest.mark.parametrize("version", ["'2'", "2.0", "0", "True"])
def test_a_version_that_no_record_can_hold_is_refused(made, version):
    with pytest.raises(UserError, match="version = .* is not possible"):
        made(f"@dataclass(frozen=True)\nclass Mine(Strategy):\n    version = {version}\n{STEP}")


def test_settings_of_every_kind_that_json_has_are_taken(made):
    body = "of: Any = (None, True, 2, 0.5, 'x', (1, 2))\n    other: ClassVar[set] = {1}\n"
    part = made(f"@dataclass(frozen=True)\nclass Mine(Strategy):\n    {body}{STEP}")
    assert part.settings() == {"of": [None, True, 2, 0.5, "x", [1, 2]]}


def test_settings_that_are_other_ones_after_being_read_back_fail_the_contract(made):
    body = "lr: float = 0.1\n    def __post_init__(self): object.__setattr__(self, 'lr', 2 * self.lr)\n"
    part = made(f"@dataclass(frozen=True)\nclass Mine(Strategy):\n    {body}{STEP}")
    assert "a part made of them has" in verdict(part, is_recorded).why


def test_an_argument_for_avalanche_may_not_hide_a_setting():
    avalanche = Registry().find("strategies", "avalanche")
    with pytest.raises(UserError, match="lr is a setting of its own"):
        avalanche(arguments={"lr": 3})


@pytest.mark.parametrize("value", ["b'x'", "{1,2}", "1j", "...", "[b'x']", "{1: 2}"])
def test_an_argument_for_avalanche_that_does_not_serialise_is_refused(value):
    for kind in ("strategies", "benchmarks"):
        with pytest.raises(UserError, match="the setting mem_size holds"):
            Registry().get(kind, "avalanche", {"class": "Replay", "mem_size": value})
