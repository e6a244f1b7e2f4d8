"""Published numbers next to ours, each with a verdict on its reproduction."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from retrograde import CellSpec, Record, TableResult, parse
from retrograde.metrics import (
    LEVEL,
    Interval,
    Label,
    adaptation_frame,
    cell_labels,
    difference,
    score_frame,
    t_interval,
)
from retrograde.reporting import (
    POINTS,
    SHARE,
    Entry,
    Published,
    Section,
    Table,
    fits,
    is_loss,
    matcher,
    outcomes,
    published_numbers,
    row_title,
)

COLUMNS = (
    "strategy",
    "published",
    "metric",
    "theirs",
    "ours",
    "n",
    "difference",
    "90 % interval",
    "margin",
    "informative",
    "verdict",
)
TIDY = [
    "benchmark",
    "strategy",
    "settings",
    "metric",
    "method",
    "paper",
    "table",
    "protocol",
    "definition",
    "checked",
    "theirs",
    "spread",
    "spread_is",
    "runs",
    "mean",
    "ci_low",
    "ci_high",
    "n",
    "difference",
    "difference_low",
    "difference_high",
    "difference_low_90",
    "difference_high_90",
    "margin",
    "informative",
    "verdict",
    "reason",
]
VERDICTS = ("reproduced", "differs", "cannot tell", "not comparable")
INNER = 1 - 2 * (1 - LEVEL)
"""Level of the interval that decides two one-sided tests at 5 %."""
FLOORS = ("finetune", "pretrain")
"""Strategies without protection from forgetting, or without meta-learning.

A number that they reach is one that a broken strategy reaches as well.
"""
CEILINGS = ("joint", "oracle")
"""Strategies that know everything.

Nearly every strategy reaches a number that they do not exceed.
"""
Values = Float[np.ndarray, " n"]
SPREADS = {"standard deviation": "s.d.", "standard error": "s.e.", "95 % interval": "95 %"}


class Baseline(NamedTuple):
    """A number of a strategy in `FLOORS` or `CEILINGS` under the protocol of a published number."""

    strategy: str
    value: float
    theirs: bool  # printed in the same table, where we have no run


class Comparison(NamedTuple):
    """One published number and ours; accuracies are in percent."""

    label: Label
    upper_bound: bool
    statuses: Sequence[str]  # of our replicates
    entry: Published
    metric: str
    ours: Interval
    difference: Interval  # ours less theirs
    inner: Interval  # the same, at the level `INNER`
    reason: str  # for which the two are not comparable; empty if they are
    baselines: Sequence[Baseline]

    @property
    def margin(self) -> float:
        """The largest difference that counts as reproduced, in the unit of the number."""
        return self.entry.margin(self.metric)


class Known(NamedTuple):
    """All numbers to compare with: ours, and every published row.

    Args:
        measured: Scores of replicates by benchmark, strategy, settings and metric.
        label: The labels of our cells.
        entries: All published rows.
    """

    measured: Mapping[tuple[str, ...], Values]
    label: Mapping[CellSpec, Label]
    entries: Sequence[Published]

    def has(self, cell: CellSpec, metric: str) -> bool:
        """True if a cell has a number of a metric."""
        return (*self.label[cell], metric) in self.measured

    def baseline(self, cell: CellSpec, metric: str) -> Baseline:
        """The mean of a cell as a baseline."""
        values = self.measured[(*self.label[cell], metric)]
        return Baseline(cell.strategy.name, float(values.mean()), theirs=False)

    def in_protocol(
        self, entries: Sequence[Published], cells: Sequence[CellSpec], metric: str
    ) -> list[Baseline]:
        """The numbers of the cells that follow the protocol of some row."""
        return [
            self.baseline(cell, metric)
            for cell in cells
            if any(_follows(cell, entry) for entry in entries)
        ]


def _follows(cell: CellSpec, entry: Published) -> bool:
    return fits(entry.benchmark, "benchmarks", cell.benchmark) and not entry.departures(cell)


@dataclass(frozen=True)
class AgainstPublished(TableResult):
    """Published numbers next to ours: reproduced, different, or undecided.

    A row is informative if no baseline would pass as well.
    """

    def table(self, records: Sequence[Record]) -> Table:
        pairs = sorted(
            _pairs(records, cell_labels(records)),
            key=lambda pair: (pair.label.benchmark, pair.upper_bound, pair.label),
        )
        by_benchmark = defaultdict(list)
        for pair in pairs:
            by_benchmark[pair.label.benchmark].append(_row(pair))
        sections = tuple(Section(name, COLUMNS, tuple(rows)) for name, rows in by_benchmark.items())
        tidy = pd.DataFrame([_tidy(pair) for pair in pairs if pair.ours.n], columns=TIDY)
        notes = (*_counts(pairs), _NUMBERS, _VERDICT, _INFORMATIVE)
        return Table("Published numbers", notes, sections, tidy)


_NUMBERS = (
    "Theirs: as printed, in percent unless a loss; in brackets what its ± is (s.d.: standard "
    "deviation, s.e.: standard error of the mean, 95 %: interval over the test tasks of one run) "
    "and the number of runs. Unverified: never read in the source or a copy of it. Ours: the mean "
    "over n replicates ± half of the 95 % t-interval."
)
_VERDICT = (
    "Difference: ours less theirs ± half of its 95 % interval: Welch's; where the source gives no "
    "spread over its runs, these (one, if it does not say how many) are taken to scatter as ours. "
    "Reproduced: the two are equivalent by two one-sided tests at 5 %, which is to say that the "
    "90 % interval of the difference lies within ± the margin. Differs: not reproduced, and the "
    "95 % interval does not contain 0; by more than the margin, where all of that interval lies "
    "beyond it. Cannot tell: neither, or we have a single replicate. Every interval is widened by "
    f"half a unit of the last digit printed. The margin is {POINTS:g} points of a percentage and "
    f"{SHARE:g} % of a printed loss, unless the file of numbers has another. A number is not "
    "comparable where a setting of the benchmark is not as the protocol has it. Protocols and the "
    "sources' definitions are in the CSV."
)
_INFORMATIVE = (
    "Informative: no, where fine-tuning (few-shot: pretraining) or joint training (few-shot: the "
    "oracle) would pass as well: its mean here, or where it was not run its number in the same "
    "table, lies within the margin of theirs. It is taken from the same protocol, else from the "
    "same benchmark and scenario in that table. A broken strategy may pass such a row. Baseline: "
    "the row is of such a strategy itself. Unknown: there is no fine-tuning to compare with."
)


def _counts(pairs: Sequence[Comparison]) -> tuple[str, ...]:
    """A note with the number of rows of each kind and verdict; none if there are no rows."""
    if not pairs:
        return ()
    kinds = {
        "yes": "Informative numbers",
        "no": "uninformative",
        "baseline": "baselines",
        "unknown": "unknown",
    }
    found = Counter((_informative(pair)[0], _verdict(pair)[0]) for pair in pairs)
    texts = []
    for kind, title in kinds.items():
        verdicts = [verdict for verdict in VERDICTS if found[kind, verdict]]
        counts = [_counted(found[kind, verdict], verdict) for verdict in verdicts]
        # the informative numbers matter most: without any, the note says so
        if counts or kind == "yes":
            texts.append(f"{title}: {', '.join(counts) or 'none'}")
    return ("; ".join(texts) + ".",)


def _counted(n: int, verdict: str) -> str:
    return f"{n} differ" if verdict == "differs" and n > 1 else f"{n} {verdict}"


def _pairs(records: Sequence[Record], label: Mapping[CellSpec, Label]) -> Iterator[Comparison]:
    """Every published number with its cell, those of one cell in the order of the file."""
    by_cell = defaultdict(list)
    for record in records:
        by_cell[record.cell].append(record)
    entries = published_numbers()
    published_for = matcher(entries)
    matches = {cell: published_for(cell) for cell in by_cell}
    # most stores have no published number, and need no scores
    measured = _measured(records, label) if any(matches.values()) else {}
    known = Known(measured, label, entries)
    for cell, matched in matches.items():
        for entry in matched:
            for metric in entry.row.values:
                yield _pair(cell, by_cell[cell], entry, metric, known)


def _pair(
    cell: CellSpec, replicates: Sequence[Record], entry: Published, metric: str, known: Known
) -> Comparison:
    statuses = [record.status for record in replicates]
    # failed replicates have no value
    values = known.measured.get((*known.label[cell], metric), np.empty(0))
    return Comparison(
        label=known.label[cell],
        upper_bound=replicates[0].upper_bound,
        statuses=statuses,
        entry=entry,
        metric=metric,
        ours=t_interval(values),
        difference=_difference(values, entry, metric, LEVEL),
        inner=_difference(values, entry, metric, INNER),
        reason=entry.differs(cell) or _lacking(statuses, len(values)),
        baselines=_baselines(entry, metric, cell.stream, known),
    )


def _baselines(entry: Published, metric: str, stream: str, known: Known) -> list[Baseline]:
    """The floors and the ceilings to compare a number with, the nearest of each.

    The nearest are those on the same stream, else in the same protocol, else in the same scenario.
    """
    table = [other for other in known.entries if other.source == entry.source]
    protocol = [other for other in table if other.benchmark == entry.benchmark]
    scenario = _scenario(entry)
    alike = [other for other in table if scenario and _scenario(other) == scenario]
    baselines = []
    for names in (FLOORS, CEILINGS):
        named = [cell for cell in known.label if cell.strategy.name in names]
        cells = [cell for cell in named if known.has(cell, metric)]
        on_stream = [known.baseline(cell, metric) for cell in cells if cell.stream == stream]
        baselines += (
            on_stream
            or known.in_protocol(protocol, cells, metric)
            or _printed(protocol, names, metric)
            or known.in_protocol(alike, cells, metric)
            or _printed(alike, names, metric)
        )
    return baselines


def _scenario(entry: Published) -> tuple[str, str] | None:
    """The benchmark and the scenario of a row; None for episodes."""
    name, settings = parse(entry.benchmark)
    return (name, settings["scenario"]) if "scenario" in settings else None


def _printed(entries: Sequence[Published], names: Sequence[str], metric: str) -> list[Baseline]:
    """The numbers of some strategies among rows of a table."""
    baselines = []
    for entry in entries:
        if metric in entry.row.values:
            name = parse(entry.row.strategy)[0]
            if name in names:
                baselines.append(Baseline(name, entry.number(metric).value, theirs=True))
    return baselines


def _measured(
    records: Sequence[Record], label: Mapping[CellSpec, Label]
) -> dict[tuple[str, ...], Values]:
    """The values of replicates by benchmark, strategy, settings and metric.

    A metric of episodes names its inner step: `accuracy@3` is the accuracy after three.
    """
    adapted = adaptation_frame(records, label)
    measures = zip(adapted.metric, adapted.step, strict=True)
    adapted = adapted.assign(metric=[f"{metric}@{step}" for metric, step in measures])
    names = ("benchmark", "strategy", "settings", "metric", "value")
    values = defaultdict(list)
    for frame in (score_frame(records, label), adapted):
        # rows of lists are read far faster than rows of a frame
        columns = [frame[name].tolist() for name in names]
        for *key, value in zip(*columns, strict=True):
            scale = 1 if is_loss(key[-1]) else 100
            values[tuple(key)].append(scale * value)
    return {key: np.array(of_key) for key, of_key in values.items()}


def _difference(values: Values, entry: Published, metric: str, level: float) -> Interval:
    """Our mean less the published number, with its interval at some level."""
    value, error, _ = entry.number(metric)
    if len(values) > 1:
        return difference(values, value, error, entry.source.n or 1, level)
    mean = t_interval(values).mean - value
    return Interval(mean, float("nan"), float("nan"), len(values))


def _lacking(statuses: Sequence[str], n: int) -> str:
    """The reason why our replicates allow no comparison; empty if they do."""
    lost = len(statuses) - statuses.count("done")
    if lost:
        return f"{lost} of our replicates diverged or failed"
    return "" if n else "we have no such number"


def _verdict(pair: Comparison) -> tuple[str, str]:
    """The verdict, and a remark on it."""
    if pair.reason:
        return "not comparable", pair.reason
    if pair.difference.n < 2:
        return "cannot tell", "a single replicate of ours"
    rounding = pair.entry.number(pair.metric).rounding
    margin = pair.margin
    # two one-sided tests of equivalence (Schuirmann 1987)
    low, high = _widened(pair.inner, rounding)
    if -margin <= low and high <= margin:
        return "reproduced", ""
    low, high = _widened(pair.difference, rounding)
    if low <= 0 <= high:
        return "cannot tell", ""
    beyond = min(abs(low), abs(high)) > margin
    return "differs", "by more than the margin" if beyond else ""


def _widened(interval: Interval, rounding: float) -> tuple[float, float]:
    return interval.low - rounding, interval.high + rounding


def _informative(pair: Comparison) -> tuple[str, str]:
    """The kind of row (yes, no, baseline or unknown), and a remark on it."""
    if parse(pair.entry.row.strategy)[0] in (*FLOORS, *CEILINGS):
        return "baseline", ""
    theirs = pair.entry.number(pair.metric).value
    for baseline in pair.baselines:
        # a broken strategy may do as well as a baseline, and pass
        if abs(baseline.value - theirs) <= pair.margin:
            where = " in their table" if baseline.theirs else ""
            return "no", f"{baseline.strategy} has {baseline.value:.2f}{where}"
    known = {baseline.strategy for baseline in pair.baselines}
    if known.isdisjoint(FLOORS):
        return "unknown", ""
    return "yes", "joint training is unknown" if known.isdisjoint(CEILINGS) else ""


def _row(pair: Comparison) -> tuple[Entry, ...]:
    texts = (
        row_title((pair.upper_bound, *pair.label[1:])),
        pair.entry.where,
        pair.metric,
        _theirs(pair),
        _number(pair.ours),
        outcomes(pair.statuses),
        _number(pair.difference, "+"),
        _bounds(pair.inner),
        f"{pair.margin:.3g}",
        _remarked(_informative(pair)),
        _remarked(_verdict(pair)),
    )
    return tuple(map(Entry, texts))


def _theirs(pair: Comparison) -> str:
    """The published number; in brackets, the meaning of its ± and the number of runs."""
    source = pair.entry.source
    text = pair.entry.text(pair.metric)
    runs = f"n = {source.n}" if source.n else ""
    about = [word for word in (SPREADS.get(source.spread, ""), runs) if word]
    return f"{text} ({', '.join(about)})" if about else text


def _remarked(words: tuple[str, str]) -> str:
    return ": ".join(filter(None, words))


def _bounds(interval: Interval) -> str:
    if np.isnan(interval.low):
        return "–"
    texts = []
    for bound in interval[1:3]:
        # adding 0 turns -0.0 into 0.0
        rounded = round(bound, 2) + 0.0
        texts.append(f"{rounded:+.2f}" if abs(rounded) < 1000 else f"{rounded:+.2g}")
    return " to ".join(texts)


def _number(interval: Interval, sign: str = "") -> str:
    mean = interval.mean
    half = interval.high - mean
    if np.isnan(mean):
        return "–"
    # a strategy that almost diverged has numbers too long for a column
    if abs(mean) >= 1000:
        return f"{mean:{sign}.2g}"
    text = f"{round(mean, 2) + 0.0:{sign}.2f}"
    return text if np.isnan(half) else f"{text} ± {half:.2f}"


def _tidy(pair: Comparison) -> tuple[object, ...]:
    source = pair.entry.source
    value, _, spread = pair.entry.text(pair.metric).partition(" ± ")
    definition = source.metrics[pair.metric]
    return (
        *pair.label,
        pair.metric,
        pair.entry.row.method,
        source.paper,
        source.table,
        source.protocol,
        definition,
        source.checked,
        value,
        spread,
        source.spread,
        str(source.n or ""),
        *pair.ours,
        *pair.difference[:3],
        *pair.inner[1:3],
        pair.margin,
        _remarked(_informative(pair)),
        *_verdict(pair),
    )
