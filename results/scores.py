"""The scores of every strategy on every benchmark."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from retrograde import CellSpec, Record, TableResult, Texts
from retrograde.metrics import (
    BOLD,
    VERSIONS,
    Key,
    Label,
    Metric,
    all_pairs,
    applicable,
    by_seed,
    by_strategy,
    cell_labels,
    interval_frame,
    score_frame,
)
from retrograde.reporting import (
    NOTHING,
    Entry,
    Published,
    ScoreForm,
    Section,
    Table,
    done_of,
    matcher,
    notes_on_knowledge,
    published_numbers,
    row_title,
    score_cells,
)

from ._boards import Board, across, board

END = ("ACC", "forgetting")
"""The metrics of a table across benchmarks, unless others are asked for."""


@dataclass(frozen=True)
class Scores(TableResult):
    """Mean and 95 % interval of each metric over replicates.

    Bold: the best mean and every strategy not significantly different from it, if any differs.

    Args:
        convention: Definitions of forgetting and transfer: `own`, or those of a version of
            avalanche, gem, lamaml or mammoth.
        metrics: The metrics to show, in order; empty: all.
        across: `benchmarks` for one table with a group of columns for each benchmark.
        decimals: Decimal places of percentages.
        spread: The number after ±: `ci` or `sd`.
        rows: Titles of strategies in the order of their rows; the others follow.
        streams: The same of benchmarks.
    """

    order: ClassVar[float] = 1
    regression: ClassVar[bool] = True

    convention: str = "own"
    metrics: Texts = ()
    across: str = ""
    decimals: int = 2
    spread: str = "ci"
    rows: Texts = ()
    streams: Texts = ()

    def table(self, records: Sequence[Record]) -> Table:
        label = cell_labels(records)
        known = applicable(records, self.convention)
        frame = score_frame(records, label, known)
        wanted = self.metrics or (END if self.across else ())
        scored = _chosen_metrics(known, wanted)
        shown = frame[frame.metric.isin([metric.name for metric in scored])]
        boards = self._boards(records, shown, scored)
        if self.across:
            sections = [across(boards)] if boards else []
        else:
            published_for = matcher(published_numbers())
            sections = [_section(board, published_for) for board in boards]
        notes = (
            _compared(scored, self.spread, short=bool(self.across)),
            _meaning(scored),
            *_surpassed(shown),
            *notes_on_knowledge(records, label),
            *_chosen(records, label),
        )
        tidy = interval_frame(shown, "metric")
        return Table("Scores", notes, tuple(sections), tidy, _whose(self.convention))

    def _boards(
        self, records: Sequence[Record], frame: pd.DataFrame, scored: Sequence[Metric]
    ) -> list[Board]:
        """The scores on each benchmark."""
        label = cell_labels(records)
        by_benchmark = defaultdict(list)
        for record in records:
            # episodes have a table of their own, adaptation
            if not record.cell.episodic:
                by_benchmark[label[record.cell].benchmark].append(record)
        frames = dict(iter(frame.groupby("benchmark")))
        form = ScoreForm(self.decimals, self.spread)
        boards = []
        first = {name: place for place, name in enumerate(self.streams)}
        for name in sorted(by_benchmark, key=lambda name: (first.get(name, len(first)), name)):
            # a benchmark on which everything failed has no frame
            group = frames.get(name, frame[:0])
            columns = _columns(group, scored, done_of(by_benchmark[name], label), form)
            boards.append(board(name, by_benchmark[name], label, columns, self.rows))
        return boards


def _chosen_metrics(known: Sequence[Metric], names: Sequence[str]) -> tuple[Metric, ...]:
    """The metrics of these names, in their order; all if no name is given."""
    by_name = {metric.name: metric for metric in known}
    # a metric that no record has is reported by the report itself
    return tuple(by_name[name] for name in names if name in by_name) if names else tuple(known)


def _compared(scored: Iterable[Metric], spread: str, *, short: bool) -> str:
    """The note on reading the numbers; a short one is for a paper, below its table."""
    kinds = {metric.percent for metric in scored}
    unit = "Percent, or mean squared error" if len(kinds) > 1 else "Percent"
    if kinds == {False}:
        unit = "Mean squared error"
    half = "the standard deviation" if spread == "sd" else "half of the 95 % t-interval"
    if short:
        return (
            f"{unit}: the mean over n replicates ± {half}. Bold: the best mean, and those not "
            "significantly different from it (paired t-tests, p < 0.05 after Holm's correction)."
        )
    return (
        f"{unit}: the mean over n replicates, or over as many as it states, ± {half}. {BOLD} "
        "Replicates with the same seed share class order, data order and initial weights. "
        "Published numbers stand under the rows with the same stream and rule, with ± as the "
        "source gives it; unverified ones were never read in the source or a copy of it."
    )


def _surpassed(frame: pd.DataFrame) -> list[str]:
    """Notes on upper bounds that are none: another strategy has a significantly better ACC."""
    notes = []
    for benchmark, group in frame[frame.metric == "ACC"].groupby("benchmark"):
        values = by_strategy(group)
        keys = list(values)
        better = all_pairs(by_seed(values)).better_than(higher_is_better=True)
        for place, bound in enumerate(keys):
            above = [row_title(keys[other]) for other in np.flatnonzero(better[:, place])]
            if bound[0] and above:
                verb = "is" if len(above) == 1 else "are"
                notes.append(
                    f"{row_title(bound)} is no upper bound on {benchmark}: {', '.join(above)} "
                    f"{verb} significantly better in ACC. More epochs or another learning rate "
                    "may make it one."
                )
    return notes


def _chosen(records: Sequence[Record], label: dict[CellSpec, Label]) -> list[str]:
    """How settings were chosen, where records say it."""
    cells: dict[str, dict[str, None]] = defaultdict(dict)
    for record in records:
        if chosen := record.how.get("chosen"):
            cells[chosen][row_title((record.upper_bound, *label[record.cell][1:]))] = None
    return [f"Settings {chosen}: {'; '.join(rows)}." for chosen, rows in cells.items()]


def _meaning(scored: Sequence[Metric]) -> str:
    sentences = [
        f"{metric.name} (v{metric.version}): {metric.what} ({metric.source})." for metric in scored
    ]
    return " ".join(sentences)


def _whose(convention: str) -> str:
    """The caption that names a convention other than ours."""
    if convention == "own":
        return ""
    return f"Forgetting and transfer as in {VERSIONS[convention]}, where that is not as we do."


def _section(
    shown: Board,
    published_for: Callable[[CellSpec], list[Published]],
) -> Section:
    rows: list[tuple[Entry, ...]] = []
    for strategy, n in shown.outcomes.items():
        numbers = [column.get(strategy, NOTHING) for column in shown.columns.values()]
        rows.append((Entry(row_title(strategy)), *numbers, Entry(n)))
        cell = shown.cells[strategy]
        # numbers of another protocol are not comparable
        rows += [
            _published(entry, shown.columns)
            for entry in published_for(cell)
            if not entry.departures(cell)
        ]
    return Section(shown.benchmark, ("strategy", *shown.columns, "n"), tuple(rows))


def _columns(
    frame: pd.DataFrame, scored: Sequence[Metric], done: dict[Key, int], form: ScoreForm
) -> dict[str, dict[Key, Entry]]:
    """The entries of each metric that has a number, by strategy."""
    of_metric = dict(iter(frame.groupby("metric")))
    columns = {}
    for metric in scored:
        if metric.name in of_metric:
            values = by_strategy(of_metric[metric.name])
            columns[metric.name] = score_cells(
                values, metric.higher_is_better, done, metric.percent, form
            )
    return columns


def _published(entry: Published, metrics: Iterable[str]) -> tuple[Entry, ...]:
    """A row of published numbers."""
    numbers = [entry.text(metric) for metric in metrics]
    return tuple(map(Entry, (entry.title, *numbers, "")))
