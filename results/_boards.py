"""Scores on one benchmark, and those on several side by side."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from retrograde import CellSpec, Record
from retrograde.metrics import Key, Label, display_names
from retrograde.reporting import NOTHING, Entry, Section, outcomes_of, row_title


class Board(NamedTuple):
    """The scores on one benchmark."""

    benchmark: str
    columns: dict[str, dict[Key, Entry]]  # by metric and strategy
    outcomes: dict[Key, str]  # the numbers of replicates, by strategy, in the order of rows
    cells: dict[Key, CellSpec]
    names: dict[Key, str]  # of strategies over all benchmarks


def board(
    benchmark: str,
    records: Sequence[Record],
    label: Mapping[CellSpec, Label],
    columns: dict[str, dict[Key, Entry]],
    rows: Sequence[str],
) -> Board:
    """The scores on one benchmark.

    Args:
        benchmark: its title.
        records: its records.
        label: the labels of all cells of the report.
        columns: the entries of each metric, by strategy.
        rows: titles of strategies in the order of their rows; the others follow.
    """
    cells = {(record.upper_bound, *label[record.cell][1:]): record.cell for record in records}
    called = display_names(label.values())
    names = {key: row_title((key[0], called[key[1:]], "")) for key in cells}
    places = {title: place for place, title in enumerate(rows)}
    # the order among strategies without a place is kept
    outcomes = outcomes_of(records, label)
    order = sorted(outcomes, key=lambda key: places.get(" ".join(key[1:]).strip(), len(places)))
    return Board(benchmark, columns, {key: outcomes[key] for key in order}, cells, names)


def across(boards: Sequence[Board]) -> Section:
    """One section with a row for each strategy and a group of columns for each benchmark."""
    # a benchmark on which everything failed has no columns
    boards = [each for each in boards if each.columns]
    groups = [(each.benchmark, len(each.columns)) for each in boards]
    metrics = [metric for each in boards for metric in each.columns]
    counts = {n for each in boards for n in each.outcomes.values()}
    # one number of replicates for all goes into the heading
    same = len(counts) == 1
    titles = dict.fromkeys(each.names[key] for each in boards for key in each.outcomes)
    rows = []
    for title in titles:
        entries = [entry for each in boards for entry in _entries(each, title, same)]
        rows.append((Entry(title), *entries))
    if not same:
        groups = [(name, span + 1) for name, span in groups]
        metrics = [metric for each in boards for metric in (*each.columns, "n")]
    heading = f"all benchmarks, n = {counts.pop()}" if same else "all benchmarks"
    return Section(heading, ("strategy", *metrics), tuple(rows), tuple(groups))


def _entries(shown: Board, title: str, same: bool) -> list[Entry]:
    """The entries of a strategy on one benchmark, with its number of replicates unless shared."""
    keys = [key for key, name in shown.names.items() if name == title]
    key = keys[0] if keys else None
    found = [NOTHING if key is None else of.get(key, NOTHING) for of in shown.columns.values()]
    count = Entry(shown.outcomes[key]) if key else NOTHING
    return found if same else [*found, count]
