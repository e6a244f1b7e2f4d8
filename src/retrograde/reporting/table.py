"""Tables: sections, rows and entries."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pandas as pd


class Entry(NamedTuple):
    """What stands in one place of a table."""

    text: str
    bold: bool = False


NOTHING = Entry("–")
"""What stands where there is no number."""


class Section(NamedTuple):
    """Rows that may be compared with one another, under one heading.

    That is a benchmark's label, alone or followed by " — " and more; any other is taken to be about all benchmarks.
    """

    heading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]


class Table(NamedTuple):
    """A table for people (`sections`) and the same numbers for programs (`tidy`, written as CSV)."""

    title: str
    notes: tuple[str, ...]
    sections: tuple[Section, ...]
    tidy: "pd.DataFrame"


def malformed(made: object) -> str:
    """Say what keeps something from being a table that every format can hold; empty if nothing."""
    if not isinstance(made, Table):
        return f"a table is a retrograde.reporting.table.Table, and this is {_kind(made)}"
    if not (isinstance(made.notes, tuple | list) and isinstance(made.sections, tuple | list)):
        return "notes and sections of a table are tuples"
    if misfit := next((text for text in (made.title, *made.notes) if not _is_text(text)), None):
        return f"the title and the notes of a table are text, and one is {_kind(misfit)}"
    from pandas import DataFrame

    if not isinstance(made.tidy, DataFrame):
        return (
            f"the tidy numbers of a table are a pandas DataFrame, and these are {_kind(made.tidy)}"
        )
    return next(filter(None, map(_malformed_section, made.sections)), "")


def _malformed_section(made: object) -> str:
    if not isinstance(made, Section):
        return f"a section of a table is a retrograde.reporting.table.Section, and one is {_kind(made)}"
    if not (made.columns and all(map(_is_text, (made.heading, *made.columns)))):
        return "a section has a heading and at least one column, all of them text"
    if not isinstance(made.rows, tuple | list):
        return f"the rows of a section are a tuple, and in {made.heading!r} they are {_kind(made.rows)}"
    for row in made.rows:
        if not isinstance(row, tuple | list) or len(row) != len(made.columns):
            entries = f"{len(row)} entries" if isinstance(row, tuple | list) else _kind(row)
            return f"in the section {made.heading!r} of {len(made.columns)} columns, a row is {entries}"
        if misfit := next(
            (each for each in row if not (isinstance(each, Entry) and _is_text(each.text))), None
        ):
            return f"in the section {made.heading!r}, an entry is no retrograde.reporting.table.Entry of text: {misfit!r:.60}"
    return ""


def _is_text(value: object) -> bool:
    """True for text that can be written as UTF-8."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def _kind(value: object) -> str:
    return "nothing (None)" if value is None else f"of type {type(value).__name__}"


def outcomes(statuses: Sequence[str]) -> str:
    """How many replicates are done, and how many are not and why."""
    rest = [
        f"{statuses.count(status)} {status}"
        for status in ("diverged", "failed")
        if status in statuses
    ]
    return f"{statuses.count('done')}" + (f" ({', '.join(rest)})" if rest else "")
