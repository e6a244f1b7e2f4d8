"""LaTeX reads the tables that are meant for it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from retrograde.parts.registry import Registry
from retrograde.reporting.formats import latex
from retrograde.reporting.report import tables

PARTS = Registry()
RECORDED = sorted(
    path for path in (Path(__file__).parents[1] / "results" / "tables").iterdir() if path.is_dir()
)
DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs}
\begin{document}
%s
\end{document}
"""


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """Compile some LaTeX tables; returns what LaTeX found wrong."""
    if not shutil.which("pdflatex") and not os.environ.get("CI"):
        pytest.skip("there is no LaTeX here")

    def faults(*made):
        folder = tmp_path_factory.mktemp("latex")
        (folder / "all.tex").write_text(DOCUMENT % "\\clearpage\n".join(made), encoding="utf-8")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
        said = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", check=False
        )
        return [line for line in said.stdout.splitlines() if line.startswith("!")] or [
            "LaTeX failed."
        ] * said.returncode

    return faults


@pytest.mark.parametrize("suite", RECORDED, ids=lambda suite: suite.name)
def test_the_committed_tables_compile(compiled, suite):
    assert (
        compiled(*(path.read_text(encoding="utf-8") for path in sorted(suite.glob("*.tex")))) == []
    )


def test_names_with_special_characters_compile(compiled, make_record):
    odd = "a|*_`<>&%$#{}~^\\±µ–†é×日ρ"
    made = [make_record(odd, seed, benchmark=odd, overrides={"x": odd}) for seed in range(3)]
    assert compiled(*(latex(table) for _, table in tables(made, PARTS))) == []


@pytest.mark.parametrize(
    "odd",
    ["[3pt]x", "*", "日本", "\\input{/etc/passwd}", "a\n\n\\input{x}", "$x^2$ % \\write18{ls}"],
)
def test_names_that_are_commands_compile_as_text(compiled, make_record, odd):
    made = [make_record(odd, seed, benchmark=odd, overrides={"x": odd}) for seed in range(3)]
    text = [latex(table) for _, table in tables(made, PARTS)]
    assert compiled(*text) == []
    assert not [one for one in text if "\\input" in one or "\\write" in one]


def test_what_is_no_latex_is_found(compiled):
    assert compiled(r"\nonsense")[0] == "! Undefined control sequence."
