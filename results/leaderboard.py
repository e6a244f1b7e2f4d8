"""Standing of strategies over all streams of a suite."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import pandas as pd

from retrograde import CellSpec, Record, TableResult
from retrograde.metrics import (
    ALPHA,
    MIN_SEEDS,
    Competitions,
    Label,
    Ranking,
    Tally,
    cell_labels,
    competitions,
    display_names,
    end_frame,
    ordered,
    rank_strategies,
    streams,
    tallies,
)
from retrograde.reporting import Entry, Section, Table, notes_on_knowledge, row_title

COLUMNS = (
    "strategy",
    "average rank",
    "mean ACC",
    "mean forgetting",
    "win / tie / loss",
    "benchmarks",
    "n",
)
TIDY = [
    "strategy",
    "upper_bound",
    "average_rank",
    "ACC",
    "forgetting",
    "win",
    "tie",
    "loss",
    "benchmarks",
    "of",
    "least_n",
]


NAN = float("nan")


class Line(NamedTuple):
    """One strategy over the benchmarks; NaN or None means that there is no such number."""

    name: str
    upper_bound: bool
    rank: float
    acc: float
    forgetting: float
    tally: Tally | None
    # benchmarks on which it competes; for an upper bound, on which it has a replicate
    benchmarks: int
    # the fewest and the most finished replicates on a benchmark where it was run
    n: tuple[int, int]


Done = Mapping[tuple[str, bool], Mapping[str, int]]
"""Finished replicates on each benchmark, by name and upper bound."""


@dataclass(frozen=True)
class Leaderboard(TableResult):
    """Average rank, mean ACC and forgetting, wins, ties and losses over the streams of a store."""

    order: ClassVar[float] = 0

    def table(self, records: Sequence[Record]) -> Table:
        own = streams(records)
        label = cell_labels(own)
        called = display_names(label.values())
        frame = _named(end_frame(own, label), called)
        rivals = competitions(frame[frame.metric == "ACC"], called)
        board = rank_strategies(rivals)
        total = len({cell_label.benchmark for cell_label in label.values()})
        lines = _lines(frame, _done(own, label, called), rivals, board)
        # there is no leaderboard over a single benchmark
        if max((line.benchmarks for line in lines), default=0) < 2:
            lines = []
        leading = _leading(board)
        rows = tuple(_row(line, leading, total) for line in lines)
        sections = (Section(_heading(board, total), COLUMNS, rows),) if rows else ()
        tidy = pd.DataFrame([_tidy(line, total) for line in lines if line.n[1]], columns=TIDY)
        notes = (_COLUMNS, _MEMBERS, _ranks(board), *notes_on_knowledge(own, label))
        return Table("Leaderboard", notes, sections, tidy)


def _named(frame: pd.DataFrame, called: Mapping[tuple[str, str], str]) -> pd.DataFrame:
    strategies = zip(frame.strategy, frame.settings, strict=True)
    return frame.assign(name=[called[strategy] for strategy in strategies])


def _done(
    records: Sequence[Record],
    label: Mapping[CellSpec, Label],
    called: Mapping[tuple[str, str], str],
) -> Done:
    done: defaultdict[tuple[str, bool], defaultdict[str, int]] = defaultdict(
        lambda: defaultdict(int)
    )
    for record in ordered(records):
        benchmark, strategy, settings = label[record.cell]
        counts = done[called[strategy, settings], record.upper_bound]
        # a benchmark on which nothing was finished counts as 0
        counts[benchmark] += record.status == "done"
    return done


_COLUMNS = (
    "Average rank by mean ACC, 1 for the best; mean ACC and mean forgetting in percent: over the "
    "benchmarks of the ranking. Win / tie / loss: rivals, counted on every benchmark where both "
    "compete, that have less ACC, do not differ significantly, have more (paired t-test, p < 0.05 "
    f"after Holm's correction over all pairs of the benchmark; below {MIN_SEEDS} replicates "
    "nothing is tested). Bold: the best average rank and all that are closer to it than the "
    "critical difference, if Friedman's test is significant at 5 % and some strategy is not that "
    "close."
)
_MEMBERS = (
    "A strategy's name stands alone where no benchmark has it with two settings; it may then be "
    "tuned for each. Ranked are the strategies that compete on every benchmark where any two do. "
    "Upper bounds (†) are never ranked; a strategy that lacks a replicate on a benchmark does not "
    "compete there. Benchmarks: on how many it competes; n: replicates on each."
)


def _heading(board: Ranking, total: int) -> str:
    if not board.strategies:
        return f"{total} benchmarks"
    return f"ranks over {len(board.benchmarks)} of {total} benchmarks"


def _ranks(board: Ranking) -> str:
    """The note on the statistical test of the ranks."""
    if not board.strategies:
        return "No ranks: no two strategies compete on all of two or more benchmarks."
    benchmarks = f"{len(board.benchmarks)} benchmarks ({'; '.join(board.benchmarks)})"
    size = f"{len(board.strategies)} strategies over {benchmarks}"
    if not board.tested:
        return f"{size}: too few strategies for a test of ranks."
    if np.isnan(board.friedman.chi2):
        return f"{size}: all ranks are equal."
    return f"{size}: {_test(board)}"


def _test(board: Ranking) -> str:
    friedman = board.friedman
    significance = f"{friedman.significance} ({friedman.method})"
    test = f"Friedman's chi-squared {friedman.chi2:.2f}, {significance}"
    text = f"{test}; Nemenyi's critical difference at 5 %: {board.critical:.2f}."
    if board.says_something:
        return text
    return (
        f"{text} Average ranks differ by at most {len(board.strategies) - 1}: "
        "on so few benchmarks Nemenyi's test finds no significant difference."
    )


def _leading(board: Ranking) -> set[str]:
    """The strategies whose average ranks are bold."""
    average = board.average
    if not board.tested or not board.friedman.p < ALPHA:
        return set()
    best = min(average.values())
    near = {name for name, rank in average.items() if rank - best < board.critical}
    # with every rank in bold, none would stand out
    return near if len(near) < len(average) else set()


def _lines(frame: pd.DataFrame, done: Done, rivals: Competitions, board: Ranking) -> list[Line]:
    """The lines of ranked strategies by rank, then of others by name, then of upper bounds."""
    average = board.average
    tally = tallies(rivals)
    overall = _overall(frame, board)
    lines = []
    for (name, bound), counts in done.items():
        means = overall if _is_compared(name, bound, counts, board) else {}
        line = Line(
            name=name,
            upper_bound=bound,
            rank=NAN if bound else average.get(name, NAN),
            acc=means.get((name, bound, "ACC"), NAN),
            forgetting=means.get((name, bound, "forgetting"), NAN),
            tally=None if bound else tally.get(name),
            benchmarks=_present(name, bound, counts, rivals),
            n=(min(counts.values()), max(counts.values())),
        )
        lines.append(line)
    return sorted(lines, key=_place)


def _overall(frame: pd.DataFrame, board: Ranking) -> dict[object, float]:
    """Means over the benchmarks of the ranking, by name, upper bound and metric."""
    ranked = frame[frame.benchmark.isin(board.benchmarks)]
    # first over replicates, so that every benchmark weighs the same
    means = ranked.groupby(["name", "upper_bound", "metric", "benchmark"]).value.mean()
    return {key: on_each.mean() for key, on_each in means.groupby(level=[0, 1, 2])}


def _is_compared(name: str, bound: bool, counts: Mapping[str, int], board: Ranking) -> bool:
    """True if a strategy has results on every benchmark of the ranking."""
    if name in board.average:
        return True
    if not bound or not board.average:
        return False
    return all(counts.get(benchmark, 0) for benchmark in board.benchmarks)


def _present(name: str, bound: bool, counts: Mapping[str, int], rivals: Competitions) -> int:
    """The number of benchmarks on which a strategy competes, or an upper bound has a replicate."""
    if bound:
        return sum(n > 0 for n in counts.values())
    return sum(name in values for values in rivals.values())


def _place(line: Line) -> tuple[bool, bool, float, str]:
    # NaN is not ordered, so that a flag gives its place
    unranked = bool(np.isnan(line.rank))
    return line.upper_bound, unranked, float(np.nan_to_num(line.rank)), line.name


def _row(line: Line, leading: set[str], total: int) -> tuple[Entry, ...]:
    title = Entry(row_title((line.upper_bound, line.name, "")))
    rank = "–" if np.isnan(line.rank) else f"{line.rank:.2f}"
    bold = line.name in leading and not line.upper_bound
    texts = (
        _percent(line.acc),
        _percent(line.forgetting),
        " / ".join(map(str, line.tally)) if line.tally else "–",
        f"{line.benchmarks} of {total}",
        # one number where the fewest replicates are the most
        "–".join(map(str, dict.fromkeys(line.n))),
    )
    return (title, Entry(rank, bold), *map(Entry, texts))


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.2f}"


def _tidy(line: Line, total: int) -> tuple[object, ...]:
    tally = line.tally or (None, None, None)
    return (
        line.name,
        line.upper_bound,
        line.rank,
        line.acc,
        line.forgetting,
        *tally,
        line.benchmarks,
        total,
        line.n[0],
    )
