"""Scores as the cells of a table."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from retrograde.metrics.errors import ERRORS
from retrograde.metrics.frames import Key, Label, competing
from retrograde.metrics.intervals import WIDEST, BySeed, over_seeds, t_intervals
from retrograde.metrics.paired import leading_group
from retrograde.records.cell import CellSpec
from retrograde.records.record import Record
from retrograde.reporting.table import Entry, outcomes

NO_SHARES = ("loss", *(metric.name for metric in ERRORS))
"""The scores that are no shares of 1, and not shown in percent."""


def row_title(key: Key) -> str:
    """The title of a strategy's row in a table; † marks an upper bound."""
    upper_bound, *words = key
    title = " ".join(words).strip()
    return f"{title} †" if upper_bound else title


def outcomes_of(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> dict[Key, str]:
    """The number of replicates that are done, and of the others by status, for each strategy.

    Args:
        records: the records of one benchmark.
        label: the labels of their cells.
    """
    statuses: defaultdict[Key, list[str]] = defaultdict(list)
    for record in records:
        statuses[_key(record, label)].append(record.status)
    return {key: outcomes(of_strategy) for key, of_strategy in sorted(statuses.items())}


def done_of(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> dict[Key, int]:
    """The number of replicates that are done, for each strategy on one benchmark."""
    done = [_key(record, label) for record in records if record.status == "done"]
    return dict(Counter(done))


def _key(record: Record, label: Mapping[CellSpec, Label]) -> Key:
    _, strategy, settings = label[record.cell]
    return record.upper_bound, strategy, settings


def format_percent(values: BySeed | None) -> str:
    """The mean of some replicates in percent, and half of its 95 % t-interval.

    Without a spread, it says that there are too few of them: see `WIDEST`.
    """
    if values is None:
        return "–"
    mean, low, _, n = over_seeds(values)
    return _percent(mean, mean - low, n)


class ScoreForm(NamedTuple):
    """The form of numbers in a table of scores.

    Args:
        decimals: decimal places of percentages.
        spread: the number after ±: `ci`, half of the 95 % t-interval, or `sd`, the standard
            deviation over replicates.
    """

    decimals: int = 2
    spread: str = "ci"


def _percent(
    mean: float, half: float, n: int, decimals: int = 2, widest: float = WIDEST / 2
) -> str:
    # adding 0 turns -0.00 into 0.00
    text = f"{round(100 * mean, decimals) + 0.0:.{decimals}f}"
    if n < 2:
        return text
    return (
        f"{text} ± {100 * half:.{decimals}f}"
        if half <= widest
        else f"{text} ± > {100 * widest:.0f}"
    )


def _plain(mean: float, half: float, n: int, *_: float) -> str:
    text = _digits(mean)
    return f"{text} ± {_digits(half)}" if n > 1 else text


def _digits(value: float, sign: str = "") -> str:
    """The text of a number that is no share of 1."""
    # a strategy that all but diverged has numbers of many digits
    return f"{value:{sign}.2g}" if abs(value) >= 1000 else f"{value:{sign}.3f}"


_FORM = ScoreForm()


def score_cells(
    values: Mapping[Key, BySeed],
    higher_is_better: bool,
    done: Mapping[Key, int],
    percent: bool = True,
    form: ScoreForm = _FORM,
) -> dict[Key, Entry]:
    """The entry of each strategy, bold for leaders among those that compete.

    It is the mean with half of its interval, or with the standard deviation.

    Args:
        values: the values of one metric on one benchmark.
        higher_is_better: True if the best mean is the highest.
        done: the n of each strategy's row. A mean over fewer replicates states its own n.
        percent: True if the values are shares of 1, which are shown in percent.
        form: the form of the numbers.
    """
    leading = leading_group(competing(values), higher_is_better)
    n = np.array([*map(len, values.values())], dtype=int)
    flat = [value for of_strategy in values.values() for value in of_strategy.values()]
    # all intervals at once, since a table has hundreds
    mean, low, _ = t_intervals(np.array(flat), n)
    half = _deviations(values) if form.spread == "sd" else mean - low
    widest = np.inf if form.spread == "sd" else WIDEST / 2
    rows = zip(values, mean.tolist(), half.tolist(), n.tolist(), strict=True)
    found = {}
    written = _percent if percent else _plain
    for key, of_mean, of_half, count in rows:
        fewer = "" if count == done[key] else f" (n = {count})"
        text = written(of_mean, of_half, count, form.decimals, widest) + fewer
        found[key] = Entry(text, key in leading, in_unit(values[key], percent=percent))
    return found


def in_unit(values: BySeed, *, percent: bool) -> BySeed:
    """The values in percent, or as they are."""
    return {seed: 100 * value for seed, value in values.items()} if percent else values


def _deviations(values: Mapping[Key, BySeed]) -> Float[np.ndarray, " strategies"]:
    """The standard deviation over the replicates of each strategy; 0 with a single one."""
    several = [np.array([*each.values()]) for each in values.values()]
    return np.array([each.std(ddof=1) if len(each) > 1 else 0.0 for each in several])


def format_score(value: float, metric: str, sign: str = "") -> str:
    """The text of a score in a table: in percent unless a loss or a squared error.

    Args:
        value: the score.
        metric: its name.
        sign: "+" for a difference, which then has a sign.
    """
    if metric in NO_SHARES:
        return _digits(value, sign)
    return f"{round(100 * value, 2) + 0.0:{sign}.2f}"


def notes_on_knowledge(
    records: Sequence[Record],
    label: Mapping[CellSpec, Label],
) -> tuple[str, ...]:
    """Notes on the strategies' knowledge of the stream ahead, where the records state it."""
    ahead = {
        record.cell: record.knows_ahead
        for record in records
        if record.knows_ahead is not None and not record.cell.episodic
    }
    know_length = {cell for cell, known in ahead.items() if "length" in known}
    by_class = {cell for cell in ahead if cell.benchmark.settings.get("scenario") == "class"}
    know_classes = {cell for cell in by_class if "classes" in ahead[cell]}
    notes = []
    if know_length:
        long = _called(know_length, ahead.keys(), label)
        notes.append(
            "These divide their memory by the number of tasks or classes of the whole stream, "
            f"which they know ahead: {long}."
        )
    if know_classes:
        blind = _called(by_class - know_classes, by_class, label)
        but = f", except for {blind}" if blind else ""
        notes.append(
            "In class-incremental streams a head has a unit for every class of the whole stream, "
            f"and the units of later classes are in the loss{but}."
        )
    return tuple(notes)


def _called(some: Set[CellSpec], every: Set[CellSpec], label: Mapping[CellSpec, Label]) -> str:
    """The names of some cells' strategies, in order.

    A name has settings where another cell of the same name is not among them.
    """
    others = {label[cell].strategy for cell in every - some}
    titles = set()
    for cell in some:
        _, strategy, settings = label[cell]
        shown = settings if strategy in others else ""
        titles.add(row_title((False, strategy, shown)))
    return ", ".join(sorted(titles))
