"""The account of forgetting: changes of earlier tasks' losses, and the factors behind them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np
import pandas as pd

from retrograde import CellSpec, Record, TableResult
from retrograde.metrics import (
    COSTS,
    MATCHED,
    NEXT_TASK_MEASURES,
    PARTS,
    BySeed,
    Factors,
    Interval,
    Key,
    Label,
    Within,
    account_frame,
    between_methods,
    by_strategy,
    cell_labels,
    comparisons,
    complete,
    examples,
    matched_frame,
    matched_level,
    of_benchmarks,
    of_column,
    of_strategies,
    over_seeds,
    replicate_accounts,
    t_interval,
    title_of,
    windows,
    within_runs,
)
from retrograde.reporting import NOTHING, Entry, Section, Table, outcomes_of, row_title

PERCENT = ("forgetting", "explained")
COLUMNS = {
    "forgetting": "forgetting %",
    "observed": "observed",
    "slope": "slope",
    "curvature": "curvature",
    "remainder": "remainder",
    "explained": "explained %",
    "exposure": "exposure",
    "alignment": "alignment",
    "gradient": "gradient",
    "path": "path",
}
READ_OFF = {"observed": "cost", "alignment": "alignment", "gradient": "gradient", "path": "path"}
GIVEN = ("old_loss", "task")
QUESTIONS = {
    "loss": ("observed", ()),
    "loss, given old loss and task number": ("observed", GIVEN),
    "test accuracy": ("drop", ()),
    "test accuracy, given old loss and task number": ("drop", GIVEN),
}
COMPARED = (
    "strategy",
    "interference",
    "-alignment",
    "gradient",
    "path",
    "difference",
    "by alignment",
    "by gradient",
    "by path",
    "n",
)
NO_RATIO = Entry("n/a")


@dataclass(frozen=True)
class AccountTable(TableResult):
    """Changes of earlier tasks' losses: slope, curvature, exposure and alignment along the path.

    Further sections compare each strategy with a reference, compare all strategies at the same old
    loss, and correlate alignment with cost within runs.
    """

    regression: ClassVar[bool] = True

    def table(self, records: Sequence[Record]) -> Table:
        label = cell_labels(records)
        replicates = replicate_accounts(records, label)
        accounts = account_frame(records, label)
        by_benchmark = defaultdict(list)
        for record in records:
            by_benchmark[label[record.cell].benchmark].append(record)
        competitors = _competitors(accounts)
        sections: list[Section] = []
        for name, group in of_benchmarks(replicates):
            rivals = competitors[competitors.benchmark == name]
            sections.append(_account(group, by_benchmark[name], label))
            sections += _compared(group)
            sections += _matched(rivals)
            sections += _within(rivals)
        notes = (*NOTES, _REGRESSION) if _errors(records) else NOTES
        return Table("Account", notes, tuple(sections), _tidy(replicates, accounts))


def _errors(records: Sequence[Record]) -> bool:
    return any(record.squared_errors for record in records)


_REGRESSION = (
    "Of benchmarks with mean squared errors, loss and gradients are of the squared error, and "
    "'test accuracy' stands for minus that error."
)
NOTES = (
    "Mean over n replicates ± half of the 95 % t-interval, of each replicate's mean over the "
    "tasks trained (all but the first) of the mean over the tasks before: the effect of training "
    "one task on the loss of an earlier one. Loss and gradients are of the cross-entropy of the "
    "model's outputs, on the same test examples of a task throughout, as many as the heading "
    "says. Replicates whose losses or gradients were not finite have no account. †: upper bounds; "
    "if they start each task with new weights, the path leads from the old weights to the new.",
    "observed: the change of an earlier task's loss; above 0 it is forgotten. It is the sum of "
    "slope (the gradient where a window begins, along the displacement over it; below 0 where "
    "steps go down that task's loss), curvature (the change of that gradient within the window, "
    "along the displacement, by Simpson's rule; above 0 where steps overshoot or climb out of a "
    "minimum) and remainder (the rest, which grows with the length of windows). Interference is "
    "slope and curvature together. explained: 1 - sum |remainder| / sum |observed| over all pairs "
    "of an earlier task and one trained; below 0 it explains nothing.",
    "Interference = -alignment × gradient × path. path: the length of the path of the parameters "
    "over one task. gradient: the mean length of an earlier task's gradient along it. exposure: "
    "gradient × path, an estimate of the most that the loss could change. alignment: "
    "-interference / exposure; 1 where every step goes straight down the earlier tasks' losses, 0 "
    "across them, below 0 up. Models that keep running statistics have no account, for these move "
    "the loss as well. A window covers as many incoming examples for every strategy, whatever its "
    "steps. Exposure, path, and with them alignment and the split into slope and curvature, "
    "depend on the length of the windows: compare within a benchmark only.",
    "Why one forgets less than another: each strategy against the reference, seed by seed. Ratios "
    "are geometric means with the t-interval of their logarithm, n/a where a side is not positive "
    "on every seed (one whose earlier tasks still improve has no positive interference). The "
    "difference of interference is in loss per task trained, followed by the share of each factor: "
    "the change from exchanging that factor alone changes, averaged over the orders of "
    "exchange (Shapley 1953). These add up to the difference; below 0 the strategy interferes "
    "less than the reference for that reason.",
    "At matched old loss: a strategy that has forgotten much has large gradients and little left "
    "to lose, so that strategies are compared where the loss of earlier tasks is the same when a "
    "task begins. For each replicate a line is fitted by least squares through its tasks, old "
    "loss against cost (the observed change while the task is trained), alignment, gradient or "
    "path, and read off at the old loss in the heading: the middle of the widest piece that the "
    "most strategies, and then the most replicates, reach. n is of the replicates that reach it. "
    "Left out where no two strategies share an old loss.",
    "Within runs: how closely alignment at a task's end goes with what the next task costs the "
    "earlier ones, as a repeated-measures correlation (Bakdash and Marusich 2017): each run is "
    "centred, and all runs share one slope. next_task_cosine: the cosine between the next task's "
    "gradient and the mean gradient of the tasks so far; transfer: their inner product; "
    "conflict_rate: the share of these tasks whose gradient has a negative inner product with the "
    "next one's. The interval and p come from a t-test over seeds on Fisher's z of each seed's "
    "own correlation, from three seeds on; nothing is corrected for many comparisons. Given old "
    "loss and task number, both sides are the residuals of a regression on these within each run. "
    "Runs whose costs vary most weigh most. Below 0, alignment goes with a lower cost (of "
    "conflict_rate: above 0). points: task ends that have both numbers; the cosine has none where "
    "noise hides it, so that its points are a selection, and transfer and conflict_rate have all. "
    "'negative' counts runs by their own correlation. Between methods: Spearman's correlation "
    "over the means of strategies, without a p, for they are few and related.",
)


def _competitors(accounts: pd.DataFrame) -> pd.DataFrame:
    # a frame without rows has a column of objects, which ~ cannot negate
    return accounts[~accounts.upper_bound.astype(bool)]


def _account(
    frame: pd.DataFrame, records: Sequence[Record], label: dict[CellSpec, Label]
) -> Section:
    columns = {**COLUMNS}
    if _errors(records):
        del columns["forgetting"]
    values = {metric: of_column(frame, metric) for metric in columns}
    entries = _number_rows(values, PERCENT)
    counted = _counted(records, label)
    rows = []
    for key, outcome in outcomes_of(records, label).items():
        numbers = [entries[metric].get(key, NOTHING) for metric in columns]
        n = Entry(_of(counted.get(key, 0), outcome))
        rows.append((Entry(row_title(key)), *numbers, n))
    benchmark = label[records[0].cell].benchmark
    heading = f"{benchmark} — {windows(records)}, {examples(records)} of each task"
    return Section(heading, ("strategy", *columns.values(), "n"), tuple(rows))


def _counted(records: Sequence[Record], label: dict[CellSpec, Label]) -> dict[Key, int]:
    """The number of replicates of each strategy that have a complete account."""
    counts: defaultdict[Key, int] = defaultdict(int)
    for record in records:
        _, strategy, settings = label[record.cell]
        counts[record.upper_bound, strategy, settings] += complete(record)
    return dict(counts)


def _of(counted: int, outcome: str) -> str:
    """The number of replicates that have an account, and the outcome of all where it differs."""
    return outcome if outcome.split(maxsplit=1)[0] == str(counted) else f"{counted} of {outcome}"


def _number_rows(
    values: dict[str, dict[Key, BySeed]], percent: Sequence[str] = ()
) -> dict[str, dict[Key, Entry]]:
    """Means with their intervals, by metric and strategy.

    Args:
        values: Values of each metric, by strategy and seed.
        percent: Metrics shown in percent with two decimals. Any other metric has as many decimals
            as its median needs.
    """
    rows = {}
    for metric, of_strategy in values.items():
        spans = {key: over_seeds(by_seed) for key, by_seed in of_strategy.items()}
        if metric in percent:
            factor = 100
            places = 2
        else:
            factor = 1
            places = _places([span.mean for span in spans.values()])
        texts = {key: _plus_minus(span, places, factor) for key, span in spans.items()}
        rows[metric] = {key: Entry(text) for key, text in texts.items()}
    return rows


def _places(numbers: Sequence[float]) -> int:
    """The number of decimals that shows three digits of the median size."""
    # a difference is NaN where two strategies share no seed
    sizes = [abs(number) for number in numbers if number and np.isfinite(number)]
    size = float(np.median(sizes)) if sizes else 1.0
    digits = 2 - np.floor(np.log10(size))
    return int(np.clip(digits, 0, 4))


def _plus_minus(span: Interval, places: int, factor: int = 1) -> str:
    half = span.mean - span.low
    text = _fixed(factor * span.mean, places)
    return f"{text} ± {_fixed(factor * half, places)}" if span.n > 1 else text


def _fixed(value: float, places: int) -> str:
    # a strategy that almost diverged has numbers too long for a column
    if abs(value) >= 1e6:
        return f"{value:.2g}"
    # adding 0 turns -0.0 into 0.0
    return f"{round(value, places) + 0.0:.{places}f}"


# Why one forgets less than another


def _compared(replicates: pd.DataFrame) -> Iterator[Section]:
    against_reference = comparisons(replicates)
    if not against_reference:
        return
    differences = [span for c in against_reference for span in c.found.differences]
    places = _places([span.mean for span in differences])
    rows = []
    for comparison in against_reference:
        title = Entry(row_title(comparison.key))
        ratios = _ratios(comparison.found)
        shares = _differences(comparison.found, places)
        rows.append((title, *ratios, *shares, Entry(str(comparison.seeds))))
    benchmark = replicates.benchmark.iloc[0]
    reference = row_title(against_reference[0].reference)
    heading = f"{benchmark} — why one forgets less than another: against {reference}"
    yield Section(heading, COMPARED, tuple(rows))


def _ratios(factors: Factors) -> Iterator[Entry]:
    for span in factors.ratios:
        yield NO_RATIO if np.isnan(span.mean) else Entry(_times(span))


def _differences(factors: Factors, places: int) -> Iterator[Entry]:
    for span in factors.differences:
        yield NO_RATIO if np.isnan(span.mean) else Entry(_plus_minus(span, places))


def _times(span: Interval) -> str:
    text = f"× {span.mean:.3g}"
    return f"{text} [{span.low:.3g}, {span.high:.3g}]" if span.n > 1 else text


# At matched old loss


def _matched(accounts: pd.DataFrame) -> Iterator[Section]:
    level = matched_level(accounts)
    frame = matched_frame(accounts, level)
    known = frame[frame.value.notna()]
    values = {metric: by_strategy(known[known.metric == metric]) for metric in MATCHED}
    if len(values["observed"]) < 2:
        return
    everyone = by_strategy(frame[frame.metric == "observed"])
    entries = _number_rows(values)
    rows = []
    for key, replicates in everyone.items():
        numbers = [entries[metric].get(key, NO_RATIO) for metric in READ_OFF]
        n = Entry(_reached(values, key, replicates))
        rows.append((Entry(row_title(key)), *numbers, n))
    heading = f"{accounts.benchmark.iloc[0]} — at matched old loss {level:.4g}"
    yield Section(heading, ("strategy", *READ_OFF.values(), "n"), tuple(rows))


def _reached(values: dict[str, dict[Key, BySeed]], key: Key, everyone: BySeed) -> str:
    reached = len(values["observed"].get(key, {}))
    return str(reached) if reached == len(everyone) else f"{reached} of {len(everyone)}"


# Within runs


def _within(accounts: pd.DataFrame) -> Iterator[Section]:
    """The correlations with the loss of each strategy, then those of all strategies with all costs.

    Nothing is yielded if no run has a correlation.
    """
    rows = []
    for key, cell in of_strategies(accounts):
        correlations = [_related(within_runs(cell, x, "observed")) for x in NEXT_TASK_MEASURES]
        rows.append(_texts(title_of(key), *correlations, _runs(cell)))
    if all(entry == NO_RATIO for row in rows for entry in row[1:-1]):
        return
    heading = f"{accounts.benchmark.iloc[0]} — within runs"
    of_each = f"{heading}: alignment at a task's end and the cost of the next one in loss"
    yield Section(of_each, ("strategy", *NEXT_TASK_MEASURES, "n"), tuple(rows))
    overall = [_question(accounts, cost, y, given) for cost, (y, given) in QUESTIONS.items()]
    for cost, y in zip(("loss", "test accuracy"), COSTS, strict=True):
        overall.append(_between(accounts, y, cost))
    yield Section(
        f"{heading}: all strategies together", ("cost", *NEXT_TASK_MEASURES, "n"), tuple(overall)
    )


def _texts(*texts: str) -> tuple[Entry, ...]:
    return tuple(map(Entry, texts))


def _question(accounts: pd.DataFrame, cost: str, y: str, given: Sequence[str]) -> tuple[Entry, ...]:
    correlations = [within_runs(accounts, x, y, given) for x in NEXT_TASK_MEASURES]
    texts = [_related(correlation, count=True) for correlation in correlations]
    return _texts(cost, *texts, _runs(accounts))


def _between(accounts: pd.DataFrame, y: str, cost: str) -> tuple[Entry, ...]:
    correlations = [between_methods(accounts, x, y) for x in NEXT_TASK_MEASURES]
    texts = [NO_RATIO.text if np.isnan(rho) else _two(rho) for rho, _ in correlations]
    methods = max(n for _, n in correlations)
    return _texts(f"{cost}, between methods", *texts, f"{methods} methods")


def _runs(accounts: pd.DataFrame) -> str:
    """The number of runs, and of seeds if several runs share one."""
    runs = accounts.drop_duplicates(["strategy", "settings", "seed"])
    seeds = runs.seed.nunique()
    return f"{len(runs)} runs of {seeds} seeds" if len(runs) > seeds else str(len(runs))


def _related(correlation: Within, count: bool = False) -> str:
    """A correlation in words; `count` adds the number of runs with a negative one."""
    if np.isnan(correlation.r):
        return NO_RATIO.text
    text = _two(correlation.r)
    if not np.isnan(correlation.low):
        bounds = f"[{_two(correlation.low)}, {_two(correlation.high)}]"
        text += f" {bounds}, {correlation.significance}"
    text += f", {correlation.points} points"
    if count and correlation.runs:
        text += f", negative in {correlation.negative} of {correlation.runs}"
    return text


def _two(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"


# The numbers for programs


def _tidy(replicates: pd.DataFrame, accounts: pd.DataFrame) -> pd.DataFrame:
    """All numbers of the sections; those of all strategies of a benchmark name no strategy."""
    competitors = _competitors(accounts)
    rows: list[tuple[object, ...]] = []
    for name, group in of_benchmarks(replicates):
        rivals = competitors[competitors.benchmark == name]
        rows += _tidy_account(name, group)
        rows += _tidy_comparisons(name, group)
        rows += _tidy_matched(name, rivals)
        rows += _tidy_within(name, rivals)
        rows += _tidy_between(name, rivals)
    columns = ["benchmark", "strategy", "settings", "metric", "mean", "ci_low", "ci_high", "n", "p"]
    # nullable integers: the matched level has no n
    return pd.DataFrame(rows, columns=columns).astype({"n": "Int64"})


def _tidy_account(name: str, group: pd.DataFrame) -> Iterator[tuple[object, ...]]:
    metrics = (*COLUMNS, "interference", "old_loss")
    for key, cell in group.groupby(["strategy", "settings"], sort=True):
        for metric in metrics:
            values = cell[metric].dropna().to_numpy(float)
            if len(values):
                yield (name, *key, metric, *t_interval(values), None)


def _tidy_comparisons(name: str, group: pd.DataFrame) -> Iterator[tuple[object, ...]]:
    for comparison in comparisons(group):
        strategy = comparison.key[1:]
        for metric, span in _named_factors(comparison.found):
            if not np.isnan(span.mean):
                yield (name, *strategy, metric, *span, None)


def _named_factors(factors: Factors) -> Iterator[tuple[str, Interval]]:
    words = ("interference", f"minus_{PARTS[0]}", *PARTS[1:])
    for word, span in zip(words, factors.ratios, strict=True):
        yield f"ratio_{word}", span
    for word, span in zip(words, factors.differences, strict=True):
        yield f"difference_{word}", span
    # the product itself has no share: it is what the factors share
    for word, span in zip(words[1:], factors.shares, strict=True):
        yield f"log_share_{word}", span


def _tidy_matched(name: str, accounts: pd.DataFrame) -> Iterator[tuple[object, ...]]:
    level = matched_level(accounts)
    known = matched_frame(accounts, level).dropna(subset=["value"])
    if known.groupby(["strategy", "settings"]).ngroups < 2:
        return
    yield (name, "", "", "matched_old_loss", level, None, None, None, None)
    for key, cell in known.groupby(["strategy", "settings", "metric"], sort=True):
        *strategy, metric = key
        span = t_interval(cell.value.to_numpy(float))
        yield (name, *strategy, f"matched_{metric}", *span, None)


def _tidy_within(name: str, accounts: pd.DataFrame) -> Iterator[tuple[object, ...]]:
    by_name = accounts.groupby(["strategy", "settings"], sort=True)
    # without a name: all strategies together
    cells = {("", ""): accounts} | dict(iter(by_name))
    conditions = {"": (), "_given_old_loss_and_task": GIVEN}
    for key, cell in cells.items():
        for x, y, suffix in product(NEXT_TASK_MEASURES, COSTS, conditions):
            correlation = within_runs(cell, x, y, conditions[suffix])
            if not np.isnan(correlation.r):
                metric = f"within_{x}_{y}{suffix}"
                bounds = (correlation.low, correlation.high)
                numbers = (correlation.r, *bounds, correlation.seeds, correlation.p)
                yield (name, *key, metric, *numbers)


def _tidy_between(name: str, accounts: pd.DataFrame) -> Iterator[tuple[object, ...]]:
    for x, y in product(NEXT_TASK_MEASURES, COSTS):
        rho, n = between_methods(accounts, x, y)
        if not np.isnan(rho):
            yield (name, "", "", f"between_methods_{x}_{y}", rho, None, None, n, None)
