"""Accuracy on a growing sequence of classes."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from retrograde import CellSpec, Record, TableResult
from retrograde.metrics import BOLD, Label, by_strategy, cell_labels, interval_frame, ordered
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

COLUMNS = ["benchmark", "strategy", "settings", "seed", "upper_bound", "classes", "value"]


@dataclass(frozen=True)
class ClassSequence(TableResult):
    """Accuracy on the classes seen so far after 10, 50, ... of them.

    Each test example counts the same; bold as in scores.
    """

    def table(self, records: Sequence[Record]) -> Table:
        label = cell_labels(records)
        own = [record for record in ordered(records) if _in_sequence(record)]
        by_benchmark = defaultdict(list)
        for record in own:
            by_benchmark[label[record.cell].benchmark].append(record)
        frame = _frame(own, label)
        sections = []
        for name in sorted(by_benchmark):
            group = frame[frame.benchmark == name]
            sections.append(_section(group, by_benchmark[name], label))
        tidy = interval_frame(frame, "classes")
        return Table("Class sequence", (_NOTE,), tuple(sections), tidy)


_NOTE = (
    "Percent of the test examples of all classes seen so far that are classified correctly, after "
    "so many classes: the mean over n replicates ± half of the 95 % t-interval. Every training "
    f"example comes once, class by class. {BOLD} The setting is smaller than the papers' (28 x 28 "
    "images, a small net, fewer pretraining episodes)."
)


def _in_sequence(record: Record) -> bool:
    """True if the benchmark lists the numbers of classes after which all classes are tested.

    The scenario is class-incremental: the task is not given at test.
    """
    settings = record.cell.benchmark.settings
    after = settings.get("test_after")
    if not isinstance(after, list) or settings.get("scenario") != "class":
        return False
    # replicates that failed have no tests
    return len(record.test_examples) in (0, len(after))


def _frame(records: Sequence[Record], label: dict[CellSpec, Label]) -> pd.DataFrame:
    rows = []
    for record in records:
        if record.status == "done":
            replicate = (*label[record.cell], record.seed, record.upper_bound)
            rows += [
                (*replicate, classes, right / tests) for classes, right, tests in _seen(record)
            ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _seen(record: Record) -> list[tuple[int, int, int]]:
    """The number of classes so far, of correct answers and of test examples, after each task."""
    after = record.cell.benchmark.settings["test_after"]
    seen = []
    # the first row of counts is from before training
    for tasks, (classes, right) in enumerate(zip(after, record.correct[1:], strict=True), 1):
        seen.append((classes, sum(right[:tasks]), sum(record.test_examples[:tasks])))
    return seen


def _section(
    frame: pd.DataFrame, records: Sequence[Record], label: dict[CellSpec, Label]
) -> Section:
    done = done_of(records, label)
    columns = {}
    for after in records[0].cell.benchmark.settings["test_after"]:
        classes = int(after)
        scores = by_strategy(frame[frame.classes == classes])
        title = f"{classes} class{'es' * (classes > 1)}"
        columns[title] = score_cells(scores, higher_is_better=True, done=done)
    rows = []
    for strategy, n in outcomes_of(records, label).items():
        numbers = [column.get(strategy, NOTHING) for column in columns.values()]
        rows.append((Entry(row_title(strategy)), *numbers, Entry(n)))
    benchmark = label[records[0].cell].benchmark
    return Section(benchmark, ("strategy", *columns, "n"), tuple(rows))
