"""The scores of every strategy on every benchmark."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from retrograde import Cell, Record, Result
from retrograde.metrics import (
    BOLD,
    VERSIONS,
    Label,
    Metric,
    by_strategy,
    interval_frame,
    labels,
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
    entries,
    finder,
    notes_on_knowledge,
    outcomes_of,
    published_numbers,
    row_title,
)


@dataclass(frozen=True)
class Scores(Result):
    """Mean and 95 % interval of each metric over replicates; bold: the best and what is not told from it, where some is."""

    order: ClassVar[int] = 1

    convention: str = "own"  # whose forgetting and transfer: ours, or those of a version of avalanche, gem, lamaml or mammoth

    def table(self, records: Sequence[Record]) -> Table:
        label, scored = labels(records), metrics(self.convention)
        frame = score_frame(records, label, scored)
        by_benchmark = defaultdict(list)
        for record in records:
            if not record.cell.episodic:
                by_benchmark[label[record.cell].benchmark].append(record)
        beside, frames = finder(published_numbers()), dict(iter(frame.groupby("benchmark")))
        sections = tuple(
            _section(frames.get(name, frame[:0]), by_benchmark[name], label, scored, beside)
            for name in sorted(by_benchmark)
        )
        notes = _compared(), _meaning(self.convention), *notes_on_knowledge(records, label)
        return Table("Scores", notes, sections, interval_frame(frame, "metric"))


def _compared() -> str:
    return (
        "Percent: the mean over n replicates, or as many as stand beside it, ± half of the 95 % "
        f"t-interval. {BOLD} Replicates with the same seed share class order, data order and "
        "initial weights. Published numbers stand under the rows with the same stream and rule, "
        "with ± as the source gives it; unverified ones were never read in the source or a copy "
        "of it."
    )


def _meaning(convention: str) -> str:
    whose = (
        ""
        if convention == "own"
        else f"Forgetting and transfer as in {VERSIONS[convention]}, where that is not as we do. "
    )
    return whose + " ".join(
        f"{m.name} (v{m.version}): {m.what} ({m.source})." for m in metrics(convention)
    )


def _section(
    frame: pd.DataFrame,
    here: Sequence[Record],
    label: dict[Cell, Label],
    scored: Sequence[Metric],
    beside: Callable[[Cell], list[Published]],
) -> Section:
    cells = {(record.upper_bound, *label[record.cell][1:]): record.cell for record in here}
    of_metric = dict(iter(frame.groupby("metric")))
    shown = [metric for metric in scored if metric.name in of_metric]
    done = done_of(here, label)
    columns = [
        entries(by_strategy(of_metric[metric.name]), metric.higher_is_better, done)
        for metric in shown
    ]
    rows: list[tuple[Entry, ...]] = []
    for strategy, n in outcomes_of(here, label).items():
        numbers = (column.get(strategy, NOTHING) for column in columns)
        rows.append((Entry(row_title(strategy)), *numbers, Entry(n)))
        rows += [
            _published(entry, shown)
            for entry in beside(cells[strategy])
            if not entry.departures(cells[strategy])
        ]
    return Section(
        label[here[0].cell].benchmark,
        ("strategy", *(metric.name for metric in shown), "n"),
        tuple(rows),
    )


def _published(entry: Published, shown: Sequence[Metric]) -> tuple[Entry, ...]:
    """A row of printed numbers."""
    return Entry(entry.title), *(Entry(entry.text(metric.name)) for metric in shown), Entry("")
