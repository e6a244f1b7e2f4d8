"""Calibration of predictions at the end of a stream, where they were kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from retrograde import CellSpec, Record, TableResult
from retrograde.metrics import REPLICATE, Label, by_strategy, cell_labels, interval_frame, ordered
from retrograde.reporting import Entry, Section, Table, done_of, row_title, score_cells

MEASURES = ("accuracy", "confidence", "calibration error")


@dataclass(frozen=True)
class Calibration(TableResult):
    """Confidence and its distance from accuracy, in runs with `--keep predictions`."""

    def table(self, records: Sequence[Record]) -> Table:
        label = cell_labels(records)
        kept = [
            record
            for record in records
            if record.status == "done" and record.keeps(["predictions"])
        ]
        frame = _frame(kept, label)
        sections = [
            _section(name, of_benchmark, kept, label)
            for name, of_benchmark in frame.groupby("benchmark", sort=True)
        ]
        notes = (_NOTE,) if sections else ()
        title = "Calibration at the end of the stream"
        return Table(title, notes, tuple(sections), interval_frame(frame, "measure"))


_NOTE = (
    "Percent, on the test examples of all tasks: the mean over n replicates ± half of the 95 % "
    "t-interval. Confidence: the softmax of the strategy's scores at the predicted class, which is "
    "a probability only if the scores are logits. Calibration error: the mean distance of "
    "confidence and accuracy over 15 intervals of confidence (Guo et al. 2017); 0 is best."
)


def _frame(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> pd.DataFrame:
    """A row for each replicate and measure."""
    rows = []
    for record in ordered(records):
        kept = record.predictions
        accuracy = float(np.mean(kept.predicted[-1] == kept.y))
        confidence = float(kept.confidence[-1].mean())
        measured = (accuracy, confidence, kept.calibration_error())
        replicate = (*label[record.cell], record.seed, record.upper_bound)
        rows += [(*replicate, *pair) for pair in zip(MEASURES, measured, strict=True)]
    return pd.DataFrame(rows, columns=[*REPLICATE, "measure", "value"])


def _section(
    name: str, frame: pd.DataFrame, records: Sequence[Record], label: Mapping[CellSpec, Label]
) -> Section:
    done = done_of([record for record in records if label[record.cell].benchmark == name], label)
    columns = {}
    for measure in MEASURES:
        values = by_strategy(frame[frame.measure == measure])
        columns[measure] = score_cells(values, measure == "accuracy", done)
    rows = []
    for strategy in by_strategy(frame):
        entries = [column[strategy] for column in columns.values()]
        rows.append((Entry(row_title(strategy)), *entries, Entry(str(done[strategy]))))
    return Section(name, ("strategy", *MEASURES, "n"), tuple(rows))
