"""The table that compares two stores: real changes, changes within noise, and identical cells."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from retrograde.errors import UserError
from retrograde.metrics.intervals import Interval, t_interval
from retrograde.metrics.paired import MIN_SEEDS, least_p, p_text, sign_flip_p
from retrograde.parts.provenance import changes
from retrograde.records.record import Record
from retrograde.reporting.cell_pairs import (
    MACHINE,
    NOISE,
    SIGNIFICANT,
    UNTESTED,
    CellPair,
    Change,
    compared,
)
from retrograde.reporting.cells import format_score
from retrograde.reporting.table import Entry, Section, Table

COLUMNS = (
    "cell",
    "verdict",
    "score",
    "A",
    "B",
    "B − A",
    "p (t)",
    "p (Holm)",
    "p (sign flip)",
    "least p",
    "n",
    "time B / A",
    "remarks",
)
TIDY = [
    "benchmark",
    "strategy",
    "settings",
    "verdict",
    "score",
    "A",
    "B",
    "difference",
    "ci_low",
    "ci_high",
    "n",
    "p_t",
    "p_holm",
    "p_sign_flip",
    "least_p_sign_flip",
    "time_ratio",
    "remarks",
]
VERSIONS = ("torch", "numpy", "python", "retrograde", "commit")
MAX_NAMED = 5
"""Largest number of cells that the summary names."""


def compare(a: Sequence[Record], b: Sequence[Record], names: tuple[str, str]) -> tuple[Table, bool]:
    """Compare two stores.

    Args:
        a: the records of the first store.
        b: the records of the second store.
        names: the names of the stores in the table.

    Returns:
        The table, and True if anything really changed.

    Raises:
        UserError: a store is empty, or the two share no replicate.
    """
    for records, name in zip((a, b), names, strict=True):
        if not records:
            raise UserError(
                f"Two stores are compared by their records; {name} holds none. "
                "Name a store that has some."
            )
    cells = compared(a, b)
    # without a shared replicate there would be only cells of one store
    if not any(cell.shared for cell in cells):
        raise UserError(
            "Replicates are compared that share benchmark, strategy, settings, data and seed; "
            f"{names[0]} has, for example, {a[0].cell.spec!r}, {names[1]} {b[0].cell.spec!r}, "
            "and they share none. Run the same cells and seeds in both."
        )
    rows = tuple(row for cell in cells for row in _rows(cell))
    tidy = pd.DataFrame([row for cell in cells for row in _tidy(cell)], columns=TIDY)
    notes = (summary(cells), *_differences(cells), _READING)
    section = Section(f"A: {names[0]}, B: {names[1]}", COLUMNS, rows)
    table = Table("Comparison", notes, (section,), tidy)
    return table, any(cell.verdict in SIGNIFICANT for cell in cells)


_READING = (
    "Replicates of the same cell and seed are paired. Identical: equal counts of right answers "
    "after each task, or equal losses. Else: the means in A and in B of ACC and forgetting, or of "
    "few-shot accuracy or loss after the last inner step, in percent unless a loss; B − A ± half "
    "of its 95 % t-interval; the p-value of the paired t-test, plain and after Holm's correction "
    "over all scores of all cells that are not identical; that of the sign-flip test and the least "
    "that it can reach, which is also the t-test's where all differences are equal. Really "
    "changed: p (Holm) < 0.05 (worse or better), or a status is another; "
    f"below {MIN_SEEDS} replicates nothing is said. Time: of a training step, "
    "where all ran on one machine with as many threads, jobs and replicates."
)


def summary(cells: Sequence[CellPair]) -> str:
    """The changes on one line: counts by verdict, and the cells that really changed by name."""
    count = Counter(cell.verdict for cell in cells)
    really = [cell for cell in cells if cell.verdict in SIGNIFICANT]
    both = sum(bool(cell.shared) for cell in cells)
    counts = [f"{count['identical']} identical", f"{count[NOISE]} {NOISE}"]
    if count[UNTESTED]:
        counts.append(f"{count[UNTESTED]} {UNTESTED}")
    counts.append(f"{len(really)} really changed")
    noun = "cell" if both == 1 else "cells"
    text = f"{both} {noun} in both: {', '.join(counts)}"
    if really:
        text += f": {_named(really)}"
    verdicts = ("only in A", "only in B", "no seed in both")
    alone = [f"{count[news]} {news}" for news in verdicts if count[news]]
    besides = f" Besides: {', '.join(alone)}." if alone else ""
    return f"{text}.{besides}"


def _named(cells: Sequence[CellPair]) -> str:
    """The first `MAX_NAMED` cells with their verdicts, and the number of others."""
    named = [f"{cell.title} ({cell.verdict})" for cell in cells[:MAX_NAMED]]
    if len(cells) > MAX_NAMED:
        named.append(f"and {len(cells) - MAX_NAMED} more")
    return ", ".join(named)


def _differences(cells: Sequence[CellPair]) -> Iterator[str]:
    """Notes on differences in code and environment between A and B."""
    a = [cell.a[seed] for cell in cells for seed in cell.shared]
    b = [cell.b[seed] for cell in cells for seed in cell.shared]
    edited = set()
    for before, after in zip(a, b, strict=True):
        edited |= {
            f"{change.what} ({change.digests})" for change in changes(before.sources, after.sources)
        }
    if edited:
        yield f"The code of B is not that of A: {', '.join(sorted(edited))}."
    differing = []
    for key in (*MACHINE, *VERSIONS):
        in_a = _environment(a, key)
        in_b = _environment(b, key)
        if in_a != in_b:
            differing.append(f"{key} {', '.join(in_a)} in A, {', '.join(in_b)} in B")
    if differing:
        yield f"The environment differs: {'; '.join(differing)}."


def _environment(records: Sequence[Record], key: str) -> list[str]:
    """The values of a key of the environment among records, in order."""
    return sorted({str(record.environment.get(key, "not said")) for record in records})


def _rows(cell: CellPair) -> Iterator[tuple[Entry, ...]]:
    """The rows of a cell in the table: one for each score, or one without scores."""
    ratio = "–" if np.isnan(cell.time_ratio) else f"{cell.time_ratio:.2f}"
    if cell.verdict == "identical" or not cell.changes:
        # a cell in one store alone has all its seeds there
        n = str(len(cell.shared) or len(cell.a) or len(cell.b))
        without_scores = ["–"] * 8
        texts = (cell.title, cell.verdict, *without_scores, n, ratio, cell.notes)
        yield tuple(map(Entry, texts))
        return
    for change in cell.changes:
        yield tuple(map(Entry, (cell.title, *_texts(cell, change), ratio, cell.notes)))


def _texts(cell: CellPair, change: Change) -> tuple[str, ...]:
    """The texts of a score in the columns from verdict to n."""
    p_sign_flip, least = _sign_flip(change)
    return (
        f"status changed, {change.verdict}" if cell.status_changed else change.verdict,
        change.metric,
        format_score(change.a.mean(), change.metric),
        format_score(change.b.mean(), change.metric),
        _difference(change),
        p_text(change.p),
        p_text(change.corrected),
        p_text(p_sign_flip),
        p_text(least),
        str(len(change.a)),
    )


def _interval(change: Change) -> Interval:
    return t_interval(change.b - change.a)


def _sign_flip(change: Change) -> tuple[float, float]:
    """The p-value of the sign-flip test, and the least that it can reach."""
    differences = change.b - change.a
    (p,) = sign_flip_p(differences[None])
    return float(p), least_p(len(differences))


def _difference(change: Change) -> str:
    mean, low, _, _ = _interval(change)
    text = format_score(mean, change.metric, "+")
    return text if np.isnan(low) else f"{text} ± {format_score(mean - low, change.metric)}"


def _tidy(cell: CellPair) -> Iterator[tuple[object, ...]]:
    """The rows of a cell in the CSV file, with the columns `TIDY`."""
    seeds = len(cell.shared)
    without_score = ("", *[float("nan")] * 5, seeds, *[float("nan")] * 4)
    scores = [_numbers(change) for change in cell.changes]
    for score in scores or [without_score]:
        yield (*cell.shown, cell.verdict, *score, cell.time_ratio, cell.notes)


def _numbers(change: Change) -> tuple[object, ...]:
    """The values of a score in the columns `TIDY` from score to least_p_sign_flip."""
    return (
        change.metric,
        float(change.a.mean()),
        float(change.b.mean()),
        *_interval(change),
        change.p,
        change.corrected,
        *_sign_flip(change),
    )
