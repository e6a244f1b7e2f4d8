"""Few-shot adaptation: loss or accuracy on new tasks after each inner step, beside gradient alignment and published numbers."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from retrograde import WATCHED, Cell, Record, Result
from retrograde.metrics import (
    BOLD,
    INNER,
    REPLICATE,
    Key,
    Label,
    adaptation_frame,
    by_strategy,
    checks_frame,
    competing,
    inner_account_frame,
    labels,
    leaders,
    t_interval,
)
from retrograde.reporting import (
    Entry,
    Published,
    Section,
    Table,
    finder,
    outcomes_of,
    published_numbers,
    row_title,
)

SHOWN = (0, 1, 3, 5, 10)
"""Inner steps with a column of their own; the last one that a strategy takes has one too."""


@dataclass(frozen=True)
class Adaptation(Result):
    """Loss or accuracy on new tasks after 0, 1, ... inner steps, beside gradient alignment and the papers' numbers."""

    def table(self, records: Sequence[Record]) -> Table:
        records = [record for record in records if record.cell.episodic]
        label = labels(records)
        adapted, checks = adaptation_frame(records, label), checks_frame(records, label)
        seen = checks[(checks.metric == "cosine_seen") & _at_the_end(checks)]
        frame = (
            pd.concat([adapted, seen.assign(step=0).drop(columns="iteration")])
            if len(seen)
            else adapted
        )
        by_benchmark = defaultdict(list)
        for record in records:
            by_benchmark[label[record.cell].benchmark].append(record)
        sections = tuple(
            _section(frame[frame.benchmark == b], by_benchmark[b], label)
            for b in sorted(by_benchmark)
        )
        accounts = inner_account_frame(records, label)
        groups = accounts.groupby("benchmark", sort=True)
        sections += tuple(_account(mine, by_benchmark[str(name)], label) for name, mine in groups)
        notes = (_COMPARED, _ALIGNMENT, _PUBLISHED, *([_ACCOUNT] if len(accounts) else []))
        tidy = pd.concat(
            [_tidy(frame), *([_tidy(_long(accounts))] if len(accounts) else [])], ignore_index=True
        )
        return Table("Adaptation", notes, sections, tidy)


_COMPARED = (
    "Mean over n replicates of the mean over test tasks, after so many inner steps on the "
    "support: loss, or accuracy in percent, on the query. ± with several replicates: half of the "
    "95 % t-interval over them; with one: over its test tasks, as papers report it; the column ± "
    "tasks gives the latter, after the last step, in any case. " + BOLD
)
_ALIGNMENT = (
    "cos new: the cosine between the gradients of the loss on the support and on the query, at "
    "the meta-learned parameters before any inner step, over all parameters together, mean over "
    "the first 100 test tasks; cos train: the same on 100 tasks drawn as those of meta-training, "
    "at its end. Where these have other numbers of shots and queries, their cosines differ for "
    "that alone. ± as above."
)
_PUBLISHED = (
    "Published numbers stand under the rows with the same task, model and rule, with ± as the "
    "source gives it; what else differs, such as the number of meta-iterations, is said beside "
    "them. Unverified ones were never read in the source or a copy of it. Transductive: a task's "
    "query examples share the statistics of batch normalisation; if not, each stands beside the "
    "support alone."
)


_ACCOUNT = (
    "Account: why the query loss of the first 100 test tasks changes in inner steps on their "
    "support; means over replicates of means over tasks, ± half of the 95 % t-interval. observed "
    "is the change, the sum of slope (the query's gradient where the step begins, along the "
    "step), curvature (the change of that gradient along the step) and remainder. alignment: "
    "minus slope and curvature over exposure, the mean length of the query's gradient times that "
    "of the step; 1 where a step goes straight down the query's loss, 0 across it. Lengths are of "
    "the gradient on these queries, sampling noise included."
)


def _at_the_end(checks: pd.DataFrame) -> "pd.Series[bool]":
    """Which rows are of a replicate's last look at meta-training."""
    return checks.iteration == checks.groupby(list(REPLICATE)).iteration.transform("max")


def _tidy(frame: pd.DataFrame) -> pd.DataFrame:
    columns = ["benchmark", "strategy", "settings", "metric", "step"]
    rows = []
    for key, group in frame.groupby(columns, sort=True):
        mean, low, high, n = t_interval(group.value.to_numpy())
        rows.append((*key, mean, low, high, n, group.half.mean(), group.tasks.max()))
    return pd.DataFrame(
        rows, columns=[*columns, "mean", "ci_low", "ci_high", "n", "half_over_tasks", "tasks"]
    )


def _section(frame: pd.DataFrame, here: Sequence[Record], label: dict[Cell, Label]) -> Section:
    metric = "accuracy" if (frame.metric == "accuracy").any() else "loss"
    scores = frame[frame.metric == metric]
    lasts = set(scores.groupby(["strategy", "settings"]).step.max())
    steps = sorted(lasts | {step for step in SHOWN if step <= max(lasts, default=-1)})
    leading = {
        step: leaders(competing(by_strategy(scores[scores.step == step])), metric == "accuracy")
        for step in steps
    }
    cells, beside = (
        {(record.upper_bound, *label[record.cell][1:]): record.cell for record in here},
        finder(published_numbers()),
    )
    rows: list[tuple[Entry, ...]] = []
    for key, n in outcomes_of(here, label).items():
        bold = [key in leading[step] for step in steps]
        rows.append(_row(key, _of(frame, key), metric, steps, bold, n))
        rows += [
            _published(entry, metric, steps)
            for entry in beside(cells[key])
            if not entry.departures(cells[key])
        ]
    after = [f"{step} step{'' if step == 1 else 's'}" for step in steps]
    columns = ("strategy", *after, "± tasks", "cos new", "cos train", "n")
    return Section(_heading(here[0].cell, label, metric), columns, tuple(rows))


def _heading(cell: Cell, label: dict[Cell, Label], metric: str) -> str:
    if metric == "loss":
        return f"{label[cell].benchmark} — loss"
    transductive = cell.benchmark.settings.get("transductive", True)
    return f"{label[cell].benchmark} — accuracy %, {'' if transductive else 'non-'}transductive"


def _of(frame: pd.DataFrame, key: Key) -> pd.DataFrame:
    return frame[(frame.strategy == key[1]) & (frame.settings == key[2])]


def _row(
    key: Key, mine: pd.DataFrame, metric: str, steps: list[int], bold: list[bool], n: str
) -> tuple[Entry, ...]:
    scores = mine[mine.metric == metric]
    over_tasks = scores[scores.step == scores.step.max()].half.mean()
    rest = (_spread(over_tasks, metric), _mean(mine, "cosine", 0), _mean(mine, "cosine_seen", 0), n)
    numbers = (
        Entry(_mean(mine, metric, step), best) for step, best in zip(steps, bold, strict=True)
    )
    return Entry(row_title(key)), *numbers, *map(Entry, rest)


def _mean(mine: pd.DataFrame, metric: str, step: int) -> str:
    """The mean over replicates, with the interval over them, or of a single one over its tasks."""
    scores = mine[(mine.metric == metric) & (mine.step == step)]
    if scores.empty:
        return "–"
    mean, low, _, n = t_interval(scores.value.to_numpy())
    half = _spread(mean - low if n > 1 else float(scores.half.iloc[0]), metric)
    return _number(mean, metric) + (f" ± {half}" if half != "–" else "")


def _number(value: float, metric: str) -> str:
    if metric == "accuracy":
        return f"{100 * value:.2f}"
    return (
        f"{value:.3f}" if abs(value) < 1000 else f"{value:.2g}"
    )  # of a strategy that all but diverged


def _spread(half: float, metric: str) -> str:
    return "–" if pd.isna(half) else _number(half, metric)


def _account(mine: pd.DataFrame, here: Sequence[Record], label: dict[Cell, Label]) -> Section:
    """The account of the first inner step, and that of all of them together."""
    rows = []
    for key, n in outcomes_of(here, label).items():
        steps = _of(mine, key)
        if steps.empty:
            continue
        whole = steps.groupby("seed")[list(INNER[:-1])].sum()
        aligned = -(whole.slope + whole.curvature) / whole.exposure.where(whole.exposure > 0)
        first = steps[steps.step == 1]
        numbers = [_spanned(whole[name]) for name in INNER[:-1]]
        counted = (
            str(len(whole)) if n.split(maxsplit=1)[0] == str(len(whole)) else f"{len(whole)} of {n}"
        )
        rows.append(
            (row_title(key), *numbers, _spanned(aligned), _spanned(first.alignment), counted)
        )
    columns = ("strategy", *INNER[:-1], "alignment", "of the first step", "n")
    heading = f"{mine.benchmark.iloc[0]} — account of {mine.step.max()} inner steps"
    return Section(heading, columns, tuple(tuple(map(Entry, row)) for row in rows))


def _spanned(values: "pd.Series[float]") -> str:
    known = values.dropna().to_numpy(float)
    if not len(known):
        return "n/a"
    mean, low, _, n = t_interval(known)
    return f"{round(mean, 3) + 0.0:.3f}" + (f" ± {mean - low:.3f}" if n > 1 else "")


def _long(accounts: pd.DataFrame) -> pd.DataFrame:
    """One row for each number of an account, as the other measures have it."""
    named = accounts.rename(columns={name: f"account_{name}" for name in INNER})
    names = [f"account_{name}" for name in INNER]
    return named.melt([*REPLICATE, "step"], names, "metric", "value").assign(
        half=float("nan"), tasks=WATCHED
    )


def _published(entry: Published, metric: str, steps: list[int]) -> tuple[Entry, ...]:
    """A row of printed numbers, in the columns of their inner steps."""
    return (
        Entry(entry.title),
        *(Entry(entry.text(f"{metric}@{step}")) for step in steps),
        *[Entry("")] * 4,
    )
