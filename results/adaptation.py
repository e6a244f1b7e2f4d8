"""Few-shot adaptation after each inner step, with gradient alignment and published numbers."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from retrograde import PROBE_TASKS, CellSpec, Record, TableResult
from retrograde.metrics import (
    BOLD,
    INNER,
    REPLICATE,
    Key,
    Label,
    adaptation_frame,
    by_strategy,
    cell_labels,
    competing,
    evaluations_frame,
    inner_account_frame,
    leading_group,
    t_interval,
)
from retrograde.reporting import (
    Entry,
    Published,
    Section,
    Table,
    matcher,
    outcomes_of,
    published_numbers,
    row_title,
)

STEPS_WITH_COLUMN = (0, 1, 3, 5, 10)
"""Inner steps that have a column; the last inner step of each strategy has one too."""


@dataclass(frozen=True)
class Adaptation(TableResult):
    """Loss or accuracy on new tasks after 0, 1, ... inner steps.

    Columns of gradient alignment and rows of published numbers stand next to it.
    """

    order: ClassVar[float] = 1.5  # the scores of few-shot tasks

    def table(self, records: Sequence[Record]) -> Table:
        records = [record for record in records if record.cell.episodic]
        label = cell_labels(records)
        by_benchmark = defaultdict(list)
        for record in records:
            by_benchmark[label[record.cell].benchmark].append(record)
        frame = _frame(records, label)
        sections = []
        for name in sorted(by_benchmark):
            group = frame[frame.benchmark == name]
            sections.append(_section(group, by_benchmark[name], label))
        accounts = inner_account_frame(records, label)
        for benchmark, steps in accounts.groupby("benchmark", sort=True):
            sections.append(_account(steps, by_benchmark[str(benchmark)], label))
        notes = [_COMPARED, _ALIGNMENT, _PUBLISHED]
        tidy = [_tidy(frame)]
        if len(accounts):
            notes.append(_ACCOUNT)
            tidy.append(_tidy(_long(accounts)))
        numbers = pd.concat(tidy, ignore_index=True)
        return Table("Adaptation", tuple(notes), tuple(sections), numbers)


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
    "source gives it; other differences, such as the number of meta-iterations, are stated next "
    "to them. Unverified ones were never read in the source or a copy of it. Transductive: a "
    "task's query examples share the statistics of batch normalisation; if not, each is "
    "normalised with the support alone."
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


def _frame(records: Sequence[Record], label: dict[CellSpec, Label]) -> pd.DataFrame:
    """Scores after each inner step, and the final cosine on tasks of meta-training as step 0."""
    adapted = adaptation_frame(records, label)
    evaluations = evaluations_frame(records, label)
    seen = evaluations[(evaluations.metric == "cosine_seen") & _at_the_end(evaluations)]
    if not len(seen):
        return adapted
    return pd.concat([adapted, seen.assign(step=0).drop(columns="iteration")])


def _at_the_end(evaluations: pd.DataFrame) -> "pd.Series[bool]":
    """True for the rows of a replicate's last evaluation of meta-training."""
    iterations = evaluations.groupby(list(REPLICATE)).iteration
    return evaluations.iteration == iterations.transform("max")


def _tidy(frame: pd.DataFrame) -> pd.DataFrame:
    columns = ["benchmark", "strategy", "settings", "metric", "step"]
    rows = []
    for key, group in frame.groupby(columns, sort=True):
        span = t_interval(group.value.to_numpy())
        rows.append((*key, *span, group.half.mean(), group.tasks.max()))
    numbers = ["mean", "ci_low", "ci_high", "n", "half_over_tasks", "tasks"]
    return pd.DataFrame(rows, columns=columns + numbers)


def _section(
    frame: pd.DataFrame, records: Sequence[Record], label: dict[CellSpec, Label]
) -> Section:
    metric = "accuracy" if (frame.metric == "accuracy").any() else "loss"
    scores = frame[frame.metric == metric]
    steps = _steps(scores)
    leading = _leading(scores, steps, metric)
    published = _published_rows(records, label, metric, steps)
    rows: list[tuple[Entry, ...]] = []
    for key, n in outcomes_of(records, label).items():
        bold = [key in leading[step] for step in steps]
        rows.append(_row(key, _of(frame, key), metric, steps, bold, n))
        rows += published[key]
    after = [f"{step} step{'' if step == 1 else 's'}" for step in steps]
    columns = ("strategy", *after, "± tasks", "cos new", "cos train", "n")
    return Section(_heading(records[0].cell, label, metric), columns, tuple(rows))


def _published_rows(
    records: Sequence[Record], label: dict[CellSpec, Label], metric: str, steps: list[int]
) -> dict[Key, list[tuple[Entry, ...]]]:
    """The rows of published numbers for each strategy."""
    published_for = matcher(published_numbers())
    bounds = {record.cell: record.upper_bound for record in records}
    rows = {}
    for cell, bound in bounds.items():
        _, strategy, settings = label[cell]
        # numbers of another protocol are not comparable
        rows[bound, strategy, settings] = [
            _published(entry, metric, steps)
            for entry in published_for(cell)
            if not entry.departures(cell)
        ]
    return rows


def _steps(scores: pd.DataFrame) -> list[int]:
    """Inner steps with a column: the last of each strategy, and those in `STEPS_WITH_COLUMN`."""
    lasts = set(scores.groupby(["strategy", "settings"]).step.max())
    longest = max(lasts, default=-1)
    return sorted(lasts | {step for step in STEPS_WITH_COLUMN if step <= longest})


def _leading(scores: pd.DataFrame, steps: list[int], metric: str) -> dict[int, set[Key]]:
    """The strategies in bold after each of some inner steps."""
    leading = {}
    for step in steps:
        competitors = competing(by_strategy(scores[scores.step == step]))
        leading[step] = leading_group(competitors, metric == "accuracy")
    return leading


def _heading(cell: CellSpec, label: dict[CellSpec, Label], metric: str) -> str:
    benchmark = label[cell].benchmark
    if metric == "loss":
        return f"{benchmark} — loss"
    transductive = cell.benchmark.settings.get("transductive", True)
    return f"{benchmark} — accuracy %, {'' if transductive else 'non-'}transductive"


def _of(frame: pd.DataFrame, key: Key) -> pd.DataFrame:
    return frame[(frame.strategy == key[1]) & (frame.settings == key[2])]


def _row(
    key: Key, group: pd.DataFrame, metric: str, steps: list[int], bold: list[bool], n: str
) -> tuple[Entry, ...]:
    entries = []
    for step, is_bold in zip(steps, bold, strict=True):
        entries.append(Entry(_mean(group, metric, step), is_bold))
    scores = group[group.metric == metric]
    last = scores[scores.step == scores.step.max()]
    texts = (
        _spread(last.half.mean(), metric),
        # cosines are taken before any inner step
        _mean(group, "cosine", 0),
        _mean(group, "cosine_seen", 0),
        n,
    )
    return (Entry(row_title(key)), *entries, *map(Entry, texts))


def _mean(group: pd.DataFrame, metric: str, step: int) -> str:
    """The mean over replicates with its interval; a single replicate has that over its tasks."""
    scores = group[(group.metric == metric) & (group.step == step)]
    if scores.empty:
        return "–"
    mean, low, _, n = t_interval(scores.value.to_numpy())
    half = mean - low if n > 1 else float(scores.half.iloc[0])
    text = _number(mean, metric)
    return text if pd.isna(half) else f"{text} ± {_spread(half, metric)}"


def _number(value: float, metric: str) -> str:
    if metric == "accuracy":
        return f"{100 * value:.2f}"
    # a strategy that almost diverged has losses too long for a column
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.2g}"


def _spread(half: float, metric: str) -> str:
    return "–" if pd.isna(half) else _number(half, metric)


def _account(
    group: pd.DataFrame, records: Sequence[Record], label: dict[CellSpec, Label]
) -> Section:
    """The account of all inner steps together, and the alignment of the first."""
    rows = []
    for key, n in outcomes_of(records, label).items():
        steps = _of(group, key)
        if not steps.empty:
            rows.append(_account_row(key, steps, n))
    columns = ("strategy", *INNER[:-1], "alignment", "of the first step", "n")
    heading = f"{group.benchmark.iloc[0]} — account of {group.step.max()} inner steps"
    return Section(heading, columns, tuple(rows))


def _account_row(key: Key, steps: pd.DataFrame, n: str) -> tuple[Entry, ...]:
    whole = steps.groupby("seed")[list(INNER[:-1])].sum()
    # alignment is undefined without exposure
    exposure = whole.exposure.where(whole.exposure > 0)
    aligned = -(whole.slope + whole.curvature) / exposure
    first = steps[steps.step == 1]
    numbers = [_spanned(whole[name]) for name in INNER[:-1]]
    counted = str(len(whole))
    if n.split(maxsplit=1)[0] != counted:
        counted = f"{counted} of {n}"
    texts = (row_title(key), *numbers, _spanned(aligned), _spanned(first.alignment), counted)
    return tuple(map(Entry, texts))


def _spanned(values: "pd.Series[float]") -> str:
    known = values.dropna().to_numpy(float)
    if not len(known):
        return "n/a"
    mean, low, _, n = t_interval(known)
    # adding 0 turns -0.0 into 0.0
    text = f"{round(mean, 3) + 0.0:.3f}"
    return f"{text} ± {mean - low:.3f}" if n > 1 else text


def _long(accounts: pd.DataFrame) -> pd.DataFrame:
    """The numbers of the accounts in the long form of the other measures, one a row."""
    new_names = {name: f"account_{name}" for name in INNER}
    named = accounts.rename(columns=new_names)
    long = named.melt([*REPLICATE, "step"], list(new_names.values()), "metric", "value")
    return long.assign(half=float("nan"), tasks=PROBE_TASKS)


def _published(entry: Published, metric: str, steps: list[int]) -> tuple[Entry, ...]:
    """A row of published numbers, in the columns of their inner steps."""
    numbers = [entry.text(f"{metric}@{step}") for step in steps]
    empty = [""] * 4
    return tuple(map(Entry, (entry.title, *numbers, *empty)))
