"""The README and the pages in `docs/`: their code runs, their commands exist, and their links lead somewhere.

The notebooks in `docs/tutorials/` run when the site is built, which also checks links to labels.
"""

import doctest
import re
import shlex
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
import typer

import retrograde as rg
from retrograde.cli import app

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "docs" / "tutorials").glob("*.md"),
    ]
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language):
    """Every block of code of a language, as parameters."""
    return [
        pytest.param(text, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, (named, text) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
        if named == language
    ]


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs", "exec"), {"__name__": "__docs__"})


def commands():
    """Every line of a block of shell that begins with `retrograde`, as parameters."""
    whole = [block.values[0].replace("\\\n", " ") for block in blocks("")]
    lines = [line for block in whole for line in block.splitlines()]
    return sorted(
        {line.partition("  #")[0].strip() for line in lines if line.startswith("retrograde ")}
    )


@pytest.mark.parametrize("line", commands())
def test_commands_are_parsed(line):
    name, *words = shlex.split(line)[1:]
    command = typer.main.get_command(app).commands[name]
    command.make_context(name, words)


def test_an_option_that_does_not_exist_would_be_seen():
    command = typer.main.get_command(app).commands["run"]
    with pytest.raises(Exception, match="No such option"):
        command.make_context("run", ["quick", "--sedes", "5"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    links = re.findall(r"\]\(([^)]*)\)", text)
    links = [link for link in links if not link.startswith(("https://", "#"))]
    files = [link.partition("#") for link in links]
    assert [file for file, _, _ in files if file and not (page.parent / file).exists()] == []
    for file, _, anchor in files:
        if anchor:
            headings = re.findall(
                r"^#+ (.*)$", (page.parent / file).read_text(encoding="utf-8"), re.MULTILINE
            )
            assert anchor in {
                re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings
            }


def test_the_readme_is_short_and_shows_a_strategy_as_it_is():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 150
    body = (
        (ROOT / "strategies" / "er.py")
        .read_text(encoding="utf-8")
        .partition('"""Experience replay."""\n\n')[2]
    )
    assert body in readme


def test_few_shot_shows_maml_as_it_is():
    body = (
        (ROOT / "strategies" / "maml.py")
        .read_text(encoding="utf-8")
        .partition("    steps: Steps")[2]
    )
    assert body.strip() in (ROOT / "docs" / "few-shot.md").read_text(encoding="utf-8")


def test_paths_in_the_pages_are_there():
    for page in PAGES:
        named = re.findall(
            r"`((?:src|strategies|results|tests)/[\w/.]+)`", page.read_text(encoding="utf-8")
        )
        assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_example_next_to_that_of_avalanche_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "moving-from-avalanche.md").read_text(encoding="utf-8")
    theirs, ours = re.findall(r"^```{code-block} python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    compile(theirs, "docs", "exec")
    exec(ours.replace("mnist", "digits").replace('data="data",', ""), {})


def test_a_citation_names_this_version():
    page = (ROOT / "docs" / "citing.md").read_text(encoding="utf-8")
    assert f"version = {{{version('retrograde')}}}" in page


EXAMPLES = {
    name: found
    for name in rg.__all__
    for found in doctest.DocTestFinder(recurse=False).find(
        getattr(rg, name), name, globs={"rg": rg, "np": np, "torch": torch}
    )
    if found.examples
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_in_docstrings_give_what_they_say(name):
    report = []
    doctest.DocTestRunner().run(EXAMPLES[name], out=report.append)
    assert report == []


def test_calls_of_the_api_that_are_short_have_examples():
    assert {"scores", "benchmark", "strategy", "suite", "Dataset"} <= EXAMPLES.keys()
