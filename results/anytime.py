"""Scores of the whole way along a stream, where a benchmark has it tested every so many steps."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from retrograde import Cell, Record, Result
from retrograde.metrics import (
    BOLD,
    METRICS,
    Label,
    by_strategy,
    interval_frame,
    labels,
    ordered,
    score_frame,
)
from retrograde.reporting import (
    NOTHING,
    Entry,
    Section,
    Table,
    done_of,
    entries,
    outcomes_of,
    row_title,
)


@dataclass(frozen=True)
class Anytime(Result):
    """Accuracy at any time, its worst case, and how far it falls after a switch and recovers; bold as in scores."""

    def table(self, records: Sequence[Record]) -> Table:
        label = labels(records)
        own = [
            record
            for record in ordered(records)
            if record.cell.benchmark.settings.get("test_every")
        ]
        frame = score_frame(own, label, METRICS)
        names = sorted({label[record.cell].benchmark for record in own})
        sections = tuple(
            _section(
                frame[frame.benchmark == name],
                [r for r in own if label[r.cell].benchmark == name],
                label,
            )
            for name in names
        )
        return Table("Anytime", (_NOTE, _MEANING), sections, interval_frame(frame, "metric"))


_NOTE = (
    "Percent: the mean over n replicates ± half of the 95 % t-interval, of accuracies on the same "
    "test examples of a task at every test (test_examples), every so many steps of a task "
    f"(test_every) and at its end. {BOLD} A minimum over many tests on few examples lies lower "
    "than one over few tests on many: compare within a section. A strategy that begins each task "
    "afresh, such as joint training, is seen while it learns everything again."
)
_MEANING = " ".join(f"{m.name} (v{m.version}): {m.what} ({m.source})." for m in METRICS)


def _section(frame: pd.DataFrame, here: Sequence[Record], label: dict[Cell, Label]) -> Section:
    shown = [metric for metric in METRICS if (frame.metric == metric.name).any()]
    done = done_of(here, label)
    columns = [
        entries(by_strategy(frame[frame.metric == metric.name]), metric.higher_is_better, done)
        for metric in shown
    ]
    rows = []
    for strategy, n in outcomes_of(here, label).items():
        cells = (column.get(strategy, NOTHING) for column in columns)
        rows.append((Entry(row_title(strategy)), *cells, Entry(n)))
    return Section(
        label[here[0].cell].benchmark,
        ("strategy", *(metric.name for metric in shown), "n"),
        tuple(rows),
    )
