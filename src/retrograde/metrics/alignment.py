"""The account of forgetting and the alignment of gradients as data frames: by task and by replicate."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from retrograde.metrics.frames import (
    COLUMNS,
    REPLICATE,
    Key,
    Label,
    made_once,
    ordered,
    score_frame,
)
from retrograde.metrics.intervals import rank_correlation
from retrograde.metrics.matched import at_level, common_level, spanned
from retrograde.metrics.repeated_measures import Within, repeated_measures
from retrograde.records.account import Account
from retrograde.records.cell import Cell
from retrograde.records.gradient_probe import Probe
from retrograde.records.record import Record

AHEAD = ("arriving", "transfer", "conflict")
"""Measures at the end of a task that look ahead to the next one."""
COSTS = ("observed", "drop")
"""The cost of the next task to the earlier ones: in loss and in accuracy."""
SUMS = (
    "old_loss",
    "observed",
    "slope",
    "curvature",
    "interference",
    "remainder",
    "exposure",
    "path",
)
"""Numbers that are averaged over the tasks trained."""
BOOKED = ("task", *SUMS, "missed", "changed", "alignment", "gradient", "drop", *AHEAD)
MATCHED = ("observed", "alignment", "gradient", "path")
"""Numbers that are compared at a matched old loss."""


@made_once
def account_frame(records: Sequence[Record], label: Mapping[Cell, Label]) -> pd.DataFrame:
    """The account of each task trained after the first: `REPLICATE`, then the columns `BOOKED`.

    A row has means over the earlier tasks, and with it what the end of the task before said. Replicates that are not done, or
    whose account breaks off because a loss or a gradient was not finite, are left out.

    task: the task trained, from 0; old_loss: the loss of the earlier tasks where training begins; observed: its change, the
    sum of interference (slope and curvature) and remainder; path: the length of the way of the parameters;
    missed, changed: sums over the earlier tasks of the sizes of remainder and observed change;
    alignment: -interference / exposure; gradient: exposure / path; drop: the fall of the earlier tasks' test accuracy;
    arriving, transfer, conflict: as in `Probe`, at the end of the task before.
    """
    rows = [
        (*label[record.cell], record.seed, record.upper_bound, *row)
        for record in ordered(records)
        if complete(record)
        for row in _booked(record)
    ]
    return pd.DataFrame(rows, columns=[*REPLICATE, *BOOKED])


def complete(record: Record) -> bool:
    """True if a record is done and has an account of every task after the first."""
    tasks = [account.task for account in record.accounts]
    return record.status == "done" and bool(tasks) and tasks == [*range(1, len(record.tests))]


def _booked(record: Record) -> Iterator[tuple[float, ...]]:
    ends = {probe.task: probe for probe in record.gradients if probe.arrival}
    accuracy = record.R
    for account in record.accounts:
        task = account.task
        drop = (accuracy[task, :task] - accuracy[task + 1, :task]).mean()
        yield (task, *_numbers(account), float(drop), *_ahead(ends.get(task - 1)))


def _numbers(account: Account) -> tuple[float, ...]:
    interference = float(account.interference.mean())
    exposure = float(np.mean(account.exposure))
    means = [
        float(np.mean(each))
        for each in (account.before, account.observed, account.slope, account.curvature)
    ]
    sizes = (abs(account.remainder).sum(), abs(account.observed).sum())
    rest = float(account.remainder.mean())
    ratios = (_ratio(-interference, exposure), _ratio(exposure, account.length))
    return (*means, interference, rest, exposure, account.length, *map(float, sizes), *ratios)


def _ahead(end: Probe | None) -> tuple[float, ...]:
    return (end.arriving(), end.transfer(), end.conflict()) if end else (float("nan"),) * len(AHEAD)


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else float("nan")


@made_once
def replicate_accounts(records: Sequence[Record], label: Mapping[Cell, Label]) -> pd.DataFrame:
    """One row for each replicate that has an account: `REPLICATE`, `SUMS`, explained, alignment, gradient and forgetting.

    Numbers are means over the tasks trained of `account_frame`'s. alignment and gradient are ratios of these means, so that
    interference = -alignment * gradient * path. explained is 1 - sum |remainder| / sum |observed|, over all pairs of an
    earlier task and one trained: errors of opposite signs do not make up for one another.
    """
    groups = account_frame(records, label).groupby(list(REPLICATE), sort=True)
    found = groups[list(SUMS)].mean()
    totals = groups[["missed", "changed"]].sum()
    found["explained"] = 1 - totals.missed / totals.changed.where(totals.changed > 0)
    found["alignment"] = -found.interference / found.exposure.where(found.exposure > 0)
    found["gradient"] = found.exposure / found.path.where(found.path > 0)
    scores = score_frame(records, label)
    forgotten = scores[scores.metric == "forgetting"].set_index(list(REPLICATE)).value
    found["forgetting"] = forgotten.reindex(found.index)
    return found.reset_index()


def matched_level(accounts: pd.DataFrame) -> float:
    """The old loss at which the strategies of one benchmark are compared, of what `account_frame` gives; NaN if none."""
    ranges = {}
    for key, cell in of_strategies(accounts):
        spans = [
            spanned(run.old_loss.to_numpy(float)) for _, run in cell.groupby("seed", sort=True)
        ]
        ranges[title_of(key)] = [span for span in spans if span]
    return common_level(ranges)


def matched_frame(accounts: pd.DataFrame, level: float) -> pd.DataFrame:
    """The cost of a task to each replicate at an old loss: `COLUMNS`, the metrics `MATCHED`; NaN where it does not get there.

    Each value is read off the line through the replicate's tasks, fitted by least squares.
    """
    rows: list[tuple[Any, ...]] = []
    for replicate, run in accounts.groupby(list(REPLICATE), sort=True):
        old_loss = run.old_loss.to_numpy(float)
        values = (
            (metric, at_level(old_loss, run[metric].to_numpy(float), level)) for metric in MATCHED
        )
        rows += [(*replicate, *value) for value in values]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def within_runs(accounts: pd.DataFrame, x: str, y: str, given: Sequence[str] = ()) -> Within:
    """The correlation of two columns of `account_frame` within runs, given other columns; a run is one replicate."""
    if accounts.empty:
        return repeated_measures(np.empty(0), np.empty(0), np.empty(0, int), np.empty(0, int))
    run = accounts.groupby(list(REPLICATE), sort=True).ngroup().to_numpy(int)
    columns = accounts[list(given)].to_numpy(float)
    seed = accounts.seed.to_numpy(int)
    return repeated_measures(
        accounts[x].to_numpy(float), accounts[y].to_numpy(float), run, seed, columns
    )


def between_methods(accounts: pd.DataFrame, x: str, y: str) -> tuple[float, int]:
    """Spearman's rank correlation over the means of strategies, and their number.

    It has no p-value: strategies share code and memory, so that they are no sample of independent ones.
    """
    means = accounts.groupby(["strategy", "settings"], sort=True)[[x, y]].mean().dropna()
    found = rank_correlation(means[x].to_numpy(float), means[y].to_numpy(float))
    return found.rho, found.n


def alignment_frame(records: Sequence[Record], label: Mapping[Cell, Label]) -> pd.DataFrame:
    """The alignment that replicates found at each task's end: `REPLICATE`, trained, metric, value; NaN where noise hides it.

    `trained` is how many tasks are behind.
    arriving: the cosine between the next task's gradient and the mean gradient of the tasks so far;
    conflict: the share of these whose gradient has a negative inner product with the next task's;
    among: the mean cosine over pairs of the tasks so far;
    ceiling, ceiling_next: the cosine between the gradients on two halves of a task's examples, mean over the tasks so far,
    and of the next task.
    """
    rows = [
        (*label[record.cell], record.seed, record.upper_bound, probe.task + 1, *value)
        for record in ordered(records)
        if record.status == "done"
        for probe in record.gradients
        for value in _told(probe).items()
    ]
    return pd.DataFrame(rows, columns=[*REPLICATE, "trained", "metric", "value"])


def _told(probe: Probe) -> dict[str, float]:
    values = {"ceiling": float(np.mean(probe.ceiling[: probe.task + 1]))}
    if probe.arrival:
        values |= {
            "arriving": probe.arriving(),
            "conflict": probe.conflict(),
            "ceiling_next": probe.ceiling[-1],
        }
    return values | ({"among": probe.among()} if probe.task else {})


def replicate_alignment(records: Sequence[Record], label: Mapping[Cell, Label]) -> pd.DataFrame:
    """One number for each replicate that was probed and metric of `alignment_frame`; the columns are `COLUMNS`.

    Means over the task ends where there is a number, NaN if there is none; among and ceiling are those at the end.
    """
    found = alignment_frame(records, label)
    at_last = found[found.metric.isin(["among", "ceiling"])].drop_duplicates(
        [*REPLICATE, "metric"], keep="last"
    )
    means = found[found.metric.isin(["arriving", "conflict", "ceiling_next"])]
    both = pd.concat([means, at_last]) if len(found) else found
    return both.groupby([*REPLICATE, "metric"], sort=True).value.mean().reset_index()[list(COLUMNS)]


def layer_frame(records: Sequence[Record], label: Mapping[Cell, Label]) -> pd.DataFrame:
    """At the end of the stream, by layer: the mean cosine over pairs of tasks; `REPLICATE`, metric (the layer), value."""
    rows = [
        (
            *label[record.cell],
            record.seed,
            record.upper_bound,
            layer,
            _mean_pair(probe.cosines_of(layer)),
        )
        for record in ordered(records)
        if record.status == "done"
        for probe in record.gradients
        for layer in (probe.layers if len(probe.loss) > 1 else ())
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _mean_pair(cosines: np.ndarray) -> float:
    below = cosines[np.tril_indices(len(cosines), -1)]
    known = below[np.isfinite(below)]
    return float(known.mean()) if len(known) else float("nan")


def examples(records: Sequence[Record]) -> str:
    """On how many test examples of each task the gradients are at most, in words."""
    numbers = _settings(records, "probe", lambda record: bool(record.gradients or record.accounts))
    return f"up to {' or '.join(map(str, numbers))} test examples" if numbers else "test examples"


def windows(records: Sequence[Record]) -> str:
    """The length of the windows of the accounts, in words."""
    numbers = _settings(records, "probe_every", lambda record: bool(record.accounts))
    if not numbers:
        return "windows of unknown length"
    words = [
        f"{number} step{'s' if number > 1 else ''}" if number else "a whole task"
        for number in numbers
    ]
    return f"windows of {' or '.join(words)}"


def _settings(records: Sequence[Record], name: str, used: Callable[[Record], bool]) -> list[int]:
    settings = [record.cell.benchmark.settings for record in records if used(record)]
    return sorted({int(each[name]) for each in settings if name in each})


def of_benchmarks(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each benchmark, in order."""
    for name, rows in frame.groupby("benchmark", sort=True):
        yield str(name), rows


def of_strategies(frame: pd.DataFrame) -> Iterator[tuple[Key, pd.DataFrame]]:
    """The rows of each strategy of one benchmark, in order, those that compete first."""
    for bound, competitors in frame.groupby("upper_bound", sort=True):
        for (strategy, settings), rows in competitors.groupby(["strategy", "settings"], sort=True):
            yield (bool(bound), str(strategy), str(settings)), rows


def title_of(key: Key) -> str:
    """A strategy as figures know its look."""
    return " ".join(key[1:]).strip()
