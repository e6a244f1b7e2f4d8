"""The interface of a result: records in, one table or one figure out."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from retrograde.parts.part import Part
from retrograde.records.record import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

from retrograde.reporting.table import Table


class Result(Part):
    """One table from the records of a store. Nothing is trained and nothing is read but the records."""

    kind: ClassVar[str] = "results"
    order: ClassVar[int] = (
        2  # among the tables of a report: 0 for one about everything, which comes first; 1 for the scores
    )

    @abstractmethod
    def table(self, records: Sequence[Record]) -> Table:
        """The table; an empty list of records gives one without rows."""


class Drawing(Part):
    """One figure from the records of a store, under the same rules; `retrograde.reporting.plotting` has its style."""

    kind: ClassVar[str] = "results"

    @abstractmethod
    def figure(self, records: Sequence[Record]) -> "Figure | None":
        """The figure; none where no record has what it shows."""
