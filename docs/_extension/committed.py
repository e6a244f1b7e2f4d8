"""What the committed tables and records hold, as frames."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pandas as pd

import retrograde as rg
from retrograde.parts.spec import parse
from retrograde.running.suite import read_suite, suites

RESULTS = Path(__file__).parents[2] / "results"
TABLES = RESULTS / "tables"


CELL = ["suite", "benchmark", "strategy", "settings"]
"""The columns that name a cell, with the titles of the tables."""


@cache
def read(table: str) -> pd.DataFrame:
    """One table of every recorded suite, with exact names.

    Its further columns are suite; benchmark_spec and strategy_spec, the exact settings; and
    stream and name, the names of the benchmark and of the strategy.
    """
    exact = _joined("replicates")[[*CELL, "benchmark_spec", "strategy_spec"]].drop_duplicates(CELL)
    frame = _joined(table).merge(exact, on=CELL, how="left")
    for column, spec in (("stream", "benchmark_spec"), ("name", "strategy_spec")):
        frame[column] = [parse(text)[0] for text in frame[spec].fillna("")]
    return frame


def _joined(table: str) -> pd.DataFrame:
    paths = sorted(TABLES.glob(f"*/{table}.csv"))
    frames = [pd.read_csv(path).assign(suite=path.parent.name) for path in paths]
    frame = pd.concat(frames, ignore_index=True)
    return frame.assign(settings=frame.settings.fillna(""))


@cache
def records(suite: str) -> rg.Records | None:
    """The committed records of a suite; None if it is not recorded."""
    folder = RESULTS / "recorded" / suite
    return rg.load(folder) if folder.is_dir() else None


@cache
def cells() -> tuple[tuple[str, str, str, str], ...]:
    """Suite, its part, benchmark and strategy of every cell of every suite."""
    return tuple(_cells())


def _cells() -> Iterator[tuple[str, str, str, str]]:
    for name in suites():
        suite = read_suite(name)
        whole = [""] if any(not group.part for group in suite.cells) else []
        for part in (*whole, *suite.parts):
            for pair in suite.pairs(part=part):
                yield name, part, str(pair.benchmark), str(pair.strategy)
