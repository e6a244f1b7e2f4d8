"""Scores of records as data frames, one row for each replicate and metric."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar, cast

import numpy as np
import pandas as pd
from jaxtyping import Float

from retrograde.errors import UserError, on_one_line
from retrograde.metrics.errors import ERRORS
from retrograde.metrics.intervals import BySeed, t_interval, t_intervals
from retrograde.metrics.matrix import METRICS
from retrograde.metrics.metric import Metric, R
from retrograde.metrics.pooled import seen_accuracy
from retrograde.parts.spec import digest
from retrograde.records.cell import CellSpec
from retrograde.records.few_shot import PROBE_TASKS, Adaptation, InnerAccount, MetaEvaluation
from retrograde.records.record import Record

REPLICATE = ("benchmark", "strategy", "settings", "seed", "upper_bound")
"""The columns that identify a replicate."""


COLUMNS = (*REPLICATE, "metric", "value")


class Label(NamedTuple):
    """A cell in words."""

    benchmark: str
    strategy: str
    settings: str


Key = tuple[bool, str, str]
"""A strategy among those on one benchmark: True for an upper bound, its name, and its settings."""


def replicate_of(record: Record, label: Mapping[CellSpec, Label]) -> tuple[Any, ...]:
    """The values of the columns `REPLICATE` for a record."""
    return (*label[record.cell], record.seed, record.upper_bound)


def by_strategy(frame: pd.DataFrame) -> dict[Key, BySeed]:
    """The values of one metric on one benchmark, by strategy and seed; strategies are in order.

    Args:
        frame: rows of one metric and one benchmark, with the columns `REPLICATE` and value.
    """
    names = ("upper_bound", "strategy", "settings", "seed", "value")
    columns = [frame[name].tolist() for name in names]
    values: defaultdict[Key, dict[int, float]] = defaultdict(dict)
    for bound, strategy, settings, seed, value in zip(*columns, strict=True):
        values[bound, strategy, settings][seed] = value
    return dict(sorted(values.items()))


def interval_frame(frame: pd.DataFrame, by: str) -> pd.DataFrame:
    """The mean over replicates and its 95 % t-interval, for each strategy and value of a column.

    This is the content of the CSV file of a table.

    Args:
        frame: rows with the columns `REPLICATE`, value and `by`.
        by: the column whose values are kept apart.

    Returns:
        The columns benchmark, strategy, settings, `by`, mean, ci_low, ci_high and n.
    """
    groups = frame.groupby(["benchmark", "strategy", "settings", by]).value
    sizes = groups.size()
    n = sizes.to_numpy()
    # a stable order by group keeps the sums of one group in the order of its rows
    order = np.argsort(groups.ngroup(), kind="stable")
    values = frame.value.to_numpy(float)[order]
    mean, low, high = t_intervals(values, n)
    return sizes.index.to_frame(index=False).assign(mean=mean, ci_low=low, ci_high=high, n=n)


def competing(values: Mapping[Key, BySeed]) -> dict[Key, BySeed]:
    """The strategies that are no upper bounds."""
    return {key: value for key, value in values.items() if not key[0]}


P = ParamSpec("P")


T = TypeVar("T")


def cached_per_report(
    make: Callable[Concatenate[Sequence[Record], P], T],
) -> Callable[Concatenate[Sequence[Record], P], T]:
    """Cache a function of a report's records. Results are shared: do not modify them.

    Results are kept for one tuple of records at a time. Of other sequences nothing is kept.
    """
    kept: list[tuple[object, ...]] = []

    @wraps(make)
    def made(records: Sequence[Record], *rest: P.args, **options: P.kwargs) -> T:
        # a tuple does not change, so that its identity stands for its content
        if not isinstance(records, tuple):
            return make(records, *rest, **options)
        if kept and kept[0][0] is not records:
            kept.clear()
        for _, *arguments, known in kept:
            if arguments == [rest, options]:
                return cast("T", known)
        result = make(records, *rest, **options)
        kept.append((records, rest, options, result))
        return result

    return cast("Callable[Concatenate[Sequence[Record], P], T]", made)


@cached_per_report
def streams(records: Sequence[Record]) -> Sequence[Record]:
    """The records of streams; `records` itself if all are."""
    of_streams = tuple(record for record in records if not record.cell.episodic)
    return records if len(of_streams) == len(records) else of_streams


@cached_per_report
def cell_labels(records: Sequence[Record]) -> dict[CellSpec, Label]:
    """A label for every cell, no two of a benchmark alike.

    It has the names that a report gives (`retrograde.reporting.names`), and else those of the
    parts with the settings that differ from their defaults. Where two cells of a benchmark share
    these texts, a digest is added.
    """
    cells = list(dict.fromkeys(record.cell for record in ordered(records)))
    streams = {cell: (_benchmark_title(cell),) for cell in cells}
    benchmarks = _told_apart(streams, lambda cell: cell.stream)
    names = {cell: on_one_line(_strategy_title(cell)) for cell in cells}
    changed = {cell: on_one_line(_strategy_settings(cell)) for cell in cells}
    strategies = {cell: (benchmarks[cell], names[cell], changed[cell]) for cell in cells}
    settings = _told_apart(strategies, lambda cell: cell.given or digest(cell.strategy.identity))
    return {cell: Label(benchmarks[cell], names[cell], settings[cell]) for cell in cells}


def _benchmark_title(cell: CellSpec) -> str:
    benchmark = cell.benchmark
    title = benchmark.shown[0] if benchmark.shown else benchmark.titled(benchmark.spec)
    return on_one_line(title)


def _strategy_title(cell: CellSpec) -> str:
    strategy = cell.strategy
    return strategy.shown[0] if strategy.shown else strategy.name


def _strategy_settings(cell: CellSpec) -> str:
    strategy = cell.strategy
    return strategy.shown[1] if strategy.shown else strategy.titled(strategy.pairs)


def _told_apart(
    texts: Mapping[CellSpec, tuple[str, ...]],
    identity: Callable[[CellSpec], str],
) -> dict[CellSpec, str]:
    """The last word of each text, with the identity where several identities share the text."""
    sharing = defaultdict(list)
    for cell, text in texts.items():
        sharing[text].append(cell)
    ambiguous = set()
    for text, cells in sharing.items():
        identities = set(map(identity, cells)) if len(cells) > 1 else ()
        if len(identities) > 1:
            ambiguous.add(text)
    words = {}
    for cell, text in texts.items():
        last = text[-1]
        words[cell] = f"{last} #{identity(cell)}".strip() if text in ambiguous else last
    return words


@cached_per_report
def ordered(records: Sequence[Record]) -> list[Record]:
    """The records by path and seed, so that no sum depends on the order in which they came."""
    return sorted(records, key=lambda record: (record.cell.path, record.seed))


def score_frame(
    records: Sequence[Record],
    label: Mapping[CellSpec, Label],
    metrics: Sequence[Metric] = METRICS,
) -> pd.DataFrame:
    """Every metric of every replicate that is done, with the columns `COLUMNS`.

    Intransigence is measured against one upper bound of the stream, which is chosen by name (see
    `_bounds`), on the seeds that this bound has.
    """
    return _scored(records, label, tuple(metrics))


@cached_per_report
def _scored(
    records: Sequence[Record],
    label: Mapping[CellSpec, Label],
    metrics: tuple[Metric, ...],
) -> pd.DataFrame:
    done = [
        record for record in ordered(records) if record.status == "done" and record.test_examples
    ]
    bounds = _bounds(done, label)
    inputs = [_inputs(record, bounds) for record in done]
    by_metric = [_values(metric, inputs) for metric in metrics]
    # the shape is given because there may be no metric or no record
    values = np.array(by_metric).reshape(len(metrics), len(done)).T
    replicate, metric = np.nonzero(np.isfinite(values))
    rows = [replicate_of(record, label) for record in done]
    replicates = pd.DataFrame(rows, columns=list(REPLICATE))
    frame = replicates.iloc[replicate].reset_index(drop=True)
    names = [metrics[place].name for place in metric]
    return frame.assign(metric=names, value=values[replicate, metric])


ONE_PER_STACK = ("first", "learned")
"""The inputs that a metric gets once, since all matrices of a stack share them."""


def _inputs(record: Record, bounds: Mapping[tuple[str, int], R]) -> dict[str, Any]:
    """The inputs that metrics may need, by name; None for one that a record does not have."""
    timeline = record.timeline
    return {
        "R": None if record.squared_errors else record.R,
        "MSE": record.MSE,
        "R_task_aware": None if _has_one_answer(record) else record.R_task_aware,
        "R_validation": record.validation.R if record.validation else None,
        "joint": bounds.get((record.cell.stream, record.seed)),
        "first": np.array(timeline.first),
        "learned": np.array(timeline.learned),
        "examples": np.array(record.test_examples),
        "seen": None if record.squared_errors else seen_accuracy(record),
        "online_accuracy": record.online_accuracy,
        "timeline": timeline,
        "classes": record.classes,
        "prequential": record.prequential,
    }


def _has_one_answer(record: Record) -> bool:
    """True if each task has one class, so that every prediction is right once the task is given."""
    return record.classes is not None and len({*record.classes.task}) == len(record.classes.task)


def _bounds(done: Sequence[Record], label: Mapping[CellSpec, Label]) -> dict[tuple[str, int], R]:
    """The matrix of the upper bound, by stream and seed.

    The bound of a stream is `joint` where it was run, else the first by name. One bound serves all
    seeds, so that replicates are measured alike. Accuracy is that of the test, so it has no say in
    the choice.
    """

    def preference(cell: CellSpec) -> tuple[bool, Label]:
        return cell.strategy.name != "joint", label[cell]

    upper = {record.cell for record in done if record.upper_bound}
    # later entries of the dictionary replace earlier ones, so the preferred cell comes last
    bound = {cell.stream: cell for cell in sorted(upper, key=preference, reverse=True)}
    chosen = [
        record
        for record in done
        if record.cell == bound.get(record.cell.stream) and not record.squared_errors
    ]
    return {(record.cell.stream, record.seed): record.R for record in chosen}


def _values(metric: Metric, inputs: Sequence[Mapping[str, Any]]) -> Float[np.ndarray, " replicate"]:
    """A metric of each replicate; NaN where an input that it needs is missing."""
    groups = _groups_by_shape(metric, inputs)
    values = np.full(len(inputs), np.nan)
    for (shape, *_), group in groups.items():
        places = [place for place, _ in group]
        arguments = [given for _, given in group]
        if isinstance(shape, tuple):
            values[places] = _stacked(metric, arguments)
        else:
            values[places] = np.asarray(metric.of(*arguments[0]))
    return values


def _groups_by_shape(
    metric: Metric,
    inputs: Sequence[Mapping[str, Any]],
) -> dict[Any, list[tuple[int, list[Any]]]]:
    """The replicates that have every input of a metric, as place and arguments.

    Matrices of one shape, with the same `ONE_PER_STACK`, form one group, which a metric takes as
    one stack. An input without a shape, such as online accuracy, forms its own group, with its
    place as key.
    """
    groups = defaultdict(list)
    for place, available in enumerate(inputs):
        given = [available[need] for need in metric.needs]
        if all(value is not None for value in given):
            shape = getattr(given[0], "shape", place)
            shared = [tuple(available[need]) for need in metric.needs if need in ONE_PER_STACK]
            key = (shape, *shared)
            groups[key].append((place, given))
    return groups


def _stacked(metric: Metric, arguments: Sequence[Sequence[Any]]) -> np.ndarray:
    """A metric of several replicates at once, whose matrices have one shape."""
    inputs = zip(metric.needs, zip(*arguments, strict=True), strict=True)
    stacks = [given[0] if need in ONE_PER_STACK else np.array(given) for need, given in inputs]
    value = np.asarray(metric.of(*stacks))
    if value.shape != (len(arguments),):
        raise UserError(
            "A metric gives one number for each matrix of a stack; "
            f"{metric.name} made {value.shape} of {len(arguments)}. "
            "Let it index the last two axes: r[..., -1, :].mean(axis=-1)."
        )
    return value


END_METRICS = {
    "ACC": True,
    "forgetting": False,
    "MSE": False,
    "MSE_forgetting": False,
    "accuracy": True,
    "loss": False,
}
"""The scores of a replicate at its end; True where more is better.

ACC and forgetting are scores of streams, MSE and MSE_forgetting those of streams of regression,
accuracy and loss of episodes.
"""


@cached_per_report
def end_frame(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> pd.DataFrame:
    """Every metric in `END_METRICS` of every replicate that is done, with the columns `COLUMNS`.

    Episodes have accuracy, or loss where nothing is classified, on the query after the last inner
    step that a strategy takes.
    """
    adapted = adaptation_frame(records, label)
    last = adapted.groupby(list(REPLICATE)).step.transform("max")
    classified = adapted[adapted.metric == "accuracy"].benchmark.unique()
    measure = np.where(adapted.benchmark.isin(classified), "accuracy", "loss")
    of_episodes = adapted.loc[(adapted.step == last) & (adapted.metric == measure), list(COLUMNS)]
    scores = score_frame(records, label, (*METRICS, *ERRORS))
    of_streams = scores[scores.metric.isin(END_METRICS)]
    # an empty frame has columns without a type, which would spread to those of the other
    filled = [frame for frame in (of_streams, of_episodes) if len(frame)]
    return pd.concat(filled or [of_streams], ignore_index=True)


@cached_per_report
def adaptation_frame(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> pd.DataFrame:
    """The adaptation to test tasks: `REPLICATE`, metric, step, value, half, tasks.

    It covers the replicates that are done.

    - metric: loss and, in classification, accuracy, both on the query; and cosine, between the
      gradients on support and query.
    - step: the number of inner steps taken.
    - value: the mean over the test tasks after these steps.
    - half: half of the 95 % t-interval of the mean, over the test tasks.
    - tasks: the number of test tasks.
    """
    rows = [
        (*replicate_of(record, label), *row)
        for record, adaptation in _adaptations(records)
        for row in _adapted(adaptation)
    ]
    return pd.DataFrame(rows, columns=[*REPLICATE, "metric", "step", "value", "half", "tasks"])


def _adaptations(records: Sequence[Record]) -> Iterator[tuple[Record, Adaptation]]:
    """The records of episodes that are done, in order, each with its adaptation."""
    for record in ordered(records):
        if record.status == "done" and record.adaptation:
            yield record, record.adaptation


def _adapted(adaptation: Adaptation) -> Iterator[tuple[str, int, float, float, int]]:
    """The columns of `adaptation_frame` from metric to tasks."""
    measured = {"loss": np.array(adaptation.loss)}
    if adaptation.correct:
        measured["accuracy"] = adaptation.accuracy
    for metric, steps in measured.items():
        for step, of_tasks in enumerate(steps):
            mean, low, _, n = t_interval(of_tasks)
            yield metric, step, mean, mean - low, n
    # the cosine is recorded as a mean over the first tasks, without a spread
    tasks = min(PROBE_TASKS, len(adaptation.loss[0]))
    for step, cosine in enumerate(adaptation.cosine):
        yield "cosine", step, cosine, float("nan"), tasks


INNER = ("observed", "slope", "curvature", "remainder", "exposure", "alignment")
"""The numbers of the account of inner steps."""


def inner_account_frame(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> pd.DataFrame:
    """The account of each inner step: `REPLICATE`, step (from 1), then the columns `INNER`.

    It explains the change of the query loss of new tasks. Numbers are means over tasks.

    - observed, slope, curvature, exposure: as in `InnerAccount`.
    - remainder: observed less slope and curvature.
    - alignment: minus the sum of slope and curvature over exposure; NaN without exposure.
    """
    rows = [
        (*replicate_of(record, label), step, *_inner_numbers(account))
        for record, adaptation in _adaptations(records)
        for step, account in enumerate(adaptation.accounts, 1)
    ]
    return pd.DataFrame(rows, columns=[*REPLICATE, "step", *INNER])


def _inner_numbers(account: InnerAccount) -> tuple[float, ...]:
    """The values of the columns `INNER`."""
    explained = account.slope + account.curvature
    exposure = account.exposure
    return (
        account.observed,
        account.slope,
        account.curvature,
        account.observed - explained,
        exposure,
        -explained / exposure if exposure > 0 else float("nan"),
    )


def evaluations_frame(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> pd.DataFrame:
    """Evaluations during meta-training: `REPLICATE`, iteration, metric, value.

    - loss, accuracy: on tasks of meta-validation after the last inner step.
    - cosine: between the gradients on support and query before the first inner step, on tasks of
      meta-validation.
    - cosine_seen: the same on tasks of meta-training.
    """
    rows = [
        (*replicate_of(record, label), evaluation.iteration, metric, value)
        for record, adaptation in _adaptations(records)
        for evaluation in adaptation.evaluations
        for metric, value in _evaluated(evaluation).items()
    ]
    return pd.DataFrame(rows, columns=[*REPLICATE, "iteration", "metric", "value"])


def _evaluated(evaluation: MetaEvaluation) -> dict[str, float]:
    """The metrics of `evaluations_frame` that an evaluation has."""
    values = {}
    if evaluation.loss:
        values["loss"] = evaluation.loss[-1]
    if evaluation.accuracy:
        values["accuracy"] = evaluation.accuracy[-1]
    values["cosine"] = evaluation.cosine
    values["cosine_seen"] = evaluation.cosine_seen
    return values
