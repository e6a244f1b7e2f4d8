"""Scores of accuracy at any time along a stream."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from retrograde import CellSpec, Record, TableResult
from retrograde.metrics import (
    BOLD,
    METRICS,
    Label,
    by_strategy,
    cell_labels,
    interval_frame,
    ordered,
    score_frame,
)
from retrograde.reporting import (
    NOTHING,
    Entry,
    Section,
    Table,
    done_of,
    outcomes_of,
    row_title,
    score_cells,
)


@dataclass(frozen=True)
class Anytime(TableResult):
    """Accuracy at any time, its worst case, and the drop after a switch of tasks and its recovery.

    It shows benchmarks with evaluations every few steps; bold as in scores.
    """

    def table(self, records: Sequence[Record]) -> Table:
        label = cell_labels(records)
        by_benchmark = defaultdict(list)
        evaluated = []
        for record in ordered(records):
            if record.cell.benchmark.settings.get("eval_every"):
                evaluated.append(record)
                by_benchmark[label[record.cell].benchmark].append(record)
        frame = score_frame(evaluated, label, METRICS)
        sections = []
        for name in sorted(by_benchmark):
            group = frame[frame.benchmark == name]
            sections.append(_section(group, by_benchmark[name], label))
        tidy = interval_frame(frame, "metric")
        return Table("Anytime", (_NOTE, _MEANING), tuple(sections), tidy)


_NOTE = (
    "Percent: the mean over n replicates ± half of the 95 % t-interval, of accuracies on the same "
    "test examples of a task at every evaluation (eval_examples): every so many steps of a task "
    f"(eval_every) and at its end. {BOLD} A minimum over many evaluations on few examples is lower "
    "than one over few evaluations on many: compare within a section. A strategy that begins each "
    "task with new weights, such as joint training, is evaluated while it learns everything again."
)
_MEANING = " ".join(f"{m.name} (v{m.version}): {m.what} ({m.source})." for m in METRICS)


def _section(
    frame: pd.DataFrame, records: Sequence[Record], label: dict[CellSpec, Label]
) -> Section:
    done = done_of(records, label)
    columns = {}
    for metric in METRICS:
        scores = frame[frame.metric == metric.name]
        # a benchmark with few tests lacks some metrics
        if not scores.empty:
            columns[metric.name] = score_cells(by_strategy(scores), metric.higher_is_better, done)
    rows = []
    for strategy, n in outcomes_of(records, label).items():
        numbers = [column.get(strategy, NOTHING) for column in columns.values()]
        rows.append((Entry(row_title(strategy)), *numbers, Entry(n)))
    benchmark = label[records[0].cell].benchmark
    return Section(benchmark, ("strategy", *columns, "n"), tuple(rows))
