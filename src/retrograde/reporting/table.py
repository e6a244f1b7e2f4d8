"""Tables: sections, rows and entries."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from retrograde.metrics.intervals import BySeed

if TYPE_CHECKING:
    import pandas as pd


class Entry(NamedTuple):
    """The text of one place in a table.

    `replicates` are the numbers that the text is the mean of, by seed and in its unit; the page
    shows them on hover.
    """

    text: str
    bold: bool = False
    replicates: BySeed | None = None


NOTHING = Entry("–")
"""The entry for no number."""


class Section(NamedTuple):
    """Rows that may be compared with one another, under one heading.

    The heading is a benchmark's label, alone or followed by " — " and more. A section with any
    other heading is taken to be about all benchmarks. `groups` are headings over columns, each with
    the number of its columns; they are over all columns but the first, if there are any.
    """

    heading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    groups: tuple[tuple[str, int], ...] = ()

    @property
    def paths(self) -> list[tuple[str, str]]:
        """The heading of the group of each column, empty if it has none, and its own."""
        groups = [name for name, span in self.groups for _ in range(span)]
        over = ["", *groups] if groups else [""] * len(self.columns)
        return list(zip(over, self.columns, strict=True))

    @property
    def whole_columns(self) -> tuple[str, ...]:
        """The headings of the columns, with those of their groups before them."""
        return tuple(f"{group}: {name}" if group else name for group, name in self.paths)


class Table(NamedTuple):
    """A table for people (`sections`), and its numbers for programs (`tidy`, written as CSV).

    `caption` has settings that all rows share.
    """

    title: str
    notes: tuple[str, ...]
    sections: tuple[Section, ...]
    tidy: "pd.DataFrame"
    caption: str = ""

    def __repr__(self) -> str:
        """The size of the table, which itself is long."""
        rows = sum(len(section.rows) for section in self.sections)
        return f"<table {self.title!r} of {rows} rows in {len(self.sections)} sections>"

    def frame(self) -> "pd.DataFrame":
        """The table as people read it: texts, by heading and row; numbers are in `tidy`.

        A table with one section has no level for the heading.
        """
        from pandas import concat

        frames = {section.heading: _frame(section) for section in self.sections}
        if len(frames) == 1:
            return next(iter(frames.values()))
        return concat(frames) if frames else self.tidy.iloc[:0]


def _frame(section: Section) -> "pd.DataFrame":
    """A section as a data frame; groups of columns are a level of their own."""
    from pandas import DataFrame, Index, MultiIndex

    columns = Index(section.columns[1:])
    if section.groups:
        columns = MultiIndex.from_tuples(section.paths[1:])
    texts = [[entry.text for entry in row] for row in section.rows]
    index = Index([row[0] for row in texts], name=section.columns[0])
    return DataFrame([row[1:] for row in texts], index, columns)


def malformed(made: object) -> str:
    """The reason why a value is not a table that every format can hold; empty if it is one."""
    if not isinstance(made, Table):
        return f"a table is a retrograde.reporting.Table, and this is {_kind(made)}"
    if not (isinstance(made.notes, tuple | list) and isinstance(made.sections, tuple | list)):
        return "notes and sections of a table are tuples"
    texts = (made.title, made.caption, *made.notes)
    misfits = [text for text in texts if not _is_text(text)]
    if misfits:
        kind = _kind(misfits[0])
        return f"the title, the caption and the notes of a table are text, and one is {kind}"
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
    if made.groups and 1 + sum(span for _, span in made.groups) != len(made.columns):
        return f"groups of columns are over all but the first; in {made.heading!r} they are not"
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
