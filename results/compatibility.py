"""Foreign strategies: the ones that run, and the reasons why others do not."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from retrograde import CellSpec, Record, TableResult
from retrograde.metrics import BySeed, Label, cell_labels, ordered, over_seeds
from retrograde.reporting import Entry, Section, Table, format_percent, outcomes

COLUMNS = ["benchmark", "class", "settings", "status", "n", "value", "why"]


@dataclass(frozen=True)
class Compatibility(TableResult):
    """Outcome of every strategy whose settings name a class of another library.

    A class that ran has its accuracy, any other the exception that it raised.
    """

    def table(self, records: Sequence[Record]) -> Table:
        label = cell_labels(records)
        by_cell = defaultdict(list)
        for record in ordered(records):
            if "class" in record.cell.strategy.settings:
                by_cell[record.cell].append(record)
        # by name of the class first, so that its settings stand together
        order = sorted(
            by_cell,
            key=lambda cell: (label[cell].benchmark, *_names(cell, label[cell])),
        )
        by_benchmark = defaultdict(list)
        tidy = []
        for cell in order:
            row = _row(cell, label[cell], by_cell[cell])
            by_benchmark[label[cell].benchmark].append(row)
            tidy.append(_tidy(cell, label[cell], by_cell[cell]))
        sections = []
        for name, rows in by_benchmark.items():
            sections.append(Section(name, _TITLES, tuple(rows)))
        numbers = pd.DataFrame(tidy, columns=COLUMNS)
        return Table("Compatibility", (_NOTE,), tuple(sections), numbers)


_TITLES = ("class", "with", "outcome", "ACC", "why")
_NOTE = (
    "Classes of another library, trained on our streams and tested by us. ACC: percent of the "
    "test examples with correct predictions at the end, averaged over tasks; the mean over n "
    "replicates ± half of the 95 % t-interval. The arguments are sensible, not tuned. Where a "
    "parameter or a score becomes non-finite the outcome is diverged, although an arg-max of NaN "
    "would still give an accuracy; a failed class raised the exception next to it."
)


def _names(cell: CellSpec, label: Label) -> tuple[str, str]:
    """The name of the class, and its other settings."""
    name = str(cell.strategy.settings["class"])
    rest = label.settings.removeprefix(f"class={name}")
    return name, rest.removeprefix(",").strip()


def _accuracies(replicates: Sequence[Record]) -> BySeed | None:
    done = [float(record.R[-1].mean()) for record in replicates if record.status == "done"]
    return dict(enumerate(done)) if done else None


def _why(replicates: Sequence[Record]) -> str:
    """The first reason of a failure in one line; that of a traceback is its exception."""
    reasons = [record.reason for record in replicates if record.status != "done"]
    lines = reasons[0].strip().splitlines() if reasons else [""]
    frames = [number for number, line in enumerate(lines) if line.startswith(" ")]
    # the exception stands below the last frame, which is indented
    after = frames[-1] + 1 if frames else 0
    return lines[after if after < len(lines) else 0]


def _row(cell: CellSpec, label: Label, replicates: Sequence[Record]) -> tuple[Entry, ...]:
    texts = (
        *_names(cell, label),
        _outcome(replicates),
        format_percent(_accuracies(replicates)),
        _why(replicates),
    )
    return tuple(map(Entry, texts))


def _outcome(replicates: Sequence[Record]) -> str:
    statuses = [record.status for record in replicates]
    # one status of all replicates needs no count
    return statuses[0] if len(set(statuses)) == 1 else outcomes(statuses)


def _tidy(cell: CellSpec, label: Label, replicates: Sequence[Record]) -> tuple[object, ...]:
    values = _accuracies(replicates)
    n = len(values) if values else 0
    mean = over_seeds(values).mean if values else float("nan")
    return (
        label.benchmark,
        *_names(cell, label),
        _outcome(replicates),
        n,
        mean,
        _why(replicates),
    )
