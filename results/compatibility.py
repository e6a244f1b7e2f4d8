"""Foreign strategies: the ones that run, and the reasons why others do not."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from retrograde import Cell, Record, Result
from retrograde.metrics import BySeed, Label, labels, ordered, over_seeds
from retrograde.reporting import Entry, Section, Table, outcomes, percent

COLUMNS = ["benchmark", "class", "settings", "status", "n", "value", "why"]


@dataclass(frozen=True)
class Compatibility(Result):
    """Outcome of every strategy whose settings name a class of another library.

    A class that ran has its accuracy, any other the exception that it raised.
    """

    def table(self, records: Sequence[Record]) -> Table:
        label = labels(records)
        by_cell = defaultdict(list)
        for record in ordered(records):
            if "class" in record.cell.strategy.settings:
                by_cell[record.cell].append(record)
        cells = sorted(
            by_cell, key=lambda cell: (label[cell].benchmark, *_names(cell, label[cell]))
        )
        rows = [_tidy(cell, label[cell], by_cell[cell]) for cell in cells]
        by_benchmark = defaultdict(list)
        for cell in cells:
            row = _row(cell, label[cell], by_cell[cell])
            by_benchmark[label[cell].benchmark].append(row)
        sections = tuple(Section(name, _TITLES, tuple(rows)) for name, rows in by_benchmark.items())
        tidy = pd.DataFrame(rows, columns=COLUMNS)
        return Table("Compatibility", (_NOTE,), sections, tidy)


_TITLES = ("class", "with", "outcome", "ACC", "why")
_NOTE = (
    "Classes of another library, driven from outside along our streams and tested by us. ACC: "
    "percent of the test examples that are right at the end, averaged over tasks; the mean over n "
    "replicates ± half of the 95 % t-interval. The arguments are sensible, not tuned. Where a "
    "parameter or a score becomes non-finite the outcome is diverged, although an arg-max of NaN "
    "would still give an accuracy; what failed raised the exception beside it."
)


def _names(cell: Cell, label: Label) -> tuple[str, str]:
    """The name of the class, and its other settings."""
    name = str(cell.strategy.settings["class"])
    rest = label.settings.removeprefix(f"class={name}")
    return name, rest.removeprefix(",").strip()


def _accuracies(mine: Sequence[Record]) -> BySeed | None:
    done = [float(record.R[-1].mean()) for record in mine if record.status == "done"]
    return dict(enumerate(done)) if done else None


def _why(mine: Sequence[Record]) -> str:
    """The first reason of a failure in one line; that of a traceback is its exception."""
    reasons = [record.reason for record in mine if record.status != "done"]
    lines = reasons[0].strip().splitlines() if reasons else [""]
    frames = [number for number, line in enumerate(lines) if line.startswith(" ")]
    # the exception stands below the last frame, which is indented
    after = frames[-1] + 1 if frames else 0
    return lines[after if after < len(lines) else 0]


def _row(cell: Cell, label: Label, mine: Sequence[Record]) -> tuple[Entry, ...]:
    accuracy = percent(_accuracies(mine))
    texts = (*_names(cell, label), _outcome(mine), accuracy, _why(mine))
    return tuple(map(Entry, texts))


def _outcome(mine: Sequence[Record]) -> str:
    statuses = {record.status for record in mine}
    # with one status for all, the word says it without a count
    return statuses.pop() if len(statuses) == 1 else outcomes([record.status for record in mine])


def _tidy(cell: Cell, label: Label, mine: Sequence[Record]) -> tuple[object, ...]:
    values = _accuracies(mine)
    n = 0 if values is None else len(values)
    mean = float("nan") if values is None else over_seeds(values).mean
    return (label.benchmark, *_names(cell, label), _outcome(mine), n, mean, _why(mine))
