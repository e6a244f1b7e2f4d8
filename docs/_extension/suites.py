"""The pages of suites: the committed results, and the commands that make them again."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import retrograde as rg
from retrograde.running.seeds import seeds_of
from retrograde.running.suite import read_suite, suites

from . import committed
from .markdown import code, contents, escaped, page, section, table

FIRST = ("scores", "leaderboard", "published", "significance", "account")
"""The tables that come first on a page."""
VERDICTS = ("reproduced", "differs", "cannot tell", "not comparable")
VERSIONS = ("python", "torch", "numpy", "retrograde")
NONE = "not recorded yet"


def pages() -> dict[str, str]:
    """The text of every page by its name."""
    texts = {f"suites/{name}.md": _page(name) for name in suites()}
    return {"suites/index.md": _index(), "suites/speed.md": _speed(), **texts}


def _index() -> str:
    rows = [_row(name) for name in suites()]
    headings = ["suite", "title", "cells:", "seeds:", "replicates:", "hours:", "machine", "torch"]
    return page(
        "reproducibility",
        "Reproducibility",
        "Every number of this site comes from committed records: one JSON file for each replicate, "
        "in `results/recorded/`. `tox run -e tables` makes all tables from them again, byte for "
        "byte. `retrograde run NAME` trains a suite anew.",
        "*Hours*: the clocks of all committed replicates, on the machine that made them. The page "
        "of a suite has its command, cells, machines, versions, tables and figures.",
        table(headings, rows),
        section("Published numbers", _reproduced()),
        contents([*suites(), "speed"]),
    )


def _reproduced() -> str:
    """Counts of informative published numbers by verdict, for each suite that has some."""
    frame = committed.read("published")
    frame = frame[frame.informative.str.startswith("yes")]
    rows = []
    for suite, group in frame.groupby("suite", sort=True):
        counts = [int((group.verdict == verdict).sum()) for verdict in VERDICTS]
        papers = "; ".join(sorted(set(group.paper)))
        rows.append((f"[{suite}](#suite-{suite}-published)", escaped(papers), len(group), *counts))
    rows.append(("all", "", len(frame), *((frame.verdict == each).sum() for each in VERDICTS)))
    note = (
        "Numbers of the literature that say something about a method: neither fine-tuning nor "
        "joint training would reach them as well. [The rule of the verdicts]"
        "(../../baselines.md#published-numbers)."
    )
    headings = ["suite", "source", "numbers:", *(f"{each}:" for each in VERDICTS)]
    return note + "\n\n" + table(headings, rows)


def _row(name: str) -> tuple[object, ...]:
    suite = read_suite(name)
    records = committed.records(name)
    size = (len(suite.pairs()), len(seeds_of(suite.seeds)))
    facts: tuple[object, ...] = (NONE, "", "", "")
    if records is not None:
        facts = (
            len(records),
            f"{_hours(records):.1f}",
            escaped(_each(records, "cpu")),
            escaped(_each(records, "torch")),
        )
    return (f"[{name}](#suite-{name})", escaped(suite.title), *size, *facts)


def _page(name: str) -> str:
    suite = read_suite(name)
    records = committed.records(name)
    rest = _committed(name, records) if records is not None else (f"This suite is {NONE}.",)
    # The headings of every table would fill the list of a page's sections.
    return "---\ntocdepth: 2\n---\n\n" + page(
        f"suite-{name}",
        name,
        f"{escaped(suite.title)}.",
        section("Reproduce", _commands(name, suite)),
        *rest[:1],
        section("Cells", _cells(name)),
        *rest[1:],
    )


def _commands(name: str, suite: rg.Suite) -> str:
    parts = [f"retrograde run {name} --part {part}" for part in suite.parts]
    lines = [f"retrograde run {name}", *parts, f"retrograde report runs/{name}"]
    recorded = f"retrograde report results/recorded/{name}  # the committed records, no training"
    return "```\n" + "\n".join([*lines, recorded]) + "\n```"


def _cells(name: str) -> str:
    grouped: dict[tuple[str, str], list[str]] = {}
    for suite, part, benchmark, strategy in committed.cells():
        if suite == name:
            grouped.setdefault((part, benchmark), []).append(strategy)
    rows = [
        (code(part), ", ".join(map(code, strategies)), code(benchmark))
        for (part, benchmark), strategies in grouped.items()
    ]
    return table(["part", "strategies", "benchmark"], rows)


def _committed(name: str, records: rg.Records) -> tuple[str, ...]:
    """The sections that follow from committed records: facts first, then figures and tables."""
    statuses = Counter(record.status for record in records)
    facts = [
        ("replicates", ", ".join(f"{count} {status}" for status, count in statuses.items())),
        ("seeds", ", ".join(map(str, sorted({record.seed for record in records})))),
        ("hours", f"{_hours(records):.2f}, of the clocks of all replicates"),
        ("processor", escaped(_each(records, "cpu"))),
        ("cores", escaped(_each(records, "cores"))),
        ("system", escaped(_each(records, "system"))),
        ("threads of a process", escaped(_each(records, "threads"))),
        ("processes at a time", escaped(_each(records, "jobs"))),
        *((each, escaped(_each(records, each))) for each in VERSIONS),
        ("commits", escaped(_each(records, "commit"))),
    ]
    folder = committed.TABLES / name
    figures = sorted(path.name for path in folder.glob("*.svg"))
    names = sorted((path.stem for path in folder.glob("*.md")), key=_place)
    return (
        section("Records", table(["fact", "value"], facts)),
        section("Figures", *(_figure(name, file) for file in figures)),
        *(_table(name, each) for each in names),
    )


def _hours(records: Sequence[rg.Record]) -> float:
    """Hours of all replicates; replicates that train together share their clocks."""
    seconds = [sum(each.clocks.values()) / each.how.get("replicates", 1) for each in records]
    return sum(seconds) / 3600


def _each(records: Sequence[rg.Record], key: str) -> str:
    """The distinct values of a fact of the environment."""
    values = {str(record.environment.get(key, "")) for record in records}
    return "; ".join(sorted(values - {""}))


def _place(table: str) -> tuple[int, str]:
    return (FIRST.index(table) if table in FIRST else len(FIRST), table)


def _figure(suite: str, file: str) -> str:
    words = file.removesuffix(".svg").replace("_", " ")
    return f"![{suite}: {words}](../../../results/tables/{suite}/{file})"


def _table(suite: str, name: str) -> str:
    text = (committed.TABLES / suite / f"{name}.md").read_text(encoding="utf-8")
    return f"(suite-{suite}-{name})=\n\n" + _below(text.splitlines())


def _below(lines: Iterable[str]) -> str:
    """Markdown whose headings are one level lower."""
    return "\n".join(re.sub(r"^(#+ )", r"#\1", line) for line in lines) + "\n"


def _speed() -> str:
    text = (committed.TABLES / "speed.md").read_text(encoding="utf-8")
    return "(table-speed)=\n\n" + text
