"""Measures of plasticity of each experience, as rows of a frame."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from retrograde import CellSpec, Record
from retrograde.metrics import REPLICATE, Label, ordered

ONLINE = "online accuracy"
RANK = "effective rank"
DEAD = "dead units"
WEIGHT = "mean weight"


def plasticity_frame(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> pd.DataFrame:
    """A row for each replicate, quantity and experience, of the records that measure plasticity.

    The column trained has the number of experiences so far. Accuracy and share of dead units are
    in percent.
    """
    rows = []
    for record in ordered(records):
        if record.status == "done" and record.plasticity:
            replicate = (*label[record.cell], record.seed, record.upper_bound)
            rows += [(*replicate, *measure) for measure in _measures(record)]
    return pd.DataFrame(rows, columns=[*REPLICATE, "trained", "quantity", "value"])


def _measures(record: Record) -> Iterator[tuple[int, str, float]]:
    """The experiences so far, the quantity and its value."""
    if record.prequential:
        counts = zip(record.prequential.correct, record.prequential.examples, strict=True)
        for trained, (correct, examples) in enumerate(counts, 1):
            # An experience without incoming examples has no accuracy.
            if examples:
                yield trained, ONLINE, 100 * correct / examples
    measured = record.plasticity
    if measured:
        for trained, rank in enumerate(measured.effective_rank, 1):
            yield trained, RANK, rank
        for trained, dead in enumerate(measured.dead_units, 1):
            yield trained, DEAD, 100 * dead
        for trained, weight in enumerate(measured.mean_weight, 1):
            yield trained, WEIGHT, weight
