"""How strategies stand over all streams of a suite."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import pandas as pd

from retrograde import Record, Result
from retrograde.metrics import (
    ALPHA,
    FEWEST,
    Contests,
    Ranking,
    Tally,
    contests,
    end_frame,
    labels,
    names,
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


class Line(NamedTuple):
    """One strategy over the benchmarks; NaN or None where there is no such number."""

    name: str
    upper_bound: bool
    rank: float
    acc: float
    forgetting: float
    tally: Tally | None
    benchmarks: int  # on which it competes; of an upper bound: on which it has a replicate
    n: tuple[
        int, int
    ]  # the fewest and the most replicates that are done on a benchmark where it was run


@dataclass(frozen=True)
class Leaderboard(Result):
    """Average rank, mean ACC and forgetting, wins, ties and losses of every strategy over the streams of a store."""

    order: ClassVar[int] = 0

    def table(self, records: Sequence[Record]) -> Table:
        own = streams(records)
        label = labels(own)
        called, frame = names(label.values()), end_frame(own, label)
        frame = frame.assign(
            name=[called[key] for key in zip(frame.strategy, frame.settings, strict=True)]
        )
        found = contests(frame[frame.metric == "ACC"], called)
        of, board = len({each.benchmark for each in label.values()}), rank_strategies(found)
        done: defaultdict[tuple[str, bool], defaultdict[str, int]] = defaultdict(
            lambda: defaultdict(int)
        )
        for record in ordered(own):
            benchmark, *strategy = label[record.cell]
            done[called[strategy[0], strategy[1]], record.upper_bound][benchmark] += (
                record.status == "done"
            )
        lines = _lines(frame, done, found, board)
        if max((line.benchmarks for line in lines), default=0) < 2:  # nothing stands over several
            lines = []
        leading = _leading(board)
        rows = tuple(_row(line, leading, of) for line in lines)
        sections = (Section(_heading(board, of), COLUMNS, rows),) if rows else ()
        tidy = pd.DataFrame([_tidy(line, of) for line in lines if line.n[1]], columns=TIDY)
        notes = _COLUMNS, _MEMBERS, _ranks(board), *notes_on_knowledge(own, label)
        return Table("Leaderboard", notes, sections, tidy)


_COLUMNS = (
    "Average rank by mean ACC, 1 for the best; mean ACC and mean forgetting in percent: over the "
    "benchmarks of the ranking. Win / tie / loss: rivals, counted on every benchmark where both "
    "compete, that have less ACC, are not told apart, have more (paired t-test, p < 0.05 after "
    f"Holm's correction over all pairs of the benchmark; below {FEWEST} replicates nothing is "
    "said). Bold: the best average rank and what is closer to it than the critical difference, "
    "where Friedman's test tells ranks apart at 5 % and some strategy is not that close."
)
_MEMBERS = (
    "A strategy's name stands alone where no benchmark has it with two settings; it may then be "
    "tuned for each. Ranked are the strategies that compete on every benchmark where any two do. "
    "Upper bounds (†) are never ranked; a strategy that lacks a replicate on a benchmark does not "
    "compete there. Benchmarks: on how many it competes; n: replicates on each."
)


def _heading(board: Ranking, of: int) -> str:
    return (
        f"ranks over {len(board.benchmarks)} of {of} benchmarks"
        if board.strategies
        else f"{of} benchmarks"
    )


def _ranks(board: Ranking) -> str:
    """What may be said of the ranks."""
    size = f"{len(board.strategies)} strategies over {len(board.benchmarks)} benchmarks ({'; '.join(board.benchmarks)})"
    if not board.strategies:
        return "No ranks: no two strategies compete on all of two or more benchmarks."
    if not board.tested:
        return f"{size}: too few strategies for a test of ranks."
    found = board.friedman
    if np.isnan(found.chi2):
        return f"{size}: all ranks are equal."
    test = f"Friedman's chi-squared {found.chi2:.2f}, {found.significance} ({found.method})"
    text = f"{size}: {test}; Nemenyi's critical difference at 5 %: {board.critical:.2f}."
    most = len(board.strategies) - 1
    few = f" Average ranks differ by at most {most}: on so few benchmarks Nemenyi's test tells no two strategies apart."
    return text if board.says_something else text + few


def _leading(board: Ranking) -> set[str]:
    """The strategies whose average ranks are bold."""
    average = board.average
    if not board.tested or not board.friedman.p < ALPHA:
        return set()
    best = min(average.values())
    near = {name for name, rank in average.items() if rank - best < board.critical}
    return near if len(near) < len(average) else set()


def _lines(
    frame: pd.DataFrame,
    done: Mapping[tuple[str, bool], Mapping[str, int]],
    found: Contests,
    board: Ranking,
) -> list[Line]:
    """The ranked by their rank, the others by name, and upper bounds last."""
    average, tally, nan = board.average, tallies(found), float("nan")
    means = (
        frame[frame.benchmark.isin(board.benchmarks)]
        .groupby(["name", "upper_bound", "metric", "benchmark"])
        .value.mean()
    )
    overall: dict[object, float] = {
        key: on_each.mean() for key, on_each in means.groupby(level=[0, 1, 2])
    }
    lines = []
    for (name, bound), counts in done.items():
        own = (
            sum(n > 0 for n in counts.values())
            if bound
            else sum(name in values for values in found.values())
        )
        compared = name in average or (
            bound and average and all(counts.get(b, 0) for b in board.benchmarks)
        )
        acc, forgetting = (
            overall.get((name, bound, metric), nan) if compared else nan
            for metric in ("ACC", "forgetting")
        )
        n = min(counts.values()), max(counts.values())
        rank = nan if bound else average.get(name, nan)
        lines.append(
            Line(name, bound, rank, acc, forgetting, None if bound else tally.get(name), own, n)
        )
    return sorted(
        lines,
        key=lambda line: (
            line.upper_bound,
            np.isnan(line.rank),
            np.nan_to_num(line.rank),
            line.name,
        ),
    )


def _row(line: Line, leading: set[str], of: int) -> tuple[Entry, ...]:
    rank = Entry(
        "–" if np.isnan(line.rank) else f"{line.rank:.2f}",
        line.name in leading and not line.upper_bound,
    )
    percent = (
        "–" if np.isnan(value) else f"{100 * value:.2f}" for value in (line.acc, line.forgetting)
    )
    tally = " / ".join(map(str, line.tally)) if line.tally else "–"
    n = "–".join(map(str, dict.fromkeys(line.n)))
    return (
        Entry(row_title((line.upper_bound, line.name, ""))),
        rank,
        *map(Entry, (*percent, tally, f"{line.benchmarks} of {of}", n)),
    )


def _tidy(line: Line, of: int) -> tuple[object, ...]:
    tally = line.tally or (None, None, None)
    return (
        line.name,
        line.upper_bound,
        line.rank,
        line.acc,
        line.forgetting,
        *tally,
        line.benchmarks,
        of,
        line.n[0],
    )
