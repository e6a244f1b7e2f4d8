"""Scores as the cells of a table."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set

import numpy as np

from retrograde.metrics.frames import Key, Label, competing
from retrograde.metrics.intervals import BySeed, over_seeds, t_intervals
from retrograde.metrics.paired import leaders
from retrograde.records.cell import Cell
from retrograde.records.record import Record
from retrograde.reporting.table import Entry, outcomes


def row_title(key: Key) -> str:
    """A strategy as its row in a table is called."""
    upper_bound, *words = key
    return " ".join(words).strip() + (" †" if upper_bound else "")


def outcomes_of(records: Sequence[Record], label: Mapping[Cell, Label]) -> dict[Key, str]:
    """Of each strategy on one benchmark, in order: how many replicates are done, and how many are not and why."""
    found: defaultdict[Key, list[str]] = defaultdict(list)
    for record in records:
        found[record.upper_bound, label[record.cell].strategy, label[record.cell].settings].append(
            record.status
        )
    return {key: outcomes(statuses) for key, statuses in sorted(found.items())}


def done_of(records: Sequence[Record], label: Mapping[Cell, Label]) -> dict[Key, int]:
    """The number of replicates that are done, for each strategy on one benchmark."""
    keys = [
        (r.upper_bound, label[r.cell].strategy, label[r.cell].settings)
        for r in records
        if r.status == "done"
    ]
    return dict(Counter(keys))


def percent(values: BySeed | None) -> str:
    """The mean of some replicates in percent, and half of its 95 % t-interval."""
    if values is None:
        return "–"
    mean, low, _, n = over_seeds(values)
    return _percent(mean, low, n)


def _percent(mean: float, low: float, n: int) -> str:
    return f"{round(100 * mean, 2) + 0.0:.2f}" + (f" ± {100 * (mean - low):.2f}" if n > 1 else "")


def entries(
    values: Mapping[Key, BySeed], higher_is_better: bool, done: Mapping[Key, int]
) -> dict[Key, Entry]:
    """For each strategy what `percent` says, bold where it is among the leaders of those that compete.

    A mean over fewer replicates than are `done`, the n of its row, says over how many.
    """
    leading, n = (
        leaders(competing(values), higher_is_better),
        np.array([*map(len, values.values())], dtype=int),
    )
    mean, low, _ = t_intervals(
        np.array([value for mine in values.values() for value in mine.values()]), n
    )
    texts = map(_percent, mean.tolist(), low.tolist(), n.tolist())
    found = {}
    for key, text, own in zip(values, texts, n.tolist(), strict=True):
        fewer = "" if own == done[key] else f" (n = {own})"
        found[key] = Entry(text + fewer, key in leading)
    return found


def number(value: float, metric: str, sign: str = "") -> str:
    """A score as a table has it: in percent unless a loss; with the sign "+", as a difference."""
    if metric != "loss":
        return f"{round(100 * value, 2) + 0.0:{sign}.2f}"
    return (
        f"{value:{sign}.3f}" if abs(value) < 1000 else f"{value:{sign}.2g}"
    )  # of a strategy that all but diverged


def notes_on_knowledge(records: Sequence[Record], label: Mapping[Cell, Label]) -> tuple[str, ...]:
    """Notes on what strategies know of a stream ahead, where the records say so."""
    ahead = {
        record.cell: record.knows
        for record in records
        if record.knows is not None and not record.cell.episodic
    }
    by_class = {cell for cell in ahead if cell.benchmark.settings.get("scenario") == "class"}
    long = _called(
        {cell for cell, known in ahead.items() if "length" in known}, ahead.keys(), label
    )
    blind = _called({cell for cell in by_class if "classes" not in ahead[cell]}, by_class, label)
    notes = []
    if long:
        notes.append(
            f"Told ahead how many tasks or classes the whole stream has, by which a memory is shared: {long}."
        )
    if any("classes" in ahead[cell] for cell in by_class):
        but = f", except for {blind}" if blind else ""
        notes.append(
            "Class-incremental, a head has a unit for every class of the whole stream, and units of classes to come are in the "
            f"loss{but}."
        )
    return tuple(notes)


def _called(some: Set[Cell], every: Set[Cell], label: Mapping[Cell, Label]) -> str:
    """Some cells by their strategies' names, with settings where others of the name are not among them."""
    others = {label[cell].strategy for cell in every - some}
    named = {label[cell] for cell in some}
    titles = {
        row_title((False, each.strategy, each.settings * (each.strategy in others)))
        for each in named
    }
    return ", ".join(sorted(titles))
