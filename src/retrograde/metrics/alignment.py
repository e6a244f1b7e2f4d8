"""The alignment of gradients: cosines between tasks, and frames of them and of the account."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from retrograde.metrics.frames import (
    COLUMNS,
    REPLICATE,
    Key,
    Label,
    cached_per_report,
    ordered,
    replicate_of,
    score_frame,
)
from retrograde.metrics.intervals import rank_correlation
from retrograde.metrics.matched import at_level, common_level, spanned
from retrograde.metrics.repeated_measures import Within, repeated_measures
from retrograde.records.account import Account
from retrograde.records.cell import CellSpec
from retrograde.records.gradient_probe import GradientProbe
from retrograde.records.record import Record

CEILING = 0.2
"""Minimum cosine between a task's gradients on two halves of its examples (its ceiling).

Below it, the cosines between the task and others are NaN.
"""
NEXT_TASK_MEASURES = ("next_task_cosine", "transfer", "conflict_rate")
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
ACCOUNT_COLUMNS = (
    "task",
    *SUMS,
    "missed",
    "changed",
    "alignment",
    "gradient",
    "drop",
    *NEXT_TASK_MEASURES,
)
MATCHED = ("observed", "alignment", "gradient", "path")
"""Numbers that are compared at a matched old loss."""
_NAN = float("nan")


def cosines(
    probe: GradientProbe,
    products: Float[np.ndarray, "task task"] | None = None,
) -> Float[np.ndarray, "task task"]:
    """The cosines between the gradients of tasks, without a bias from sampling noise.

    They are NaN where a task's ceiling is below `CEILING`.

    Args:
        probe: The probe.
        products: The inner products of gradients, such as those of one layer; None: of all
            parameters.
    """
    if products is None:
        products = probe.products
    # The product of two halves can be negative by noise; such a gradient has no length.
    above = np.array(probe.ceiling) >= CEILING
    squares = np.where(above, products.diagonal(), np.nan)
    lengths = np.sqrt(np.where(squares > 0, squares, np.nan))
    values = products / np.outer(lengths, lengths)
    return np.asarray(values.clip(-1, 1))


def mean_pairwise_cosine(probe: GradientProbe) -> float:
    """The mean cosine over pairs of the tasks so far.

    Pairs without a cosine are left out; the mean is NaN if no pair has one.
    """
    seen = probe.task + 1
    return _mean_pair(cosines(probe)[:seen, :seen])


def next_task_cosine(probe: GradientProbe) -> float:
    """The cosine between the last task's gradient and the mean gradient of the earlier tasks.

    The last task is the last one probed. The cosine is NaN if the ceiling of the last task, or
    that of the mean, is below `CEILING`.
    """
    products = probe.products
    mean = products[:-1, :-1].mean()
    last = products[-1, -1]
    ceiling = min(probe.ceiling[-1], _ceiling_of_mean(probe))
    if ceiling < CEILING or min(mean, last) <= 0:
        return _NAN
    cosine = transfer(probe) / np.sqrt(mean * last)
    return float(np.clip(cosine, -1, 1))


def _ceiling_of_mean(probe: GradientProbe) -> float:
    """The cosine between the mean gradients of the earlier tasks on the two halves.

    The noise of different tasks is independent. Therefore the squared length of the mean
    gradient on one half differs from the product of both halves only by the noise of each task
    with itself. A task's inner product with itself, divided by its ceiling, is the squared
    length of its gradient on one half.
    """
    between = probe.products[:-1, :-1]
    ceiling = np.array(probe.ceiling[:-1])
    across_halves = between.diagonal()
    divisor = np.where(ceiling != 0, ceiling, 1)
    on_one_half = np.where(ceiling != 0, across_halves / divisor, 0.0)
    square = between.sum() + (on_one_half - across_halves).sum()
    return float(between.sum() / square) if square > 0 else 0.0


def transfer(probe: GradientProbe) -> float:
    """The inner product of the last task's gradient with the mean gradient of the earlier ones.

    The last task is the last one probed.
    """
    return float(probe.products[-1, :-1].mean())


def conflict_rate(probe: GradientProbe) -> float:
    """The share of earlier tasks with gradients that conflict with the last task probed.

    Two gradients conflict if their inner product is negative.
    """
    with_last = probe.products[-1, :-1]
    return float((with_last < 0).mean())


@cached_per_report
def account_frame(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> pd.DataFrame:
    """The account of each task trained after the first: `REPLICATE`, then `ACCOUNT_COLUMNS`.

    A row has means over the earlier tasks, and the gradient probe at the end of the task before.
    It leaves out replicates that are not done, and those whose account breaks off because a loss or
    a gradient was not finite.

    - task: the task trained, from 0.
    - old_loss: the loss of the earlier tasks where training begins.
    - observed: the change of this loss.
    - slope, curvature: the two parts of interference.
    - interference, remainder: the two parts of observed.
    - path: the length of the path of the parameters.
    - missed, changed: sums over the earlier tasks of the sizes of remainder and observed change.
    - alignment: -interference / exposure.
    - gradient: exposure / path.
    - drop: the fall of the earlier tasks' test accuracy or, in regression, the rise of their mean
      squared error.
    - next_task_cosine, transfer, conflict_rate: as in the functions above, at the end of the task
      before.
    """
    rows = [
        (*replicate_of(record, label), *row)
        for record in ordered(records)
        if complete(record)
        for row in _account_rows(record)
    ]
    return pd.DataFrame(rows, columns=[*REPLICATE, *ACCOUNT_COLUMNS])


def complete(record: Record) -> bool:
    """True if a record is done and has an account of every task after the first."""
    if record.status != "done":
        return False
    tasks = [account.task for account in record.accounts]
    expected = [*range(1, len(record.test_examples))]
    return bool(tasks) and tasks == expected


def _account_rows(record: Record) -> Iterator[tuple[float, ...]]:
    """The values of the columns `ACCOUNT_COLUMNS`, for each account of a record."""
    ends = {probe.task: probe for probe in record.gradients if probe.has_next_task}
    quality = record.R if record.MSE is None else -record.MSE
    for account in record.accounts:
        task = account.task
        # row 0 of the matrix comes before training, so row `task` is the end of the task before
        drop = (quality[task, :task] - quality[task + 1, :task]).mean()
        next_task = _next_task_measures(ends.get(task - 1))
        yield (task, *_numbers(account), float(drop), *next_task)


def _numbers(account: Account) -> tuple[float, ...]:
    """The values of the columns `ACCOUNT_COLUMNS` from old_loss to gradient."""
    interference = float(account.interference.mean())
    exposure = float(np.mean(account.exposure))
    return (
        float(np.mean(account.before)),
        float(np.mean(account.observed)),
        float(np.mean(account.slope)),
        float(np.mean(account.curvature)),
        interference,
        float(account.remainder.mean()),
        exposure,
        account.length,
        float(abs(account.remainder).sum()),
        float(abs(account.observed).sum()),
        _ratio(-interference, exposure),
        _ratio(exposure, account.length),
    )


def _next_task_measures(end: GradientProbe | None) -> tuple[float, ...]:
    """The measures `NEXT_TASK_MEASURES` of a probe; NaN without one."""
    # a probe is optional at the end of a task
    if not end:
        return (_NAN,) * len(NEXT_TASK_MEASURES)
    return (next_task_cosine(end), transfer(end), conflict_rate(end))


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else _NAN


@cached_per_report
def replicate_accounts(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> pd.DataFrame:
    """One row for each replicate that has an account.

    The columns are `REPLICATE`, `SUMS`, explained, alignment, gradient and forgetting. Numbers are
    means over the tasks trained, from `account_frame`.

    - alignment, gradient: ratios of these means, so that
      interference = -alignment * gradient * path.
    - explained: 1 - sum |remainder| / sum |observed|, over all pairs of an earlier task and one
      trained. Errors of opposite signs do not make up for one another.
    """
    # ratios of means multiply to the mean interference; means of ratios do not
    replicates = account_frame(records, label).groupby(list(REPLICATE), sort=True)
    frame = replicates[list(SUMS)].mean()
    totals = replicates[["missed", "changed"]].sum()
    frame["explained"] = 1 - totals.missed / totals.changed.where(totals.changed > 0)
    frame["alignment"] = -frame.interference / frame.exposure.where(frame.exposure > 0)
    frame["gradient"] = frame.exposure / frame.path.where(frame.path > 0)
    scores = score_frame(records, label)
    forgetting = scores[scores.metric == "forgetting"].set_index(list(REPLICATE))
    frame["forgetting"] = forgetting.value.reindex(frame.index)
    return frame.reset_index()


def matched_level(accounts: pd.DataFrame) -> float:
    """The old loss at which the strategies of one benchmark are compared; NaN if there is none.

    Args:
        accounts: rows of `account_frame`.
    """
    ranges = {}
    for key, of_strategy in of_strategies(accounts):
        runs = of_strategy.groupby("seed", sort=True)
        spans = [spanned(run.old_loss.to_numpy(float)) for _, run in runs]
        ranges[title_of(key)] = [span for span in spans if span]
    return common_level(ranges)


def matched_frame(accounts: pd.DataFrame, level: float) -> pd.DataFrame:
    """The cost of a task to each replicate at one old loss: `COLUMNS`, for the metrics `MATCHED`.

    Each value is read off the line through the replicate's tasks, fitted by least squares. It is
    NaN where the replicate does not reach the level.
    """
    rows: list[tuple[Any, ...]] = []
    for replicate, run in accounts.groupby(list(REPLICATE), sort=True):
        old_loss = run.old_loss.to_numpy(float)
        for metric in MATCHED:
            value = at_level(old_loss, run[metric].to_numpy(float), level)
            rows.append((*replicate, metric, value))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def within_runs(accounts: pd.DataFrame, x: str, y: str, given: Sequence[str] = ()) -> Within:
    """The correlation of two columns of `account_frame` within runs; a run is one replicate.

    Args:
        accounts: rows of `account_frame`.
        x: one column.
        y: the other column.
        given: columns whose influence is removed from both.
    """
    if accounts.empty:
        return repeated_measures(np.empty(0), np.empty(0), np.empty(0, int), np.empty(0, int))
    run = accounts.groupby(list(REPLICATE), sort=True).ngroup()
    return repeated_measures(
        accounts[x].to_numpy(float),
        accounts[y].to_numpy(float),
        run.to_numpy(int),
        accounts.seed.to_numpy(int),
        accounts[list(given)].to_numpy(float),
    )


def between_methods(accounts: pd.DataFrame, x: str, y: str) -> tuple[float, int]:
    """Spearman's rank correlation over the means of strategies, and the number of strategies.

    It has no p-value: strategies share code and memory, so they are no independent sample.
    """
    strategies = accounts.groupby(["strategy", "settings"], sort=True)
    means = strategies[[x, y]].mean().dropna()
    correlation = rank_correlation(means[x].to_numpy(float), means[y].to_numpy(float))
    return correlation.rho, correlation.n


def alignment_frame(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> pd.DataFrame:
    """The alignment of gradients at each task's end: `REPLICATE`, trained, metric, value.

    A value is NaN where noise hides it.

    - trained: the number of tasks trained so far.
    - next_task_cosine: the cosine between the next task's gradient and the mean gradient of the
      tasks so far.
    - conflict_rate: the share of the tasks so far whose gradient has a negative inner product with
      the next task's.
    - mean_pairwise_cosine: the mean cosine over pairs of the tasks so far.
    - ceiling: the cosine between the gradients on two halves of a task's examples, mean over the
      tasks so far.
    - ceiling_next: the same, of the next task.
    """
    rows = [
        (*replicate_of(record, label), probe.task + 1, metric, value)
        for record in ordered(records)
        if record.status == "done"
        for probe in record.gradients
        for metric, value in _alignments(probe).items()
    ]
    return pd.DataFrame(rows, columns=[*REPLICATE, "trained", "metric", "value"])


def _alignments(probe: GradientProbe) -> dict[str, float]:
    """The metrics of `alignment_frame` that a probe has."""
    so_far = probe.ceiling[: probe.task + 1]
    values = {"ceiling": float(np.mean(so_far))}
    if probe.has_next_task:
        values["next_task_cosine"] = next_task_cosine(probe)
        values["conflict_rate"] = conflict_rate(probe)
        values["ceiling_next"] = probe.ceiling[-1]
    # after the first task there is no pair yet
    if probe.task:
        values["mean_pairwise_cosine"] = mean_pairwise_cosine(probe)
    return values


def replicate_alignment(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> pd.DataFrame:
    """One number for each probed replicate and metric of `alignment_frame`: `COLUMNS`.

    A number is the mean over the task ends that have one, NaN if none has; mean_pairwise_cosine and
    ceiling are those at the end of the stream.
    """
    frame = alignment_frame(records, label)
    groups = [*REPLICATE, "metric"]
    of_last = frame[frame.metric.isin(["mean_pairwise_cosine", "ceiling"])]
    at_last = of_last.drop_duplicates(groups, keep="last")
    of_means = frame[frame.metric.isin(["next_task_cosine", "conflict_rate", "ceiling_next"])]
    both = pd.concat([of_means, at_last]) if len(frame) else frame
    means = both.groupby(groups, sort=True).value.mean()
    return means.reset_index()[list(COLUMNS)]


def layer_frame(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> pd.DataFrame:
    """The mean cosine over pairs of tasks at the end of the stream, by layer.

    The columns are `COLUMNS`; metric is the name of the layer.
    """
    rows = [
        (*replicate_of(record, label), layer, cosine)
        for record in ordered(records)
        if record.status == "done"
        for probe in record.gradients
        for layer, cosine in _layer_cosines(probe)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _layer_cosines(probe: GradientProbe) -> Iterator[tuple[str, float]]:
    """The mean cosine over pairs of tasks of each layer; none where the probe has one task."""
    if len(probe.loss) < 2:
        return
    for layer in probe.layers:
        yield layer, _mean_pair(cosines(probe, probe.layer_products(layer)))


def _mean_pair(cosines: np.ndarray) -> float:
    """The mean of the finite entries below the diagonal; NaN if there is none."""
    below = cosines[np.tril_indices(len(cosines), -1)]
    known = below[np.isfinite(below)]
    return float(known.mean()) if len(known) else _NAN


def examples(records: Sequence[Record]) -> str:
    """The largest number of test examples of each task that gradients are measured on, in words."""
    numbers = _settings(
        records, "probe_examples", lambda record: bool(record.gradients or record.accounts)
    )
    if not numbers:
        return "test examples"
    counts = " or ".join(map(str, numbers))
    return f"up to {counts} test examples"


def windows(records: Sequence[Record]) -> str:
    """The length of the windows of the accounts, in words."""
    numbers = _settings(records, "probe_every", lambda record: bool(record.accounts))
    if not numbers:
        return "windows of unknown length"
    lengths = " or ".join(map(_window, numbers))
    return f"windows of {lengths}"


def _window(steps: int) -> str:
    """The length of one window in words; 0 stands for a whole task."""
    if not steps:
        return "a whole task"
    return f"{steps} steps" if steps > 1 else f"{steps} step"


def _settings(records: Sequence[Record], name: str, used: Callable[[Record], bool]) -> list[int]:
    """The distinct values of a benchmark's setting among the records that use it, in order."""
    benchmarks = [record.cell.benchmark for record in records if used(record)]
    values = {int(each.settings[name]) for each in benchmarks if name in each.settings}
    return sorted(values)


def of_benchmarks(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each benchmark, in order."""
    for name, rows in frame.groupby("benchmark", sort=True):
        yield str(name), rows


def of_strategies(frame: pd.DataFrame) -> Iterator[tuple[Key, pd.DataFrame]]:
    """The rows of each strategy of one benchmark, in order, those that compete first."""
    groups = frame.groupby(["upper_bound", "strategy", "settings"], sort=True)
    for (bound, strategy, settings), rows in groups:
        yield (bool(bound), str(strategy), str(settings)), rows


def title_of(key: Key) -> str:
    """The title of a strategy, by which figures know its look."""
    return " ".join(key[1:]).strip()
