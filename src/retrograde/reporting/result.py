"""The interface of a result: records in, one table or one figure out."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from retrograde.metrics.frames import cached_per_report
from retrograde.parts.part import Part
from retrograde.records.record import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

from retrograde.reporting.table import Table


class TableResult(Part):
    """One table from the records of a store.

    Nothing is trained, and nothing but the records is read.
    """

    kind: ClassVar[str] = "results"
    # True: it can show regression, whose records have no accuracy; else it gets none of them
    regression: ClassVar[bool] = False
    # the place among the tables of a report: first 0, for tables about everything; 1 for the
    # scores; below 2 for others that the command line prints
    order: ClassVar[float] = 2

    @abstractmethod
    def table(self, records: Sequence[Record]) -> Table:
        """The table; one without rows for an empty list of records."""


class FigureResult(Part):
    """One figure from the records of a store, under the same rules as a `TableResult`.

    `retrograde.reporting.plotting` has its style.
    """

    kind: ClassVar[str] = "results"
    regression: ClassVar[bool] = False
    # the place among the figures of a report
    order: ClassVar[float] = 2

    @abstractmethod
    def figure(self, records: Sequence[Record]) -> "Figure | None":
        """The figure; None where no record has the data that it shows."""


@cached_per_report
def shown_by(
    records: Sequence[Record], result: type[TableResult] | type[FigureResult]
) -> Sequence[Record]:
    """The records that a result is given; `records` itself if these are all."""
    shown = tuple(record for record in records if result.regression or not record.squared_errors)
    return records if len(shown) == len(records) else shown
