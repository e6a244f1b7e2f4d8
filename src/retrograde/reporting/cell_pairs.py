"""What changed between two stores, cell by cell: replicates of the same cell and seed are paired."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from retrograde.metrics.frames import ENDS, Label, end_frame, labels
from retrograde.metrics.paired import ALPHA, FEWEST, holm, paired_p
from retrograde.records.cell import Cell
from retrograde.records.record import Record
from retrograde.records.versions import told_apart

UNTESTED = "changed, too few replicates to say"
NOISE = "changed within noise"
NEWS = (
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
"""What is said of a cell, the worst first."""
REALLY = NEWS[:3]
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
        return float(paired_p(self.b - self.a)) if len(self.a) >= FEWEST else float("nan")

    @property
    def verdict(self) -> str:
        """What the corrected t-test says."""
        if np.isnan(self.corrected):
            return UNTESTED
        if self.corrected >= ALPHA:
            return NOISE
        return "better" if (self.b.mean() > self.a.mean()) == ENDS[self.metric] else "worse"


@dataclass(frozen=True)
class Both:
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
    def flipped(self) -> list[int]:
        """The seeds that did not end alike."""
        return [seed for seed in self.shared if self.a[seed].status != self.b[seed].status]

    @cached_property
    def identical(self) -> bool:
        """Whether all seeds in both ended alike with the same counts of right answers, or the same losses."""
        return all(_left(self.a[seed]) == _left(self.b[seed]) for seed in self.shared)

    @property
    def news(self) -> str:
        """The worst that is to be said."""
        if not self.shared:
            return (
                "no seed in both" if self.a and self.b else "only in A" if self.a else "only in B"
            )
        if self.identical:
            return "identical"
        found = [change.verdict for change in self.changes] + ["status changed"] * bool(
            self.flipped
        )
        return min(found, key=NEWS.index, default=UNTESTED)

    @property
    def title(self) -> str:
        """The cell in words."""
        return (
            f"{self.shown.strategy} {self.shown.settings}".strip() + f" on {self.shown.benchmark}"
        )

    @property
    def shown(self) -> Label:
        """The label, with the versions where a store has several."""
        versions = f" ({self.versions})" if self.versions else ""
        return self.label._replace(settings=f"{self.label.settings}{versions}".strip())

    @property
    def remarks(self) -> str:
        """What is to be known beside the numbers."""
        ends = [
            f"seed {seed}: {self.a[seed].status} → {self.b[seed].status}" for seed in self.flipped
        ]
        alone = (
            {"A": self.a.keys() - self.b.keys(), "B": self.b.keys() - self.a.keys()}
            if self.shared
            else {}
        )
        few = [
            f"seed{'s' * (len(s) > 1)} {', '.join(map(str, sorted(s)))} only in {store}"
            for store, s in alone.items()
            if s
        ]
        return "; ".join(ends + few)

    @property
    def time_ratio(self) -> float:
        """The training time of a step in B over that in A, where all ran alike on one machine; else NaN."""
        a, b = ([store[seed] for seed in self.shared] for store in (self.a, self.b))
        timed = all(
            record.status == "done" and record.how["steps"] > 0 and record.clocks["train"] > 0
            for record in a + b
        )
        if not (self.shared and timed) or len(set(map(_place, a + b))) > 1:
            return float("nan")
        own, others = (
            sum(float(record.clocks["train"] / record.how["steps"]) for record in store)
            for store in (b, a)
        )
        return own / others


def _left(record: Record) -> tuple[object, ...]:
    return record.status, record.correct, record.correct_told, record.course, record.adaptation


def _place(record: Record) -> tuple[object, ...]:
    return record.machine, record.how["backend"], record.how["compiled"]


def compared(a: Sequence[Record], b: Sequence[Record]) -> list[Both]:
    """Every cell of two stores, the worst news first; p-values are corrected for all scores of all cells that changed."""
    label = labels([*a, *b])
    cells: defaultdict[Cell, tuple[dict[int, Record], dict[int, Record]]] = defaultdict(
        lambda: ({}, {})
    )
    for store, records in enumerate((a, b)):
        for record in records:
            cells[record.cell][store][record.seed] = record
    scores = [_scores(records, label) for records in (a, b)]
    versions = [_versions(records) for records in (a, b)]
    found = [
        Both(label[cell], mine, others, versions=said)
        for cell, stores in cells.items()
        for mine, others, said in _apart(*stores, *versions)
    ]
    found = _corrected(
        [
            cell if cell.identical else replace(cell, changes=_changes(cell, *scores))
            for cell in found
        ]
    )
    return sorted(found, key=lambda cell: (NEWS.index(cell.news), cell.label))


Versions = Mapping[tuple[Cell, int], str]
"""By cell and seed, the version of the files that made a record; empty where the store has no other."""


def _versions(records: Sequence[Record]) -> Versions:
    told, _ = told_apart(records)
    parts = [(record.cell.benchmark.version, record.cell.strategy.version) for record in told]
    return {
        (r.cell, r.seed): ", ".join(filter(None, each))
        for r, each in zip(records, parts, strict=True)
    }


def _apart(
    a: By, b: By, versions_a: Versions, versions_b: Versions
) -> Iterator[tuple[By, By, str]]:
    """The records of a cell by the versions in A and in B, so that no mean is over two.

    A seed that is in one store alone goes with others of its version.
    """
    own = {seed: versions_a[record.cell, seed] for seed, record in a.items()}
    others = {seed: versions_b[record.cell, seed] for seed, record in b.items()}
    pairs = {seed: (own[seed], others[seed]) for seed in a.keys() & b.keys()}
    for seed, version in own.items():
        pairs.setdefault(
            seed, next((p for p in sorted({*pairs.values()}) if p[0] == version), (version, ""))
        )
    for seed, version in others.items():
        pairs.setdefault(
            seed, next((p for p in sorted({*pairs.values()}) if p[1] == version), ("", version))
        )
    for pair in sorted({*pairs.values()}):
        mine, theirs = ({s: r for s, r in store.items() if pairs[s] == pair} for store in (a, b))
        yield (
            mine,
            theirs,
            ", ".join(
                f"{name}: {version}" for name, version in zip("AB", pair, strict=True) if version
            ),
        )


Scores = dict[tuple[Label, str], dict[int, float]]
"""By cell and metric: each seed's score."""


def _scores(records: Sequence[Record], label: Mapping[Cell, Label]) -> Scores:
    found: Scores = defaultdict(dict)
    for benchmark, strategy, settings, seed, _, metric, value in end_frame(
        records, label
    ).itertuples(index=False):
        found[Label(benchmark, strategy, settings), metric][seed] = value
    return found


def _changes(cell: Both, a: Scores, b: Scores) -> tuple[Change, ...]:
    changes = []
    for metric in ENDS:
        ours, theirs = (scores.get((cell.label, metric), {}) for scores in (a, b))
        seeds = [seed for seed in cell.shared if seed in ours and seed in theirs]
        if seeds:
            changes.append(
                Change(
                    metric, np.array([ours[s] for s in seeds]), np.array([theirs[s] for s in seeds])
                )
            )
    return tuple(changes)


def _corrected(cells: list[Both]) -> list[Both]:
    corrected = iter(holm(np.array([change.p for cell in cells for change in cell.changes])))
    return [
        replace(
            cell,
            changes=tuple(
                change._replace(corrected=float(next(corrected))) for change in cell.changes
            ),
        )
        for cell in cells
    ]
