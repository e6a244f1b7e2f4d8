"""The scores of every replicate: one row for each, with its seed."""

from collections.abc import Sequence

import pandas as pd

from retrograde.metrics.conventions import applicable
from retrograde.metrics.frames import REPLICATE, cell_labels, end_frame, ordered, score_frame
from retrograde.records.record import Record

KEY = ["benchmark", "strategy", "settings", "seed"]
"""The columns that identify a replicate."""


def replicate_frame(records: Sequence[Record], convention: str = "own") -> pd.DataFrame:
    """The status, the exact settings and every metric of each replicate.

    Returns:
        The columns benchmark, strategy and settings as tables show them; benchmark_spec and
        strategy_spec as the command line takes them; seed, upper_bound and status; and one for
        each metric, empty where a replicate has none.
    """
    label = cell_labels(records)
    rows = [
        (
            *label[record.cell],
            record.cell.benchmark.spec,
            record.cell.strategy.spec,
            record.seed,
            record.upper_bound,
            record.status,
        )
        for record in ordered(records)
    ]
    columns = [*KEY[:3], "benchmark_spec", "strategy_spec", *REPLICATE[3:], "status"]
    replicates = pd.DataFrame(rows, columns=columns)
    scored = score_frame(records, label, applicable(records, convention))
    ends = end_frame(records, label)
    # episodes have scores of their own
    frame = pd.concat([scored, ends[ends.metric.isin(["accuracy", "loss"])]])
    metrics = list(dict.fromkeys(frame.metric))
    values = frame.pivot(index=KEY, columns="metric", values="value")[metrics]
    return replicates.join(values, on=KEY)
