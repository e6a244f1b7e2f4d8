"""Accuracy on each class at the end of a stream."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from retrograde import CellSpec, ClassCounts, Record, TableResult
from retrograde.metrics import (
    BOLD,
    REPLICATE,
    Key,
    Label,
    by_strategy,
    cell_labels,
    interval_frame,
    ordered,
)
from retrograde.reporting import NOTHING, Entry, Section, Table, done_of, row_title, score_cells

MAX_COLUMNS = 20
"""Largest number of columns; with more classes, every second, third, ... has one, and the last."""


@dataclass(frozen=True)
class Classes(TableResult):
    """Accuracy on each class at the end of the stream, pooled over the tasks that have it.

    It shows streams with counts by class; bold as in scores.
    """

    def table(self, records: Sequence[Record]) -> Table:
        label = cell_labels(records)
        frame = _frame(records, label)
        done = {name: _done_on(name, records, label) for name in sorted(set(frame.benchmark))}
        sections = [_section(name, frame[frame.benchmark == name], n) for name, n in done.items()]
        notes = (_NOTE,) if sections else ()
        return Table(
            "Accuracy on each class", notes, tuple(sections), interval_frame(frame, "class")
        )


_NOTE = (
    "Percent of each class's test examples after the last experience: the mean over n replicates ± "
    "half of the 95 % t-interval. A class is an output unit, counted from 0 as labels "
    "are. It is one class of the dataset in every replicate, unless tasks share their units or "
    f"classes are drawn for each seed: then its number is a place. {BOLD} The CSV has every class."
)


def _done_on(
    name: str, records: Sequence[Record], label: Mapping[CellSpec, Label]
) -> dict[Key, int]:
    """The replicates of each strategy that are done, on one benchmark."""
    return done_of([record for record in records if label[record.cell].benchmark == name], label)


def _frame(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> pd.DataFrame:
    """A row for each replicate and class: the accuracy on it at the end."""
    rows = []
    for record in ordered(records):
        if record.status == "done" and record.classes:
            replicate = (*label[record.cell], record.seed, record.upper_bound)
            rows += [(*replicate, *of_class) for of_class in _at_end(record.classes)]
    return pd.DataFrame(rows, columns=[*REPLICATE, "class", "value"])


def _at_end(counts: ClassCounts) -> Iterator[tuple[int, float]]:
    """Each class and the accuracy on its test examples."""
    outputs, pair = np.unique(counts.output, return_inverse=True)
    examples = np.bincount(pair, weights=counts.examples)
    right = np.bincount(pair, weights=counts.correct[-1])
    yield from zip(outputs.tolist(), (right / examples).tolist(), strict=True)


def _section(name: str, frame: pd.DataFrame, done: dict[Key, int]) -> Section:
    numbers = sorted(set(frame["class"]))
    every = -(-len(numbers) // MAX_COLUMNS)
    # the last class always has a column
    shown = sorted({*numbers[::every], numbers[-1]})
    columns = {}
    for number in shown:
        values = by_strategy(frame[frame["class"] == number])
        columns[f"class {number}"] = score_cells(values, higher_is_better=True, done=done)
    rows = []
    for strategy in by_strategy(frame):
        entries = [column.get(strategy, NOTHING) for column in columns.values()]
        rows.append((Entry(row_title(strategy)), *entries, Entry(str(done[strategy]))))
    return Section(name, ("strategy", *columns, "n"), tuple(rows))
