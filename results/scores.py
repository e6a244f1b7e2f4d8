"""The scores of every strategy on every benchmark."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from retrograde import CellSpec, Record, TableResult
from retrograde.metrics import (
    BOLD,
    ERRORS,
    POOLED,
    VERSIONS,
    Key,
    Label,
    Metric,
    by_strategy,
    cell_labels,
    interval_frame,
    metrics,
    score_frame,
)
from retrograde.reporting import (
    NOTHING,
    Entry,
    Published,
    Section,
    Table,
    done_of,
    matcher,
    notes_on_knowledge,
    outcomes_of,
    published_numbers,
    row_title,
    score_cells,
)


@dataclass(frozen=True)
class Scores(TableResult):
    """Mean and 95 % interval of each metric over replicates.

    Bold: the best mean and every strategy not significantly different from it, if any differs.

    Args:
        convention: Definitions of forgetting and transfer: `own`, or those of a version of
            avalanche, gem, lamaml or mammoth.
    """

    order: ClassVar[int] = 1
    regression: ClassVar[bool] = True

    convention: str = "own"

    def table(self, records: Sequence[Record]) -> Table:
        label = cell_labels(records)
        scored = _scored(records, self.convention)
        frame = score_frame(records, label, scored)
        by_benchmark = defaultdict(list)
        for record in records:
            # episodes have a table of their own, adaptation
            if not record.cell.episodic:
                by_benchmark[label[record.cell].benchmark].append(record)
        published_for = matcher(published_numbers())
        frames = dict(iter(frame.groupby("benchmark")))
        sections = []
        for name in sorted(by_benchmark):
            # a benchmark on which everything failed has no frame
            group = frames.get(name, frame[:0])
            sections.append(_section(group, by_benchmark[name], label, scored, published_for))
        notes = (
            _compared(scored),
            _meaning(self.convention, scored),
            *notes_on_knowledge(records, label),
            *_chosen(records, label),
        )
        return Table("Scores", notes, tuple(sections), interval_frame(frame, "metric"))


def _scored(records: Sequence[Record], convention: str) -> tuple[Metric, ...]:
    """The metrics that the records may have."""
    errors = [bool(record.squared_errors) for record in records]
    scored: tuple[Metric, ...] = ()
    # an empty store has the metrics of accuracy
    if not errors or not all(errors):
        scored += metrics(convention) + (POOLED if _pooled(records) else ())
    return scored + (ERRORS if any(errors) else ())


def _compared(scored: Iterable[Metric]) -> str:
    kinds = {metric.percent for metric in scored}
    unit = "Percent, or mean squared error" if len(kinds) > 1 else "Percent"
    if kinds == {False}:
        unit = "Mean squared error"
    return (
        f"{unit}: the mean over n replicates, or over as many as it states, ± half of the "
        f"95 % t-interval. {BOLD} Replicates with the same seed share class order, data order and "
        "initial weights. Published numbers stand under the rows with the same stream and rule, "
        "with ± as the source gives it; unverified ones were never read in the source or a copy "
        "of it."
    )


def _chosen(records: Sequence[Record], label: dict[CellSpec, Label]) -> list[str]:
    """How settings were chosen, where records say it."""
    cells: dict[str, dict[str, None]] = defaultdict(dict)
    for record in records:
        if chosen := record.how.get("chosen"):
            cells[chosen][row_title((record.upper_bound, *label[record.cell][1:]))] = None
    return [f"Settings {chosen}: {'; '.join(rows)}." for chosen, rows in cells.items()]


def _pooled(records: Iterable[Record]) -> bool:
    """True if a record has what pooled scores are for; others would only repeat their ACC."""
    return any(record.experiences or record.classes or record.prequential for record in records)


def _meaning(convention: str, scored: Sequence[Metric]) -> str:
    sentences = [
        f"{metric.name} (v{metric.version}): {metric.what} ({metric.source})." for metric in scored
    ]
    if convention != "own":
        whose = VERSIONS[convention]
        sentences.insert(0, f"Forgetting and transfer as in {whose}, where that is not as we do.")
    return " ".join(sentences)


def _section(
    frame: pd.DataFrame,
    records: Sequence[Record],
    label: dict[CellSpec, Label],
    scored: Sequence[Metric],
    published_for: Callable[[CellSpec], list[Published]],
) -> Section:
    cells = {(record.upper_bound, *label[record.cell][1:]): record.cell for record in records}
    columns = _columns(frame, scored, done_of(records, label))
    rows: list[tuple[Entry, ...]] = []
    for strategy, n in outcomes_of(records, label).items():
        numbers = [column.get(strategy, NOTHING) for column in columns.values()]
        rows.append((Entry(row_title(strategy)), *numbers, Entry(n)))
        cell = cells[strategy]
        # numbers of another protocol are not comparable
        rows += [
            _published(entry, columns)
            for entry in published_for(cell)
            if not entry.departures(cell)
        ]
    benchmark = label[records[0].cell].benchmark
    return Section(benchmark, ("strategy", *columns, "n"), tuple(rows))


def _columns(
    frame: pd.DataFrame, scored: Sequence[Metric], done: dict[Key, int]
) -> dict[str, dict[Key, Entry]]:
    """The entries of each metric that has a number, by strategy."""
    of_metric = dict(iter(frame.groupby("metric")))
    columns = {}
    for metric in scored:
        if metric.name in of_metric:
            values = by_strategy(of_metric[metric.name])
            columns[metric.name] = score_cells(
                values, metric.higher_is_better, done, metric.percent
            )
    return columns


def _published(entry: Published, metrics: Iterable[str]) -> tuple[Entry, ...]:
    """A row of published numbers."""
    numbers = [entry.text(metric) for metric in metrics]
    return tuple(map(Entry, (entry.title, *numbers, "")))
