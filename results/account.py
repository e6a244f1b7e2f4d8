"""The account of forgetting: why earlier tasks' losses changed, and why one strategy forgets less than another."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from retrograde import Cell, Record, Result
from retrograde.metrics import (
    AHEAD,
    COSTS,
    MATCHED,
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
    comparisons,
    complete,
    examples,
    labels,
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
UNTOLD = Entry("n/a")


@dataclass(frozen=True)
class AccountTable(Result):
    """Why earlier tasks' losses change: slope, curvature, exposure and alignment along the path, and what explains whom."""

    def table(self, records: Sequence[Record]) -> Table:
        label = labels(records)
        replicates, accounts = replicate_accounts(records, label), account_frame(records, label)
        by_benchmark = defaultdict(list)
        for record in records:
            by_benchmark[label[record.cell].benchmark].append(record)
        sections: list[Section] = []
        for name, mine in of_benchmarks(replicates):
            competitors = accounts[
                (accounts.benchmark == name) & ~accounts.upper_bound.astype(bool)
            ]
            sections.append(_account(mine, by_benchmark[name], label))
            sections += _compared(mine)
            sections += _matched(competitors)
            sections += _within(competitors)
        return Table("Account", NOTES, tuple(sections), _tidy(replicates, accounts))


NOTES = (
    "Mean over n replicates ± half of the 95 % t-interval, of each replicate's mean over the "
    "tasks trained (all but the first) of the mean over the tasks before: what training one task "
    "does to the loss of an earlier one. Loss and gradients are of the cross-entropy of the "
    "model's outputs, on the same test examples of a task throughout, as many as the heading "
    "says. Replicates whose losses or gradients were not finite have no account. †: upper bounds; "
    "of those that start from fresh weights at each task, the path leads from the old weights to "
    "the new.",
    "observed: the change of an earlier task's loss; above 0 it is forgotten. It is the sum of "
    "slope (the gradient where a window begins, along the displacement over it; below 0 where "
    "steps go down that task's loss), curvature (the change of that gradient within the window, "
    "along the displacement, by Simpson's rule; above 0 where steps overshoot or climb out of a "
    "minimum) and remainder (what windows are too long to see). Interference is slope and "
    "curvature together. explained: 1 - sum |remainder| / sum |observed| over all pairs of an "
    "earlier task and one trained; below 0 it explains nothing.",
    "Interference = -alignment × gradient × path. path: the length of the path of the parameters "
    "over one task. gradient: the mean length of an earlier task's gradient along it. exposure: "
    "gradient × path, an estimate of the most that the loss could change. alignment: "
    "-interference / exposure; 1 where every step goes straight down the earlier tasks' losses, 0 "
    "across them, below 0 up. Models that keep running statistics have no account, for these move "
    "the loss as well. Windows see as many arrivals for every strategy, whatever its pace. "
    "Exposure, path, and with them alignment and the split into slope and curvature, depend on "
    "the length of the windows: compare within a benchmark only.",
    "Why one forgets less than another: each strategy against the reference, seed by seed. Ratios "
    "are geometric means with the t-interval of their logarithm, n/a where a side is not positive "
    "on every seed (one whose earlier tasks still improve has no positive interference). The "
    "difference of interference is in loss per task trained; beside it stands how much of it each "
    "factor makes: what exchanging that factor alone changes, averaged over the orders of "
    "exchange (Shapley 1953). These add up to the difference; below 0 the strategy interferes "
    "less than the reference for that reason.",
    "At matched old loss: a strategy that has forgotten much has large gradients and little left "
    "to lose, so that strategies are compared where the loss of earlier tasks is the same when a "
    "task begins. For each replicate a line is fitted by least squares through its tasks, old "
    "loss against cost (the observed change while the task is trained), alignment, gradient or "
    "path, and read off at the old loss in the heading: the middle of the widest piece that the "
    "most strategies, and then the most replicates, reach. n is of the replicates that reach it. "
    "Left out where no two strategies share an old loss.",
    "Within runs: how far alignment at a task's end goes with what the next task costs the "
    "earlier ones, as a repeated-measures correlation (Bakdash and Marusich 2017): each run is "
    "centred, and all runs share one slope. arriving: the cosine between the next task's gradient "
    "and the mean gradient of the tasks so far; transfer: their inner product; conflict: the "
    "share of these tasks whose gradient has a negative inner product with the next one's. The "
    "interval and p come from a t-test over seeds on Fisher's z of each seed's own correlation, "
    "from three seeds on; nothing is corrected for many comparisons. Given old loss and task "
    "number, both sides are the residuals of a regression on these within each run. Runs whose "
    "costs vary most weigh most. Below 0, alignment goes with a lower cost (of conflict: above "
    "0). points: task ends that have both numbers; arriving has none where noise hides it, so "
    "that its points are a selection, and transfer and conflict have all. 'negative' counts runs "
    "by their own correlation. Between methods: Spearman's correlation over the means of "
    "strategies, without a p, for they are few and related.",
)


def _account(frame: pd.DataFrame, here: Sequence[Record], label: dict[Cell, Label]) -> Section:
    values = {metric: of_column(frame, metric) for metric in COLUMNS}
    rows = _number_rows(values, PERCENT)
    titles = outcomes_of(here, label)
    counted = _counted(here, label)
    shown = [
        (
            Entry(row_title(key)),
            *(rows[metric].get(key, NOTHING) for metric in COLUMNS),
            Entry(_of(counted.get(key, 0), n)),
        )
        for key, n in titles.items()
    ]
    heading = f"{label[here[0].cell].benchmark} — {windows(here)}, {examples(here)} of each task"
    return Section(heading, ("strategy", *COLUMNS.values(), "n"), tuple(shown))


def _counted(records: Sequence[Record], label: dict[Cell, Label]) -> dict[Key, int]:
    """By strategy, how many replicates have a whole account."""
    found: defaultdict[Key, int] = defaultdict(int)
    for record in records:
        found[record.upper_bound, label[record.cell].strategy, label[record.cell].settings] += (
            complete(record)
        )
    return dict(found)


def _of(counted: int, outcome: str) -> str:
    """The number of replicates that have an account, and how all of them ended where that says more."""
    return outcome if outcome.split(maxsplit=1)[0] == str(counted) else f"{counted} of {outcome}"


def _number_rows(
    values: dict[str, dict[Key, BySeed]], percent: Sequence[str] = ()
) -> dict[str, dict[Key, Entry]]:
    """Numbers with their intervals; a column has as many decimals as its middle number needs."""
    found = {}
    for metric, of_strategy in values.items():
        spans = {key: over_seeds(mine) for key, mine in of_strategy.items()}
        places = 2 if metric in percent else _places([span.mean for span in spans.values()])
        factor = 100 if metric in percent else 1
        found[metric] = {
            key: Entry(_plus_minus(span, places, factor)) for key, span in spans.items()
        }
    return found


def _places(numbers: Sequence[float]) -> int:
    """The decimals that show three digits of the middle number."""
    sizes = [
        abs(number) for number in numbers if number and np.isfinite(number)
    ]  # unknown without shared seeds
    size = float(np.median(sizes)) if sizes else 1.0
    return int(np.clip(2 - np.floor(np.log10(size)), 0, 4))


def _plus_minus(span: Interval, places: int, factor: int = 1) -> str:
    half = span.mean - span.low
    text = _fixed(factor * span.mean, places)
    return f"{text} ± {_fixed(factor * half, places)}" if span.n > 1 else text


def _fixed(value: float, places: int) -> str:
    if abs(value) >= 1e6:  # of a strategy that all but diverged
        return f"{value:.2g}"
    return f"{round(value, places) + 0.0:.{places}f}"


# Why one forgets less than another


def _compared(replicates: pd.DataFrame) -> Iterator[Section]:
    found = comparisons(replicates)
    if not found:
        return
    names = ("-alignment", "gradient", "path")
    columns = (
        "strategy",
        "interference",
        *names,
        "difference",
        "by alignment",
        "by gradient",
        "by path",
        "n",
    )
    places = _places([span.mean for each in found for span in each.found.differences])
    rows = tuple(
        (
            Entry(row_title(each.key)),
            *_ratios(each.found),
            *_differences(each.found, places),
            Entry(str(each.seeds)),
        )
        for each in found
    )
    heading = f"{replicates.benchmark.iloc[0]} — why one forgets less than another: against {row_title(found[0].reference)}"
    yield Section(heading, columns, rows)


def _ratios(found: Factors) -> Iterator[Entry]:
    for span in found.ratios:
        yield UNTOLD if np.isnan(span.mean) else Entry(_times(span))


def _differences(found: Factors, places: int) -> Iterator[Entry]:
    for span in found.differences:
        yield UNTOLD if np.isnan(span.mean) else Entry(_plus_minus(span, places))


def _times(span: Interval) -> str:
    text = f"× {span.mean:.3g}"
    return f"{text} [{span.low:.3g}, {span.high:.3g}]" if span.n > 1 else text


# At matched old loss


def _matched(accounts: pd.DataFrame) -> Iterator[Section]:
    level = matched_level(accounts)
    found = matched_frame(accounts, level)
    values = {
        metric: by_strategy(found[(found.metric == metric) & found.value.notna()])
        for metric in MATCHED
    }
    if len(values["observed"]) < 2:
        return
    everyone = by_strategy(found[found.metric == "observed"])
    entries = _number_rows(values)
    rows = tuple(
        (
            Entry(row_title(key)),
            *(entries[metric].get(key, UNTOLD) for metric in READ_OFF),
            Entry(_reached(values, key, of)),
        )
        for key, of in everyone.items()
    )
    heading = f"{accounts.benchmark.iloc[0]} — at matched old loss {level:.4g}"
    yield Section(heading, ("strategy", *READ_OFF.values(), "n"), rows)


def _reached(values: dict[str, dict[Key, BySeed]], key: Key, everyone: BySeed) -> str:
    reached = len(values["observed"].get(key, {}))
    return str(reached) if reached == len(everyone) else f"{reached} of {len(everyone)}"


# Within runs


def _within(accounts: pd.DataFrame) -> Iterator[Section]:
    """By strategy for the loss; then all strategies together, for all costs. None where no run has a correlation."""
    by_name = {title_of(key): cell for key, cell in of_strategies(accounts)}
    rows = tuple(
        (
            Entry(name),
            *(Entry(_related(within_runs(cell, x, "observed"))) for x in AHEAD),
            Entry(_runs(cell)),
        )
        for name, cell in by_name.items()
    )
    if all(entry == UNTOLD for row in rows for entry in row[1:-1]):
        return
    name = accounts.benchmark.iloc[0]
    columns = ("strategy", *AHEAD, "n")
    yield Section(
        f"{name} — within runs: alignment at a task's end and the cost of the next one in loss",
        columns,
        rows,
    )
    together = [_question(accounts, cost, y, given) for cost, (y, given) in QUESTIONS.items()]
    together += [
        _between(accounts, y, cost)
        for cost, y in zip(("loss", "test accuracy"), COSTS, strict=True)
    ]
    yield Section(
        f"{name} — within runs: all strategies together", ("cost", *AHEAD, "n"), tuple(together)
    )


def _question(accounts: pd.DataFrame, cost: str, y: str, given: Sequence[str]) -> tuple[Entry, ...]:
    return (
        Entry(cost),
        *(Entry(_related(within_runs(accounts, x, y, given), True)) for x in AHEAD),
        Entry(_runs(accounts)),
    )


def _between(accounts: pd.DataFrame, y: str, cost: str) -> tuple[Entry, ...]:
    found = [between_methods(accounts, x, y) for x in AHEAD]
    texts = (UNTOLD if np.isnan(rho) else Entry(f"{round(rho, 2) + 0.0:.2f}") for rho, _ in found)
    return (Entry(f"{cost}, between methods"), *texts, Entry(f"{max(n for _, n in found)} methods"))


def _runs(accounts: pd.DataFrame) -> str:
    runs = accounts.drop_duplicates(["strategy", "settings", "seed"])
    return (
        f"{len(runs)} runs of {runs.seed.nunique()} seeds"
        if len(runs) > runs.seed.nunique()
        else str(len(runs))
    )


def _related(found: Within, count: bool = False) -> str:
    if np.isnan(found.r):
        return UNTOLD.text
    text = _two(found.r)
    if not np.isnan(found.low):
        text += f" [{_two(found.low)}, {_two(found.high)}], {found.significance}"
    text += f", {found.points} points"
    return f"{text}, negative in {found.negative} of {found.runs}" if count and found.runs else text


def _two(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"


# The numbers for programs


def _tidy(replicates: pd.DataFrame, accounts: pd.DataFrame) -> pd.DataFrame:
    """All numbers of the sections; those about all strategies of a benchmark name none."""
    competitors = accounts[~accounts.upper_bound.astype(bool)]
    rows: list[tuple[object, ...]] = []
    for name, mine in of_benchmarks(replicates):
        rows += _tidy_account(name, mine)
        rows += _tidy_comparisons(name, mine)
        rows += _tidy_matched(name, competitors[competitors.benchmark == name])
        rows += _tidy_within(name, competitors[competitors.benchmark == name])
    columns = ["benchmark", "strategy", "settings", "metric", "mean", "ci_low", "ci_high", "n", "p"]
    return pd.DataFrame(rows, columns=columns).astype({"n": "Int64"})  # a level has no n


def _tidy_account(name: str, mine: pd.DataFrame) -> Iterator[tuple[object, ...]]:
    metrics = (*COLUMNS, "interference", "old_loss")
    for key, cell in mine.groupby(["strategy", "settings"], sort=True):
        for metric in metrics:
            values = cell[metric].dropna().to_numpy(float)
            if len(values):
                yield (name, *key, metric, *t_interval(values), None)


def _tidy_comparisons(name: str, mine: pd.DataFrame) -> Iterator[tuple[object, ...]]:
    words = ("interference", f"minus_{PARTS[0]}", *PARTS[1:])
    for key, _, _, found in comparisons(mine):
        named = [(f"ratio_{word}", span) for word, span in zip(words, found.ratios, strict=True)]
        named += [
            (f"difference_{word}", span)
            for word, span in zip(words, found.differences, strict=True)
        ]
        named += [
            (f"log_share_{word}", span) for word, span in zip(words[1:], found.shares, strict=True)
        ]
        for metric, span in named:
            if not np.isnan(span.mean):
                yield (name, *key[1:], metric, *span, None)


def _tidy_matched(name: str, accounts: pd.DataFrame) -> Iterator[tuple[object, ...]]:
    level = matched_level(accounts)
    found = matched_frame(accounts, level).dropna(subset=["value"])
    if found.groupby(["strategy", "settings"]).ngroups < 2:
        return
    yield (name, "", "", "matched_old_loss", level, None, None, None, None)
    for key, cell in found.groupby(["strategy", "settings", "metric"], sort=True):
        yield (name, *key[:2], f"matched_{key[2]}", *t_interval(cell.value.to_numpy(float)), None)


def _tidy_within(name: str, accounts: pd.DataFrame) -> Iterator[tuple[object, ...]]:
    cells = {("", ""): accounts} | dict(iter(accounts.groupby(["strategy", "settings"], sort=True)))
    for key, cell in cells.items():
        for x in AHEAD:
            for y in COSTS:
                for given, words in (((), ""), (GIVEN, "_given_old_loss_and_task")):
                    found = within_runs(cell, x, y, given)
                    if not np.isnan(found.r):
                        yield (
                            name,
                            *key,
                            f"within_{x}_{y}{words}",
                            found.r,
                            found.low,
                            found.high,
                            found.seeds,
                            found.p,
                        )
    for x in AHEAD:
        for y in COSTS:
            rho, n = between_methods(accounts, x, y)
            if not np.isnan(rho):
                yield (name, "", "", f"between_methods_{x}_{y}", rho, None, None, n, None)
