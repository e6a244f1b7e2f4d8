"""Two stores side by side, as a table: what really changed, what changed within noise, and what is identical."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from retrograde.errors import UserError
from retrograde.metrics.intervals import Interval, t_interval
from retrograde.metrics.paired import FEWEST, least_p, p_text, sign_flip_p
from retrograde.parts.provenance import changes
from retrograde.records.record import Record
from retrograde.reporting.cell_pairs import MACHINE, NOISE, REALLY, UNTESTED, Both, Change, compared
from retrograde.reporting.cells import number
from retrograde.reporting.table import Entry, Section, Table

COLUMNS = (
    *(
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
    ),
    "remarks",
)
TIDY = [
    *(
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
    ),
    *("p_t", "p_holm", "p_sign_flip", "least_p_sign_flip", "time_ratio", "remarks"),
]
VERSIONS = ("torch", "numpy", "python", "retrograde", "commit")
NAMED = 5
"""Cells that the summary names."""


def compare(a: Sequence[Record], b: Sequence[Record], names: tuple[str, str]) -> tuple[Table, bool]:
    """The table of two stores, called by `names`, and whether anything really changed; `UserError` where they share nothing."""
    for records, name in zip((a, b), names, strict=True):
        if not records:
            raise UserError(
                f"Two stores are compared by their records; {name} holds none. Name a store that has some."
            )
    cells = compared(a, b)
    if not any(cell.shared for cell in cells):
        raise UserError(
            f"Replicates are compared that share benchmark, strategy, settings, data and seed; {names[0]} has, for example, "
            f"{a[0].cell.text!r}, {names[1]} {b[0].cell.text!r}, and they share none. Run the same cells and seeds in both."
        )
    rows = tuple(row for cell in cells for row in _rows(cell))
    tidy = pd.DataFrame([row for cell in cells for row in _tidy(cell)], columns=TIDY)
    notes = (summary(cells), *_differences(cells), _READING)
    section = Section(f"A: {names[0]}, B: {names[1]}", COLUMNS, rows)
    return Table("Comparison", notes, (section,), tidy), any(cell.news in REALLY for cell in cells)


_READING = (
    "Replicates of the same cell and seed are paired. Identical: equal counts of right answers after each task, or equal "
    "losses. Else: the means in A and in B of ACC and forgetting, or of few-shot accuracy or loss after the last inner step, "
    "in percent unless a loss; B − A ± half of its 95 % t-interval; the p-value of the paired t-test, plain and after Holm's "
    "correction over all scores of all cells that are not identical; that of the sign-flip test and the least that it can "
    "reach, which is also the t-test's where all differences are equal. Really changed: p (Holm) < 0.05 (worse or better), or "
    f"a status is another; below {FEWEST} replicates nothing is said. Time: of a "
    "training step, where all ran on one machine with as many threads, jobs and replicates."
)


def summary(cells: Sequence[Both]) -> str:
    """What changed, on one line."""
    count = Counter(cell.news for cell in cells)
    really = [cell for cell in cells if cell.news in REALLY]
    both = sum(bool(cell.shared) for cell in cells)
    said = [f"{count['identical']} identical", f"{count[NOISE]} {NOISE}"]
    said += [f"{count[UNTESTED]} {UNTESTED}"] * (count[UNTESTED] > 0) + [
        f"{len(really)} really changed"
    ]
    text = f"{both} cell{'s' * (both != 1)} in both: {', '.join(said)}"
    named = [f"{cell.title} ({cell.news})" for cell in really[:NAMED]]
    named += [f"and {len(really) - NAMED} more"] * (len(really) > NAMED)
    alone = [
        f"{count[news]} {news}"
        for news in ("only in A", "only in B", "no seed in both")
        if count[news]
    ]
    return (
        text
        + ": " * bool(named)
        + ", ".join(named)
        + "."
        + (f" Besides: {', '.join(alone)}." if alone else "")
    )


def _differences(cells: Sequence[Both]) -> Iterator[str]:
    """Differences of the code that ran, and of what it ran on."""
    shared = [(cell.a[seed], cell.b[seed]) for cell in cells for seed in cell.shared]
    edited = sorted(
        {
            f"{change.what} ({change.digests})"
            for a, b in shared
            for change in changes(a.code, b.code)
        }
    )
    if edited:
        yield f"The code of B is not that of A: {', '.join(edited)}."
    found = []
    for key in (*MACHINE, *VERSIONS):
        a, b = (
            {str(pair[store].environment.get(key, "not said")) for pair in shared}
            for store in (0, 1)
        )
        if a != b:
            found.append(f"{key} {', '.join(sorted(a))} in A, {', '.join(sorted(b))} in B")
    if found:
        yield f"The environment differs: {'; '.join(found)}."


def _rows(cell: Both) -> Iterator[tuple[Entry, ...]]:
    ratio = "–" if np.isnan(cell.time_ratio) else f"{cell.time_ratio:.2f}"
    if cell.news == "identical" or not cell.changes:
        n = str(len(cell.shared) or len(cell.a) or len(cell.b))
        yield tuple(map(Entry, (cell.title, cell.news, *["–"] * 8, n, ratio, cell.remarks)))
        return
    for change in cell.changes:
        means = (number(values.mean(), change.metric) for values in (change.a, change.b))
        tests = map(p_text, (change.p, change.corrected, *_sign_flip(change)))
        verdict = "status changed, " * bool(cell.flipped) + change.verdict
        texts = (
            cell.title,
            verdict,
            change.metric,
            *means,
            _difference(change),
            *tests,
            str(len(change.a)),
            ratio,
            cell.remarks,
        )
        yield tuple(map(Entry, texts))


def _interval(change: Change) -> Interval:
    return t_interval(change.b - change.a)


def _sign_flip(change: Change) -> tuple[float, float]:
    return float(sign_flip_p((change.b - change.a)[None])[0]), least_p(len(change.a))


def _difference(change: Change) -> str:
    mean, low, _, _ = _interval(change)
    return number(mean, change.metric, "+") + (
        "" if np.isnan(low) else f" ± {number(mean - low, change.metric)}"
    )


def _tidy(cell: Both) -> Iterator[tuple[object, ...]]:
    nothing = float("nan")
    if not cell.changes:
        yield (
            *cell.shown,
            cell.news,
            "",
            *[nothing] * 5,
            len(cell.shared),
            *[nothing] * 4,
            cell.time_ratio,
            cell.remarks,
        )
    for change in cell.changes:
        means = float(change.a.mean()), float(change.b.mean())
        tests = change.p, change.corrected, *_sign_flip(change)
        yield (
            *cell.shown,
            cell.news,
            change.metric,
            *means,
            *_interval(change),
            *tests,
            cell.time_ratio,
            cell.remarks,
        )
