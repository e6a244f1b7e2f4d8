"""Which foreign strategies run, and why the others do not."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from retrograde import Cell, Record, Result
from retrograde.metrics import BySeed, Label, labels, ordered, over_seeds
from retrograde.reporting import Entry, Section, Table, outcomes, percent

COLUMNS = ["benchmark", "class", "settings", "status", "n", "value", "why"]


@dataclass(frozen=True)
class Compatibility(Result):
    """Every strategy whose settings name a class of another library: whether it ran, its accuracy, else what it raised."""

    def table(self, records: Sequence[Record]) -> Table:
        label = labels(records)
        by_cell: dict[Cell, list[Record]] = {}
        for record in ordered(records):
            if "class" in record.cell.strategy.settings:
                by_cell.setdefault(record.cell, []).append(record)
        cells = sorted(
            by_cell, key=lambda cell: (label[cell].benchmark, *_names(cell, label[cell]))
        )
        tidy = pd.DataFrame(
            [_tidy(cell, label[cell], by_cell[cell]) for cell in cells], columns=COLUMNS
        )
        by_benchmark: dict[str, list[tuple[Entry, ...]]] = {}
        for cell in cells:
            by_benchmark.setdefault(label[cell].benchmark, []).append(
                _row(cell, label[cell], by_cell[cell])
            )
        sections = tuple(Section(name, _TITLES, tuple(rows)) for name, rows in by_benchmark.items())
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
    """The class, and the settings beside it."""
    name = str(cell.strategy.settings["class"])
    return name, label.settings.removeprefix(f"class={name}").removeprefix(",").strip()


def _accuracies(mine: Sequence[Record]) -> BySeed | None:
    done = [float(record.R[-1].mean()) for record in mine if record.status == "done"]
    return dict(enumerate(done)) if done else None


def _why(mine: Sequence[Record]) -> str:
    """The first reason in a line: of a traceback, the exception that ended it."""
    lines = next(
        (record.reason.strip().splitlines() for record in mine if record.status != "done"), [""]
    )
    frames = [number for number, line in enumerate(lines) if line.startswith(" ")]
    return lines[frames[-1] + 1 if frames and frames[-1] + 1 < len(lines) else 0]


def _row(cell: Cell, label: Label, mine: Sequence[Record]) -> tuple[Entry, ...]:
    what = _outcome(mine)
    return tuple(map(Entry, (*_names(cell, label), what, percent(_accuracies(mine)), _why(mine))))


def _outcome(mine: Sequence[Record]) -> str:
    statuses = {record.status for record in mine}
    return statuses.pop() if len(statuses) == 1 else outcomes([record.status for record in mine])


def _tidy(cell: Cell, label: Label, mine: Sequence[Record]) -> tuple[object, ...]:
    values = _accuracies(mine)
    number, value = (0, float("nan")) if values is None else (len(values), over_seeds(values).mean)
    return label.benchmark, *_names(cell, label), _outcome(mine), number, value, _why(mine)
