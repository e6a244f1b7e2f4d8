"""Scores of records as data frames, one row for each replicate and metric."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar, cast

import numpy as np
import pandas as pd
from jaxtyping import Float

from retrograde.errors import UserError, on_one_line
from retrograde.metrics.intervals import BySeed, t_interval, t_intervals
from retrograde.metrics.matrix import METRICS
from retrograde.metrics.metric import Metric, R
from retrograde.parts.spec import digest
from retrograde.records.cell import Cell
from retrograde.records.few_shot import WATCHED, Adaptation
from retrograde.records.record import Record

REPLICATE = ("benchmark", "strategy", "settings", "seed", "upper_bound")


COLUMNS = (*REPLICATE, "metric", "value")


class Label(NamedTuple):
    """A cell in words."""

    benchmark: str
    strategy: str
    settings: str


Key = tuple[bool, str, str]
"""A strategy among those on one benchmark: whether it is an upper bound, its name, and its settings."""


def by_strategy(frame: pd.DataFrame) -> dict[Key, BySeed]:
    """The values of one metric on one benchmark."""
    found: defaultdict[Key, dict[int, float]] = defaultdict(dict)
    columns = (
        frame[name].tolist() for name in ("upper_bound", "strategy", "settings", "seed", "value")
    )
    for bound, strategy, settings, seed, value in zip(*columns, strict=True):
        found[bound, strategy, settings][seed] = value
    return dict(sorted(found.items()))


def interval_frame(frame: pd.DataFrame, by: str) -> pd.DataFrame:
    """The mean over replicates of what each strategy has by a column, with its 95 % t-interval: what a CSV of a table holds."""
    groups = frame.groupby(["benchmark", "strategy", "settings", by]).value
    n, values = (
        groups.size(),
        frame.value.to_numpy(float)[np.argsort(groups.ngroup(), kind="stable")],
    )
    mean, low, high = t_intervals(values, n.to_numpy())
    return n.index.to_frame(index=False).assign(mean=mean, ci_low=low, ci_high=high, n=n.to_numpy())


def competing(values: Mapping[Key, BySeed]) -> dict[Key, BySeed]:
    """The strategies that are no upper bounds."""
    return {key: value for key, value in values.items() if not key[0]}


P = ParamSpec("P")


T = TypeVar("T")


def made_once(
    make: Callable[Concatenate[Sequence[Record], P], T],
) -> Callable[Concatenate[Sequence[Record], P], T]:
    """Make something of the records of a report once for all tables, none of which may change it: of a tuple it is kept."""
    kept: list[tuple[object, ...]] = []

    @wraps(make)
    def made(records: Sequence[Record], *rest: P.args, **options: P.kwargs) -> T:
        if not isinstance(records, tuple):
            return make(records, *rest, **options)
        if kept and kept[0][0] is not records:
            kept.clear()
        for _, *known, found in kept:
            if known == [rest, options]:
                return cast("T", found)
        kept.append((records, rest, options, make(records, *rest, **options)))
        return cast("T", kept[-1][-1])

    return cast("Callable[Concatenate[Sequence[Record], P], T]", made)


@made_once
def streams(records: Sequence[Record]) -> Sequence[Record]:
    """Those of streams; if all are, the records themselves."""
    own = tuple(record for record in records if not record.cell.episodic)
    return records if len(own) == len(records) else own


@made_once
def labels(records: Sequence[Record]) -> dict[Cell, Label]:
    """A label for every cell, no two alike: where the changed settings do not tell two apart, a digest does."""
    cells = list(dict.fromkeys(record.cell for record in ordered(records)))
    streams = {cell: (on_one_line(cell.benchmark.titled(cell.benchmark.text)),) for cell in cells}
    benchmarks = _told_apart(streams, lambda cell: cell.stream)
    names = {cell: on_one_line(cell.strategy.name) for cell in cells}
    changed = {cell: on_one_line(cell.strategy.titled(cell.strategy.changed)) for cell in cells}
    strategies = {cell: (benchmarks[cell], names[cell], changed[cell]) for cell in cells}
    settings = _told_apart(strategies, lambda cell: cell.given or digest(cell.strategy.settings))
    return {cell: Label(benchmarks[cell], names[cell], settings[cell]) for cell in cells}


def _told_apart(
    texts: Mapping[Cell, tuple[str, ...]], identity: Callable[[Cell], str]
) -> dict[Cell, str]:
    """The last word of each text, with the identity where several identities share the text."""
    sharing = defaultdict(list)
    for cell, text in texts.items():
        sharing[text].append(cell)
    ambiguous = {
        text
        for text, cells in sharing.items()
        if len(cells) > 1 and len(set(map(identity, cells))) > 1
    }
    return {
        c: f"{t[-1]} #{identity(c)}".strip() if t in ambiguous else t[-1] for c, t in texts.items()
    }


@made_once
def ordered(records: Sequence[Record]) -> list[Record]:
    """The records by path and seed, so that no sum depends on the order in which they came."""
    return sorted(records, key=lambda record: (record.cell.path, record.seed))


def score_frame(
    records: Sequence[Record], label: Mapping[Cell, Label], metrics: Sequence[Metric] = METRICS
) -> pd.DataFrame:
    """Every metric of every replicate that is done, with the columns `COLUMNS`.

    Intransigence is measured against one upper bound of the stream, which its name decides (see `_bounds`), on the seeds that
    this one has.
    """
    return _scored(records, label, tuple(metrics))


@made_once
def _scored(
    records: Sequence[Record], label: Mapping[Cell, Label], metrics: tuple[Metric, ...]
) -> pd.DataFrame:
    done = [record for record in ordered(records) if record.status == "done" and record.tests]
    joint = _bounds(done, label)
    matrices = [
        {
            "R": r.R,
            "R_told": r.R_told,
            "course": r.course,
            "joint": joint.get((r.cell.stream, r.seed)),
        }
        for r in done
    ]
    values = (
        np.array([_values(metric, matrices) for metric in metrics])
        .reshape(len(metrics), len(done))
        .T
    )
    replicate, metric = np.nonzero(np.isfinite(values))
    replicates = pd.DataFrame(
        [(*label[r.cell], r.seed, r.upper_bound) for r in done], columns=list(REPLICATE)
    )
    frame = replicates.iloc[replicate].reset_index(drop=True)
    return frame.assign(
        metric=[metrics[place].name for place in metric], value=values[replicate, metric]
    )


def _bounds(done: Sequence[Record], label: Mapping[Cell, Label]) -> dict[tuple[str, int], R]:
    """By stream and seed, the matrix of the stream's upper bound: `joint` where it was run, else the first by name.

    One bound serves all seeds, so that replicates are measured alike; accuracy, which is that of the test, decides nothing.
    """
    upper = {record.cell for record in done if record.upper_bound}
    last_first = sorted(
        upper, key=lambda cell: (label[cell].strategy != "joint", label[cell]), reverse=True
    )
    bound = {cell.stream: cell for cell in last_first}
    chosen = [record for record in done if record.cell == bound.get(record.cell.stream)]
    return {(record.cell.stream, record.seed): record.R for record in chosen}


def _values(
    metric: Metric, matrices: Sequence[Mapping[str, Any]]
) -> Float[np.ndarray, " replicate"]:
    """A metric of each replicate, of matrices of one shape at once; NaN where it needs what is not there."""
    alike = defaultdict(list)
    for place, each in enumerate(matrices):
        given = [each[need] for need in metric.needs]
        if all(one is not None for one in given):
            alike[getattr(given[0], "shape", place)].append((place, given))
    values = np.full(len(matrices), np.nan)
    for shape, found in alike.items():
        places, given = zip(*found, strict=True)
        stacks = map(np.array, zip(*given, strict=True)) if isinstance(shape, tuple) else given[0]
        value = np.asarray(metric.of(*stacks))
        if isinstance(shape, tuple) and value.shape != (len(places),):
            raise UserError(
                f"A metric gives one number for each matrix of a stack; {metric.name} made {value.shape} of {len(places)}. "
                "Let it index the last two axes: r[..., -1, :].mean(axis=-1)."
            )
        values[list(places)] = value
    return values


ENDS = {"ACC": True, "forgetting": False, "accuracy": True, "loss": False}
"""What a replicate is judged by at its end, and whether more is better: of streams ACC and forgetting, of episodes the rest."""


@made_once
def end_frame(records: Sequence[Record], label: Mapping[Cell, Label]) -> pd.DataFrame:
    """Every metric in `ENDS` of every replicate that is done, with the columns `COLUMNS`.

    Of episodes: accuracy, or loss where nothing is classified, on the query after the last inner step that a strategy takes.
    """
    adapted = adaptation_frame(records, label)
    last = adapted.groupby(list(REPLICATE)).step.transform("max")
    classified = adapted[adapted.metric == "accuracy"].benchmark.unique()
    measure = np.where(adapted.benchmark.isin(classified), "accuracy", "loss")
    scores = score_frame(records, label)
    frames = [
        scores[scores.metric.isin(ENDS)],
        adapted.loc[(adapted.step == last) & (adapted.metric == measure), list(COLUMNS)],
    ]
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)


@made_once
def adaptation_frame(records: Sequence[Record], label: Mapping[Cell, Label]) -> pd.DataFrame:
    """How replicates that are done adapted to test tasks: `REPLICATE`, metric, step, value, half, tasks.

    `value` is the mean over the test tasks after so many inner steps, `half` half of its 95 % t-interval over them. The metrics
    are loss and, in classification, accuracy, both of the query; and cosine, between the gradients on support and query.
    """
    rows = [
        (*label[record.cell], record.seed, record.upper_bound, *row)
        for record in ordered(records)
        if record.status == "done" and record.adaptation
        for row in _adapted(record.adaptation)
    ]
    return pd.DataFrame(rows, columns=[*REPLICATE, "metric", "step", "value", "half", "tasks"])


def _adapted(adaptation: Adaptation) -> Iterator[tuple[str, int, float, float, int]]:
    measured = {"loss": np.array(adaptation.loss)} | (
        {"accuracy": adaptation.accuracy} if adaptation.correct else {}
    )
    for metric, steps in measured.items():
        for step, of_tasks in enumerate(steps):
            mean, low, _, n = t_interval(of_tasks)
            yield metric, step, mean, mean - low, n
    for step, cosine in enumerate(adaptation.cosine):
        yield "cosine", step, cosine, float("nan"), min(WATCHED, len(adaptation.loss[0]))


INNER = ("observed", "slope", "curvature", "remainder", "exposure", "alignment")
"""The numbers of the account of inner steps."""


def inner_account_frame(records: Sequence[Record], label: Mapping[Cell, Label]) -> pd.DataFrame:
    """Why the query loss of new tasks changed in each inner step: `REPLICATE`, step (from 1), then the numbers of an account.

    These are means over tasks: observed, slope, curvature and exposure as in `InnerAccount`; remainder: observed less slope
    and curvature; alignment: minus the sum of slope and curvature over exposure, NaN where there is no exposure.
    """
    rows = []
    for record in ordered(records):
        for step, account in enumerate(
            record.adaptation.accounts if record.status == "done" and record.adaptation else (), 1
        ):
            path = account.slope + account.curvature
            alignment = -path / account.exposure if account.exposure > 0 else float("nan")
            numbers = (
                account.observed,
                account.slope,
                account.curvature,
                account.observed - path,
                account.exposure,
            )
            rows.append(
                (*label[record.cell], record.seed, record.upper_bound, step, *numbers, alignment)
            )
    return pd.DataFrame(rows, columns=[*REPLICATE, "step", *INNER])


def checks_frame(records: Sequence[Record], label: Mapping[Cell, Label]) -> pd.DataFrame:
    """Meta-training as it went: `REPLICATE`, iteration, metric, value.

    The metrics are loss and accuracy on tasks of meta-validation after the last inner step, and the cosine between the
    gradients on support and query before the first, on those (cosine) and on tasks of meta-training (cosine_seen).
    """
    rows = []
    for record in ordered(records):
        for check in (
            record.adaptation.checks if record.status == "done" and record.adaptation else ()
        ):
            ends = {"loss": check.loss[-1:], "accuracy": check.accuracy[-1:]}
            values = {name: end[0] for name, end in ends.items() if end}
            values |= {"cosine": check.cosine, "cosine_seen": check.cosine_seen}
            replicate = (*label[record.cell], record.seed, record.upper_bound, check.iteration)
            rows += [(*replicate, metric, value) for metric, value in values.items()]
    return pd.DataFrame(rows, columns=[*REPLICATE, "iteration", "metric", "value"])
