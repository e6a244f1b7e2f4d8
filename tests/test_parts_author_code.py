"""An author's line: the one frame of a traceback that a person wants to see, and an error on one line whatever was raised."""

from pathlib import Path
from textwrap import dedent

import pytest
import torch

from retrograde.parts.author_code import begins, described, guarded, located, place, stops, whole
from retrograde.parts.plugins import load_file

SOURCE = """
import json
import torch
from retrograde.errors import UserError
from retrograde.losses import mean

def bug():
    return {}["x"]

def bad_json():
    json.loads("{")

def bad_shape():
    torch.zeros(2) + torch.zeros(3)

def in_the_engine():
    mean(torch.zeros(2), torch.zeros(3))

def for_people():
    raise UserError("Give a number.")
"""
LINES = {"bug": 8, "bad_json": 11, "bad_shape": 14, "in_the_engine": 17}


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(dedent(SOURCE))
    return load_file(path)


def raised(call):
    try:
        call()
    except BaseException as error:
        return error


@pytest.mark.parametrize("name", LINES)
def test_the_line_is_the_authors_innermost_not_that_of_a_library_or_of_the_engine(mine, name):
    assert f"mine.py:{LINES[name]}" in place(raised(getattr(mine, name)))


def test_an_error_without_an_authors_frame_has_no_line():
    assert place(raised(lambda: Path("/nowhere").read_text()).__class__("x")) == ""


@pytest.mark.parametrize(
    "module", ["retrograde.interface.net", "retrograde.strategies.er", "retrograde_plugin_er"]
)
def test_a_shipped_part_counts_as_an_authors_file_and_the_engine_does_not(module):
    error = raised(
        lambda: exec(compile("\n\n1 / 0", "/far/away/er.py", "exec"), {"__name__": module})
    )
    error.__traceback__ = error.__traceback__.tb_next.tb_next  # without the frames of this file
    assert place(error) == ("" if module == "retrograde.interface.net" else "er.py:3")


class Mute(Exception):
    def __str__(self):
        raise ValueError("no words")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Mute(), "Mute (whose text cannot be had: str() raises ValueError)"),
        (KeyError("x"), "KeyError: 'x'"),
        (ValueError("one\n  two\x1b[31m"), "ValueError: one two [31m"),
        (ValueError(), "ValueError"),
        (GeneratorExit("bye"), "GeneratorExit: bye"),
    ],
)
def test_whatever_was_raised_is_said_on_one_line(error, text):
    assert described(error) == text


def test_a_text_without_end_is_cut():
    assert len(described(ValueError("x" * 10**6))) < 500


@pytest.mark.parametrize(
    "error",
    [SystemExit(3), GeneratorExit(), Mute(), StopIteration(), RecursionError(), MemoryError()],
)
def test_whatever_an_authors_code_raises_becomes_one_error_for_people(error):
    def fails():
        with guarded("mine cannot be used"):
            raise error

    assert str(raised(fails)).startswith("mine cannot be used: test_parts_author_code.py:")


def test_ctrl_c_goes_through():
    assert stops(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt), guarded("mine"):
        raise KeyboardInterrupt


def test_an_error_for_people_that_an_author_raised_keeps_its_words_and_gets_its_line(mine):
    def fails():
        with guarded("mine cannot be used"):
            mine.for_people()

    assert str(raised(fails)) == "mine.py:20: Give a number."


def test_an_error_without_an_authors_frame_names_the_line_of_the_class(mine):
    error = raised(lambda: torch.zeros(2, 3) @ torch.zeros(2))
    error.__traceback__ = None
    assert located(error) == described(error)
    assert located(error, Mute()) == f"{begins(Mute)}: {described(error)}"


def test_an_error_of_a_method_that_takes_other_arguments_names_the_line_of_the_method(tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text("class Wrong:\n    lr = 0.1\n\n    def predict(self, x):\n        return x\n")
    part = load_file(path).Wrong()
    error = raised(lambda: part.predict(1, 2))
    error.__traceback__ = None
    assert located(error, part).startswith("wrong.py:4: TypeError")


def test_the_whole_traceback_has_its_causes(mine):
    def fails():
        with guarded("mine cannot be used"):
            mine.bug()

    found = whole(raised(fails))
    assert "KeyError: 'x'" in found
    assert "UserError: mine cannot be used" in found
