"""Tables: sections, rows and entries."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pandas as pd


class Entry(NamedTuple):
    """The text of one place in a table."""

    text: str
    bold: bool = False


NOTHING = Entry("–")
"""The entry for no number."""


class Section(NamedTuple):
    """Rows that may be compared with one another, under one heading.

    The heading is a benchmark's label, alone or followed by " — " and more. A section with any
    other heading is taken to be about all benchmarks.
    """

    heading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]


class Table(NamedTuple):
    """A table for people (`sections`), and its numbers for programs (`tidy`, written as CSV)."""

    title: str
    notes: tuple[str, ...]
    sections: tuple[Section, ...]
    tidy: "pd.DataFrame"


def malformed(made: object) -> str:
    """The reason why a value is not a table that every format can hold; empty if it is one."""
    if not isinstance(made, Table):
        return f"a table is a retrograde.reporting.Table, and this is {_kind(made)}"
    if not (isinstance(made.notes, tuple | list) and isinstance(made.sections, tuple | list)):
        return "notes and sections of a table are tuples"
    texts = (made.title, *made.notes)
    misfits = [text for text in texts if not _is_text(text)]
    if misfits:
        return f"the title and the notes of a table are text, and one is {_kind(misfits[0])}"
    from pandas import DataFrame

    if not isinstance(made.tidy, DataFrame):
        return (
            f"the tidy numbers of a table are a pandas DataFrame, and these are {_kind(made.tidy)}"
        )
    reasons = map(_malformed_section, made.sections)
    return next(filter(None, reasons), "")


def _malformed_section(made: object) -> str:
    if not isinstance(made, Section):
        kind = _kind(made)
        return f"a section of a table is a retrograde.reporting.Section, and one is {kind}"
    if not (made.columns and all(map(_is_text, (made.heading, *made.columns)))):
        return "a section has a heading and at least one column, all of them text"
    if not isinstance(made.rows, tuple | list):
        kind = _kind(made.rows)
        return f"the rows of a section are a tuple, and in {made.heading!r} they are {kind}"
    reasons = (_malformed_row(row, made) for row in made.rows)
    return next(filter(None, reasons), "")


def _malformed_row(row: object, section: Section) -> str:
    columns = len(section.columns)
    if not isinstance(row, tuple | list) or len(row) != columns:
        entries = f"{len(row)} entries" if isinstance(row, tuple | list) else _kind(row)
        return f"in the section {section.heading!r} of {columns} columns, a row is {entries}"
    misfits = [each for each in row if not _is_entry(each)]
    if misfits:
        return (
            f"in the section {section.heading!r}, an entry is no "
            f"retrograde.reporting.Entry of text: {misfits[0]!r:.60}"
        )
    return ""


def _is_entry(value: object) -> bool:
    return isinstance(value, Entry) and _is_text(value.text)


def _is_text(value: object) -> bool:
    """True for text that can be written as UTF-8."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def _kind(value: object) -> str:
    return "nothing (None)" if value is None else f"of type {type(value).__name__}"


def outcomes(statuses: Sequence[str]) -> str:
    """The number of replicates that are done, and of those that diverged or failed."""
    others = [status for status in ("diverged", "failed") if status in statuses]
    counts = [f"{statuses.count(status)} {status}" for status in others]
    done = f"{statuses.count('done')}"
    return f"{done} ({', '.join(counts)})" if counts else done
