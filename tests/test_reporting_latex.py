"""LaTeX reads the tables that are meant for it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import retrograde as rg
from retrograde.cli import app
from retrograde.parts.registry import Registry
from retrograde.records.presentation import Presentation, write_presentation
from retrograde.records.store import Store
from retrograde.reporting.formats import latex
from retrograde.reporting.report import tables
from retrograde.reporting.request import Request
from retrograde.reporting.table import Entry, Section, Table

PARTS = Registry()
RECORDED = sorted(
    path for path in (Path(__file__).parents[1] / "results" / "tables").iterdir() if path.is_dir()
)
DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs}
\usepackage{graphicx}
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
        wrong = ("!", "Overfull \\hbox")
        return [line for line in said.stdout.splitlines() if line.startswith(wrong)] or [
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


@pytest.fixture
def paper(make_record, tmp_path):
    """A store of three strategies on two benchmarks with five seeds, and names of the user's."""
    streams = {"split": {"dataset": "mnist", "scenario": "class"}, "permuted": {"dataset": "mnist"}}
    store = Store(tmp_path / "runs")
    for benchmark, settings in streams.items():
        for number, strategy in enumerate(("er", "mine", "finetune")):
            for seed in range(5):
                rows = ((10, 10), (90, 20), (80 - 7 * number + seed % 3, 90))
                store.write(
                    make_record(strategy, seed, rows, benchmark=benchmark, settings=settings)
                )
    names = {"split": "S-MNIST", "permuted": "P-MNIST", "mine": "Mine (ours)"}
    write_presentation(store.folder, Presentation("My paper", names), {})
    return store.folder


PAPER = (
    "--only scores --across benchmarks --metrics ACC,forgetting --strategies mine,er,finetune "
    "--decimals 1 --label tab:main --format tex"
)


def test_the_table_of_a_paper_is_one_command_and_fits_the_page(compiled, paper):
    assert CliRunner().invoke(app, ["report", str(paper), *PAPER.split()]).exit_code == 0
    text = (paper / "tables" / "scores.tex").read_text(encoding="utf-8")
    assert r"\multicolumn{2}{c}{P-MNIST} & \multicolumn{2}{c}{S-MNIST}" in text
    assert re.findall(r"^(\S.*?) & .*\d", text, re.MULTILINE) == [
        "Mine (ours)",
        "ER",
        "Fine-tuning",
    ]
    assert text.count(r"\label{tab:main}") == 1
    assert compiled(text) == []


def test_the_table_of_a_paper_is_a_frame_in_two_lines(paper):
    made = rg.report(paper, across="benchmarks", metrics="ACC,forgetting", strategies="mine,er")
    frame = made.tables["scores"].frame()
    assert list(frame.index) == ["Mine (ours)", "ER"]
    assert frame.columns.tolist()[:2] == [("P-MNIST", "ACC"), ("P-MNIST", "forgetting")]
    assert frame.loc["ER", ("S-MNIST", "ACC")] == "85.40 ± 0.52"


def test_a_table_wider_than_the_text_is_made_smaller(compiled, make_record):
    names = [f"a benchmark with the long name number {number}" for number in range(6)]
    made = [make_record("er", seed, benchmark=name) for name in names for seed in range(2)]
    asked = Request(across="benchmarks")
    text = [latex(table) for _, table in tables(made, PARTS, asked)]
    assert compiled(*text) == []


def test_minus_signs_of_numbers_are_true_ones_and_hyphens_stay():
    columns = Section("h", ("La-MAML", "seeds 1-5"), ((Entry("-1.5 ± 0.1"), Entry("1e-05")),))
    text = latex(Table("T", (), (columns,), pd.DataFrame()))
    assert "La-MAML & seeds 1-5" in text
    assert r"$-$1.5 $\pm$ 0.1 & 1e-05" in text


def test_every_table_of_a_file_has_a_label_of_its_own():
    section = Section("h", ("a",), ((Entry("b"),),))
    text = latex(Table("T", (), (section, section), pd.DataFrame()), "tab:x")
    assert re.findall(r"\\label\{(.*)\}", text) == ["tab:x", "tab:x-2"]


def test_what_is_no_latex_is_found(compiled):
    assert compiled(r"\nonsense")[0] == "! Undefined control sequence."
