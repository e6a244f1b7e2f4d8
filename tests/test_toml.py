"""Suites as files: what is read of TOML, and what is refused before anything else happens."""

import os

import pytest

from retrograde._toml import BYTES
from retrograde.errors import UserError
from retrograde.parts.registry import Registry
from retrograde.records.store import Store
from retrograde.running.plan import REPLICATES, Context, plan
from retrograde.running.suite import CELLS, read_suite

CELL = '[[cells]]\nbenchmarks = ["split"]\nstrategies = ["er"]\n'
SUITE = f'title = "t"\nseeds = 2\n{CELL}'


def read(folder, content):
    path = folder / "s.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_suite(str(path))


def test_a_byte_order_mark_before_a_suite_is_passed_over(tmp_path):
    assert read(tmp_path, SUITE.encode("utf-8-sig")) == read(tmp_path, SUITE)


@pytest.mark.parametrize(
    "value",
    [
        '"3"',
        "true",
        "3.0",
        "0",
        "-1",
        "10001",
        "1" + 400 * "0",
        "0x" + 9999 * "f",
        "[3]",
        "nan",
        "1979-05-27",
    ],
)
def test_seeds_are_a_whole_number_of_toml_within_the_limit(tmp_path, value):
    with pytest.raises(UserError, match=r"seeds=.* is not possible") as refusal:
        read(tmp_path, SUITE.replace("seeds = 2", f"seeds = {value}"))
    assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"t"', "1"),
        ('["split"]', '"split"'),
        ('["split"]', "[]"),
        ('["er"]', "[1]"),
        ('["er"]', '[["er"]]'),
        ('["er"]', '["er"]\npart = false'),
    ],
)
def test_titles_and_lists_of_a_suite_are_of_their_types(tmp_path, old, new):
    with pytest.raises(UserError, match="is not possible"):
        read(tmp_path, SUITE.replace(old, new))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (f"x = {9000 * '['}", "nested too deeply"),
        (f"x = {9000 * '{a='}", "nested too deeply"),
        (f"seeds = {5000 * '1'}", "4300 digits"),
        (f"{2000 * 'a.'}a = 1", "a key has"),
        (f"[{2000 * 'a.'}a]", "a key has"),
        (f"x = {{b = 1, {2000 * 'a . '}a = 1}}", "a key has"),
        (2000 * '"a".' + "a = 1", "a key has"),
        (b"title = '\xff'", "utf-8"),
        (f"x = [{BYTES * '1,'}]", rf"at most {BYTES} bytes; .* has \d+"),
    ],
    ids=[
        "lists",
        "tables",
        "digits",
        "a key",
        "a table",
        "an inline key",
        "quoted keys",
        "not UTF-8",
        "size",
    ],
)
def test_a_suite_that_would_stop_the_reader_is_refused(tmp_path, content, why):
    with pytest.raises(UserError, match=why):
        read(tmp_path, content)


@pytest.mark.parametrize("name", ["a" * 300, "a" * 5000, "nul\0", "/dev/zero"])
def test_a_path_that_is_no_regular_file_is_refused_as_a_suite(name):
    with pytest.raises(
        UserError, match="A path names a file or a folder|There is no suite|Only regular files"
    ):
        read_suite(name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_is_refused_as_a_suite(tmp_path):
    os.mkfifo(tmp_path / "s.toml")
    with pytest.raises(UserError, match="Only regular files and folders are read"):
        read_suite(str(tmp_path / "s.toml"))


def test_a_suite_that_may_not_be_read_is_refused_with_the_reason(tmp_path, monkeypatch):
    def denied(*_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "s.toml").write_text(SUITE)
    monkeypatch.setattr("pathlib.Path.open", denied)
    with pytest.raises(UserError, match=r"s\.toml cannot be read: Permission denied"):
        read_suite(str(tmp_path / "s.toml"))


def test_a_suite_has_no_more_cells_than_a_run_plans(tmp_path):
    many = str([f"b{n}" for n in range(CELLS // 1000 + 1)]), str([f"s{n}" for n in range(1000)])
    suite = read(
        tmp_path, f'title = "t"\n[[cells]]\nbenchmarks = {many[0]}\nstrategies = {many[1]}\n'
    )
    with pytest.raises(
        UserError, match=rf"at most {CELLS} cells; benchmarks times strategies are {CELLS + 1000}"
    ):
        suite.pairs()


def test_a_run_has_no_more_replicates_than_it_can_plan(tmp_path):
    requests = [("split", "er")] * 101
    with pytest.raises(
        UserError, match=rf"at most {REPLICATES} replicates; 101 cells of 10000 seeds are 1010000"
    ):
        plan(requests, 10_000, Registry(), Context(), Store(tmp_path))
