"""Cells of two stores, paired by cell and seed, with verdicts on their changes."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from retrograde.metrics.frames import END_METRICS, Label, cell_labels, end_frame
from retrograde.metrics.paired import ALPHA, MIN_SEEDS, holm, paired_p
from retrograde.records.cell import CellSpec
from retrograde.records.record import Record
from retrograde.records.versions import told_apart

UNTESTED = "changed, too few replicates to say"
NOISE = "changed within noise"
VERDICTS = (
    "status changed",
    "worse",
    "better",
    UNTESTED,
    NOISE,
    "no seed in both",
    "only in A",
    "only in B",
    "identical",
)
"""The verdicts on a cell, the worst first."""
SIGNIFICANT = VERDICTS[:3]
"""The verdicts that count as a real change."""
MACHINE = ("cpu", "cores", "device", "threads", "jobs")
By = Mapping[int, Record]
"""The records of a cell in one store, by seed."""


class Change(NamedTuple):
    """A score of a cell in A and in B, on the seeds that are done in both."""

    metric: str
    a: Float[np.ndarray, " n"]
    b: Float[np.ndarray, " n"]
    corrected: float = float("nan")  # p after Holm's correction

    @property
    def p(self) -> float:
        """The p-value of the paired t-test; NaN with too few replicates."""
        return float(paired_p(self.b - self.a)) if len(self.a) >= MIN_SEEDS else float("nan")

    @property
    def verdict(self) -> str:
        """The verdict of the corrected t-test."""
        if np.isnan(self.corrected):
            return UNTESTED
        if self.corrected >= ALPHA:
            return NOISE
        rose = self.b.mean() > self.a.mean()
        return "better" if rose == END_METRICS[self.metric] else "worse"


@dataclass(frozen=True)
class CellPair:
    """A cell as it is in A and in B, and its scores unless it is identical."""

    label: Label
    a: By
    b: By
    changes: tuple[Change, ...] = ()
    versions: str = ""  # of the files that made it, where a store has several

    @cached_property
    def shared(self) -> list[int]:
        """The seeds in both."""
        return sorted(self.a.keys() & self.b.keys())

    @cached_property
    def status_changed(self) -> list[int]:
        """The seeds whose status differs between A and B."""
        return [seed for seed in self.shared if self.a[seed].status != self.b[seed].status]

    @cached_property
    def identical(self) -> bool:
        """True if all seeds in both have the same status and results.

        Results are counts of right answers, or losses.
        """
        return all(_outcome(self.a[seed]) == _outcome(self.b[seed]) for seed in self.shared)

    @property
    def verdict(self) -> str:
        """The worst verdict on the cell."""
        if not self.shared:
            return self._unshared
        if self.identical:
            return "identical"
        verdicts = [change.verdict for change in self.changes]
        if self.status_changed:
            verdicts.append("status changed")
        return min(verdicts, key=VERDICTS.index, default=UNTESTED)

    @property
    def _unshared(self) -> str:
        """The verdict on a cell that has no seed in both stores."""
        if self.a and self.b:
            return "no seed in both"
        return "only in A" if self.a else "only in B"

    @property
    def title(self) -> str:
        """The cell in words."""
        benchmark, strategy, settings = self.shown
        return f"{strategy} {settings}".strip() + f" on {benchmark}"

    @property
    def shown(self) -> Label:
        """The label, with the versions where a store has several."""
        versions = f" ({self.versions})" if self.versions else ""
        return self.label._replace(settings=f"{self.label.settings}{versions}".strip())

    @property
    def notes(self) -> str:
        """Remarks on the seeds: changes of status, and seeds in one store alone."""
        remarks = [
            f"seed {seed}: {self.a[seed].status} → {self.b[seed].status}"
            for seed in self.status_changed
        ]
        # of a cell in one store alone, the verdict says it
        if self.shared:
            remarks += _only_in("A", self.a.keys() - self.b.keys())
            remarks += _only_in("B", self.b.keys() - self.a.keys())
        return "; ".join(remarks)

    @property
    def time_ratio(self) -> float:
        """The training time of a step in B over that in A.

        NaN unless all replicates ran alike on one machine.
        """
        a = [self.a[seed] for seed in self.shared]
        b = [self.b[seed] for seed in self.shared]
        if not self.shared or not all(map(_timed, a + b)):
            return float("nan")
        places = set(map(_place, a + b))
        if len(places) > 1:
            return float("nan")
        return _seconds_per_step(b) / _seconds_per_step(a)


def _only_in(store: str, seeds: Iterable[int]) -> list[str]:
    """The remark on seeds that are in one store alone; none without such seeds."""
    names = [str(seed) for seed in sorted(seeds)]
    if not names:
        return []
    noun = "seeds" if len(names) > 1 else "seed"
    return [f"{noun} {', '.join(names)} only in {store}"]


def _timed(record: Record) -> bool:
    """True if a record has a training time for its steps."""
    return record.status == "done" and record.how["steps"] > 0 and record.clocks["train"] > 0


def _seconds_per_step(records: Sequence[Record]) -> float:
    """The training seconds of a step, summed over replicates."""
    return sum(float(record.clocks["train"] / record.how["steps"]) for record in records)


def _outcome(record: Record) -> tuple[object, ...]:
    """The parts of a record that are equal if two runs gave the same."""
    return (
        record.status,
        record.correct,
        record.correct_given_task,
        record.squared_errors,
        record.online_accuracy,
        record.adaptation,
    )


def _place(record: Record) -> tuple[object, ...]:
    """The machine and the mode of execution, within which times are comparable."""
    return record.machine, record.how["backend"], record.how["compiled"]


def compared(a: Sequence[Record], b: Sequence[Record]) -> list[CellPair]:
    """Every cell of two stores, the worst verdict first.

    P-values are corrected for all scores of all cells that changed.
    """
    label = cell_labels([*a, *b])
    scores_a = _scores(a, label)
    scores_b = _scores(b, label)
    cells = []
    for cell in _paired(a, b, label):
        changes = () if cell.identical else _changes(cell, scores_a, scores_b)
        cells.append(replace(cell, changes=changes))
    return sorted(_corrected(cells), key=lambda cell: (VERDICTS.index(cell.verdict), cell.label))


def _paired(
    a: Sequence[Record],
    b: Sequence[Record],
    label: Mapping[CellSpec, Label],
) -> Iterator[CellPair]:
    """Every cell of two stores by the versions of its files, without scores."""
    versions_a = _versions(a)
    versions_b = _versions(b)
    of_a = _by_cell(a)
    of_b = _by_cell(b)
    # a cell may be in one store alone
    for cell in dict.fromkeys([*of_a, *of_b]):
        pairs = _apart(of_a.get(cell, {}), of_b.get(cell, {}), versions_a, versions_b)
        for mine, theirs, versions in pairs:
            yield CellPair(label[cell], mine, theirs, versions=versions)


def _by_cell(records: Sequence[Record]) -> dict[CellSpec, dict[int, Record]]:
    """The records of each cell, by seed."""
    cells: defaultdict[CellSpec, dict[int, Record]] = defaultdict(dict)
    for record in records:
        cells[record.cell][record.seed] = record
    return dict(cells)


Versions = Mapping[tuple[CellSpec, int], str]
"""By cell and seed, the version of the files that made a record; empty for the only version."""


def _versions(records: Sequence[Record]) -> Versions:
    # the records come back in the same order, with versions in their cells
    named, _ = told_apart(records)
    versions = {}
    for record, copy in zip(records, named, strict=True):
        parts = (copy.cell.benchmark.files, copy.cell.strategy.files)
        versions[record.cell, record.seed] = ", ".join(filter(None, parts))
    return versions


def _apart(
    a: By,
    b: By,
    versions_a: Versions,
    versions_b: Versions,
) -> Iterator[tuple[By, By, str]]:
    """The records of a cell by the versions in A and in B, so that no mean is over two.

    A seed that is in one store alone goes with others of its version.
    """
    of_a = {seed: versions_a[record.cell, seed] for seed, record in a.items()}
    of_b = {seed: versions_b[record.cell, seed] for seed, record in b.items()}
    pairs = {seed: (of_a[seed], of_b[seed]) for seed in a.keys() & b.keys()}
    for seed, version in of_a.items():
        alike = [pair for pair in sorted({*pairs.values()}) if pair[0] == version]
        pairs.setdefault(seed, alike[0] if alike else (version, ""))
    for seed, version in of_b.items():
        alike = [pair for pair in sorted({*pairs.values()}) if pair[1] == version]
        pairs.setdefault(seed, alike[0] if alike else ("", version))
    for pair in sorted({*pairs.values()}):
        mine = {seed: record for seed, record in a.items() if pairs[seed] == pair}
        theirs = {seed: record for seed, record in b.items() if pairs[seed] == pair}
        named = zip("AB", pair, strict=True)
        versions = [f"{store}: {version}" for store, version in named if version]
        yield mine, theirs, ", ".join(versions)


Scores = dict[tuple[Label, str], dict[int, float]]
"""The score of each seed, by cell and metric."""


def _scores(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> Scores:
    scores: Scores = defaultdict(dict)
    rows = end_frame(records, label).itertuples(index=False)
    for benchmark, strategy, settings, seed, _, metric, value in rows:
        scores[Label(benchmark, strategy, settings), metric][seed] = value
    return scores


def _changes(cell: CellPair, a: Scores, b: Scores) -> tuple[Change, ...]:
    """The scores of a cell that seeds have in both stores."""
    changes = []
    for metric in END_METRICS:
        of_a = a.get((cell.label, metric), {})
        of_b = b.get((cell.label, metric), {})
        seeds = [seed for seed in cell.shared if seed in of_a and seed in of_b]
        if seeds:
            values_a = np.array([of_a[seed] for seed in seeds])
            values_b = np.array([of_b[seed] for seed in seeds])
            changes.append(Change(metric, values_a, values_b))
    return tuple(changes)


def _corrected(cells: list[CellPair]) -> list[CellPair]:
    """The cells with p-values after Holm's correction over all changes of all cells."""
    # a cell without a p-value is no test, and does not count in the correction
    p = [change.p for cell in cells for change in cell.changes]
    corrected = iter(holm(np.array(p)).tolist())
    corrected_cells = []
    for cell in cells:
        changes = [change._replace(corrected=next(corrected)) for change in cell.changes]
        corrected_cells.append(replace(cell, changes=tuple(changes)))
    return corrected_cells
