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


def outcomes(statuses: Sequence[str]) -> str:
    """How many replicates are done, and how many are not and why."""
    rest = [f"{statuses.count(status)} {status}" for status in ("diverged", "failed") if status in statuses]
    return f"{statuses.count('done')}" + (f" ({', '.join(rest)})" if rest else "")
