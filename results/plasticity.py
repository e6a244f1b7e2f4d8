"""Plasticity at the start and at the end of a stream."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from retrograde import Record, TableResult
from retrograde.metrics import REPLICATE, BySeed, Key, by_strategy, cell_labels, interval_frame
from retrograde.reporting import NOTHING, Entry, Section, Table, done_of, row_title

from ._plasticity import DEAD, ONLINE, RANK, WEIGHT, plasticity_frame

QUANTITIES = (ONLINE, RANK, DEAD, WEIGHT)


@dataclass(frozen=True)
class PlasticityMeasures(TableResult):
    """Measures of plasticity after the first and after the last experience.

    It shows benchmarks with `plasticity_examples`; the figure `plasticity_stream` has all
    experiences.
    """

    def table(self, records: Sequence[Record]) -> Table:
        label = cell_labels(records)
        frame = _ends(plasticity_frame(records, label))
        sections = []
        for name, group in frame.groupby("benchmark", sort=True):
            here = [record for record in records if label[record.cell].benchmark == name]
            sections.append(_section(str(name), group, done_of(here, label)))
        notes = (_NOTE,) if sections else ()
        return Table("Plasticity", notes, tuple(sections), interval_frame(frame, "measure"))


_NOTE = (
    "Means over n replicates, after the first and after the last experience. Online accuracy, in "
    "percent: on the incoming examples of that experience, each predicted before a step trains on "
    "it. Effective rank: the smallest number of singular values of the last hidden layer's outputs "
    "that sum to 99 % of all (srank, Kumar et al. 2021). Dead units, in percent: ReLU units that "
    "are 0 on every example. Mean weight: the mean size of weights, without biases. Rank and dead "
    "units are those on test examples (plasticity_examples) of the tasks that the experience "
    "trains (Dohare et al. 2024)."
)


def _ends(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first and of the last experience, told apart by the column measure."""
    replicates = frame.groupby([*REPLICATE, "quantity"]).trained
    first = frame[frame.trained == replicates.transform("min")]
    last = frame[frame.trained == replicates.transform("max")]
    parts = [
        first.assign(measure=first.quantity + ", first"),
        last.assign(measure=last.quantity + ", last"),
    ]
    return pd.concat(parts)


def _section(name: str, frame: pd.DataFrame, done: Mapping[Key, int]) -> Section:
    present = set(frame.measure)
    measures = [f"{quantity}, {when}" for quantity in QUANTITIES for when in ("first", "last")]
    columns = {
        measure: by_strategy(frame[frame.measure == measure])
        for measure in measures
        if measure in present
    }
    rows = []
    for strategy in by_strategy(frame):
        means = [_mean(column.get(strategy)) for column in columns.values()]
        rows.append((Entry(row_title(strategy)), *means, Entry(str(done[strategy]))))
    return Section(name, ("strategy", *columns, "n"), tuple(rows))


def _mean(values: BySeed | None) -> Entry:
    return Entry(f"{np.mean([*values.values()]):.3g}") if values else NOTHING
