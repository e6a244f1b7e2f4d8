"""How much of a sequence of classes is known, as it grows."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from retrograde import Cell, Record, Result
from retrograde.metrics import BOLD, Label, by_strategy, interval_frame, labels, ordered
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

COLUMNS = ["benchmark", "strategy", "settings", "seed", "upper_bound", "classes", "value"]


@dataclass(frozen=True)
class ClassSequence(Result):
    """Accuracy on the classes seen so far after 10, 50, ... of them, each test example counting the same; bold as in scores."""

    def table(self, records: Sequence[Record]) -> Table:
        label = labels(records)
        own = [record for record in ordered(records) if _in_sequence(record)]
        frame = _frame(own, label)
        names = sorted({label[record.cell].benchmark for record in own})
        sections = tuple(
            _section(
                frame[frame.benchmark == name],
                [r for r in own if label[r.cell].benchmark == name],
                label,
            )
            for name in names
        )
        return Table("Class sequence", (_NOTE,), sections, interval_frame(frame, "classes"))


_NOTE = (
    "Percent of the test examples of all classes seen so far that are told apart, after so many "
    "classes: the mean over n replicates ± half of the 95 % t-interval. Every training example "
    f"comes once, class by class. {BOLD} The setting is smaller than the papers' (28 x 28 images, "
    "a small net, fewer lessons)."
)


def _in_sequence(record: Record) -> bool:
    """Whether its benchmark says after how many classes all are tested, and these are not told apart by their task."""
    settings = record.cell.benchmark.settings
    after = settings.get("after")
    return (
        isinstance(after, list)
        and settings.get("scenario") == "class"
        and len(record.tests) in (0, len(after))
    )


def _frame(records: Sequence[Record], label: dict[Cell, Label]) -> pd.DataFrame:
    rows = [
        (*label[record.cell], record.seed, record.upper_bound, classes, right / of)
        for record in records
        if record.status == "done"
        for classes, right, of in _seen(record)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _seen(record: Record) -> list[tuple[int, int, int]]:
    """After each task: the classes so far, the right answers on them, and their test examples."""
    after = record.cell.benchmark.settings["after"]
    rows = enumerate(record.correct[1:], 1)
    return [
        (classes, sum(right[:n]), sum(record.tests[:n]))
        for classes, (n, right) in zip(after, rows, strict=True)
    ]


def _section(frame: pd.DataFrame, here: Sequence[Record], label: dict[Cell, Label]) -> Section:
    steps = [int(classes) for classes in here[0].cell.benchmark.settings["after"]]
    done = done_of(here, label)
    columns = [
        entries(by_strategy(frame[frame.classes == classes]), higher_is_better=True, done=done)
        for classes in steps
    ]
    rows = []
    for strategy, n in outcomes_of(here, label).items():
        cells = (column.get(strategy, NOTHING) for column in columns)
        rows.append((Entry(row_title(strategy)), *cells, Entry(n)))
    return Section(
        label[here[0].cell].benchmark,
        ("strategy", *(f"{n} class{'es' * (n > 1)}" for n in steps), "n"),
        tuple(rows),
    )
