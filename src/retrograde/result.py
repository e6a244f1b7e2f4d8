"""The interface of a result: records in, one table or one figure out."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from retrograde.record import Record
from retrograde.settings import Part

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


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


class Result(Part):
    """One table from the records of a store. Nothing is trained and nothing is read but the records."""

    kind: ClassVar[str] = "results"
    order: ClassVar[int] = 2  # among the tables of a report: 0 for one about everything, which comes first; 1 for the scores

    @abstractmethod
    def table(self, records: Sequence[Record]) -> Table:
        """The table; an empty list of records gives one without rows."""


class Drawing(Part):
    """One figure from the records of a store, under the same rules; `retrograde.figure` has its style."""

    kind: ClassVar[str] = "results"

    @abstractmethod
    def figure(self, records: Sequence[Record]) -> "Figure | None":
        """The figure; none where no record has what it shows."""


def malformed(made: object) -> str:
    """Say what keeps something from being a table that every format can hold; empty if nothing."""
    if not isinstance(made, Table):
        return f"a table is a retrograde.result.Table, and this is {_kind(made)}"
    if not (isinstance(made.notes, tuple | list) and isinstance(made.sections, tuple | list)):
        return "notes and sections of a table are tuples"
    if misfit := next((text for text in (made.title, *made.notes) if not _is_text(text)), None):
        return f"the title and the notes of a table are text, and one is {_kind(misfit)}"
    from pandas import DataFrame

    if not isinstance(made.tidy, DataFrame):
        return f"the tidy numbers of a table are a pandas DataFrame, and these are {_kind(made.tidy)}"
    return next(filter(None, map(_malformed_section, made.sections)), "")


def _malformed_section(made: object) -> str:
    if not isinstance(made, Section):
        return f"a section of a table is a retrograde.result.Section, and one is {_kind(made)}"
    if not (made.columns and all(map(_is_text, (made.heading, *made.columns)))):
        return "a section has a heading and at least one column, all of them text"
    if not isinstance(made.rows, tuple | list):
        return f"the rows of a section are a tuple, and in {made.heading!r} they are {_kind(made.rows)}"
    for row in made.rows:
        if not isinstance(row, tuple | list) or len(row) != len(made.columns):
            entries = f"{len(row)} entries" if isinstance(row, tuple | list) else _kind(row)
            return f"in the section {made.heading!r} of {len(made.columns)} columns, a row is {entries}"
        if misfit := next((each for each in row if not (isinstance(each, Entry) and _is_text(each.text))), None):
            return f"in the section {made.heading!r}, an entry is no retrograde.result.Entry of text: {misfit!r:.60}"
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
    rest = [f"{statuses.count(status)} {status}" for status in ("diverged", "failed") if status in statuses]
    return f"{statuses.count('done')}" + (f" ({', '.join(rest)})" if rest else "")
