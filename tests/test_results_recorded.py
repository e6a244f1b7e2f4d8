"""The shipped results: their tables regenerate byte for byte, and cover their suites."""

import csv
import hashlib
import re
from pathlib import Path

import pytest

from retrograde.parts.registry import Registry
from retrograde.parts.spec import parse
from retrograde.records.presentation import Presentation, read_presentation
from retrograde.records.store import Store
from retrograde.reporting.files import write
from retrograde.reporting.formats import FORMATS
from retrograde.reporting.report import report
from retrograde.reporting.request import Request
from retrograde.running.seeds import seeds_of
from retrograde.running.suite import read_suite, suites

ROOT = Path(__file__).parents[1] / "results"
RECORDED = sorted(path.name for path in (ROOT / "recorded").iterdir() if path.is_dir())
PARTS = Registry()


def digests():
    """The digests of the pages, which are not committed, by name."""
    lines = (ROOT / "tables" / "reports.sha256").read_text(encoding="ascii").splitlines()
    return {name: digest for digest, name in map(str.split, lines)}


@pytest.mark.parametrize("suite", RECORDED)
def test_the_committed_tables_and_figures_are_what_the_committed_records_give(suite, tmp_path):
    asked = Request((*FORMATS, "svg", "html"))
    store = ROOT / "recorded" / suite
    made = report(list(Store(store)), asked, PARTS, read_presentation(store))
    write(tmp_path, asked, made, PARTS)
    page = tmp_path / "report.html"
    assert hashlib.sha256(page.read_bytes()).hexdigest() == digests()[f"{suite}/report.html"]
    page.unlink()
    committed = sorted(
        path for path in (ROOT / "tables" / suite).iterdir() if path.name != "report.html"
    )
    assert [path.name for path in committed] == sorted(path.name for path in tmp_path.iterdir())
    assert [path.name for path in committed if not same(path, tmp_path / path.name)] == []


def same(committed, made):
    """True if two files are equal, in a CSV but for the last digits, which machines differ in."""
    if committed.suffix != ".csv":
        return committed.read_bytes() == made.read_bytes()
    with committed.open(newline="") as one, made.open(newline="") as other:
        rows = list(zip(csv.reader(one), csv.reader(other), strict=True))
    return all(
        a == b or float(a) == pytest.approx(float(b), rel=1e-9, abs=1e-12)
        for row, again in rows
        for a, b in zip(row, again, strict=True)
    )


def test_the_readme_shows_a_committed_leaderboard_and_figures_that_are_there():
    readme = (ROOT.parent / "README.md").read_text(encoding="utf-8")
    board = (
        (ROOT / "tables" / "lamaml" / "leaderboard.md")
        .read_text(encoding="utf-8")
        .rpartition("benchmarks\n\n")[2]
    )
    assert board in readme
    shown = re.findall(r"\]\((results/[^)]*)\)", readme)
    assert shown
    assert [path for path in shown if not (ROOT.parent / path).exists()] == []


def replicates(suite, part):
    """The replicates of a part of a suite as it stands, by the settings that identify them."""
    return {
        (
            benchmark,
            str(PARTS.get("benchmarks", benchmark, chosen).overrides()),
            strategy,
            str(own.overrides()),
            seed,
        )
        for pair in suite.pairs(part=part)
        for (benchmark, chosen), (strategy, given) in [map(parse, pair[:2])]
        for own in [PARTS.get("strategies", strategy, given)]
        for seed in seeds_of(suite.seeds)
    }


@pytest.mark.parametrize("name", RECORDED)
def test_the_committed_records_are_those_of_the_suite_as_it_stands_and_of_whole_parts(name):
    suite, records = read_suite(name), list(Store(ROOT / "recorded" / name))
    found = {
        (
            c.benchmark.name,
            str(c.benchmark.overrides),
            c.strategy.name,
            str(c.strategy.overrides),
            r.seed,
        )
        for r in records
        for c in [r.cell]
    }
    words = read_presentation(ROOT / "recorded" / name)
    assert words == Presentation(suite.title, suite.names)
    asked_for = [replicates(suite, part) for part in suite.parts]
    assert found == replicates(suite, "").union(*(part for part in asked_for if part & found))
    assert all(
        record.status != "failed" or "class" in record.cell.strategy.settings for record in records
    )
    # a divergence is a finding; a failure is one of another library's class alone
    assert all(record.environment["commit"] for record in records)


def test_every_shipped_suite_is_recorded_or_says_that_it_is_not():
    lines = (ROOT.parent / "docs" / "running.md").read_text(encoding="utf-8").splitlines()
    told = {line.split("`")[1] for line in lines if "(not recorded yet)" in line}
    assert not told & set(RECORDED)
    assert set(RECORDED) | told == set(suites())
