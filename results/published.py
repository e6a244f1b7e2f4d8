"""Every published number that a cell of ours stands beside, and whether it is reproduced."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from retrograde import Cell, Record, Result, parse
from retrograde.metrics import (
    LEVEL,
    Interval,
    Label,
    adaptation_frame,
    difference,
    labels,
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
    finder,
    fits,
    is_loss,
    outcomes,
    published_numbers,
    row_title,
)

COLUMNS = (
    *(
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
    ),
    "verdict",
)
TIDY = [
    *(
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
    ),
    *("theirs", "spread", "spread_is", "runs", "mean", "ci_low", "ci_high", "n"),
    *(
        "difference",
        "difference_low",
        "difference_high",
        "difference_low_90",
        "difference_high_90",
        "margin",
    ),
    *("informative", "verdict", "reason"),
]
VERDICTS = ("reproduced", "differs", "cannot tell", "not comparable")
INNER = 1 - 2 * (1 - LEVEL)
"""Level of the interval that two one-sided tests at 5 % look at."""
FLOORS = ("finetune", "pretrain")
"""Strategies without any protection, or any meta-learning: a number that they reach is one that a broken strategy reaches."""
CEILINGS = ("joint", "oracle")
"""Strategies that know everything: where they are no better, nearly every strategy has the number."""
Values = Float[np.ndarray, " n"]
SPREADS = {"standard deviation": "s.d.", "standard error": "s.e.", "95 % interval": "95 %"}


class Baseline(NamedTuple):
    """A number of a strategy among `FLOORS` or `CEILINGS` in the protocol of a published number."""

    strategy: str
    value: float
    theirs: bool  # printed in the same table, where we have no run


class Beside(NamedTuple):
    """One published number and ours; accuracies are in percent."""

    label: Label
    upper_bound: bool
    statuses: Sequence[str]  # of our replicates
    entry: Published
    metric: str
    ours: Interval
    less: Interval  # ours less theirs
    inner: Interval  # the same, at the level `INNER`
    reason: str  # why the two are not comparable; nothing where they are
    baselines: Sequence[Baseline]

    @property
    def margin(self) -> float:
        return self.entry.margin(self.metric)


class Known(NamedTuple):
    """The scores of replicates by benchmark, strategy, settings and metric; the cells' labels; and every published row."""

    measured: Mapping[tuple[str, ...], Values]
    label: Mapping[Cell, Label]
    entries: Sequence[Published]

    def has(self, cell: Cell, metric: str) -> bool:
        return (*self.label[cell], metric) in self.measured

    def baseline(self, cell: Cell, metric: str) -> Baseline:
        return Baseline(
            cell.strategy.name, float(self.measured[(*self.label[cell], metric)].mean()), False
        )

    def in_protocol(
        self, entries: Sequence[Published], cells: Sequence[Cell], metric: str
    ) -> list[Baseline]:
        """The numbers of those cells that are in the protocol of some row."""
        inside = [
            cell
            for cell in cells
            if any(
                fits(entry.benchmark, cell.benchmark) and not entry.departures(cell)
                for entry in entries
            )
        ]
        return [self.baseline(cell, metric) for cell in inside]


@dataclass(frozen=True)
class AgainstPublished(Result):
    """The literature's numbers beside ours: reproduced, different, or no telling; and whether a baseline passes as well."""

    def table(self, records: Sequence[Record]) -> Table:
        label = labels(records)
        pairs = sorted(
            _pairs(records, label),
            key=lambda pair: (pair.label.benchmark, pair.upper_bound, pair.label),
        )
        by_benchmark = defaultdict(list)
        for pair in pairs:
            by_benchmark[pair.label.benchmark].append(_row(pair))
        sections = tuple(Section(name, COLUMNS, tuple(rows)) for name, rows in by_benchmark.items())
        tidy = [_tidy(pair) for pair in pairs if pair.ours.n]
        notes = (*_counts(pairs), _NUMBERS, _VERDICT, _INFORMATIVE)
        return Table("Published numbers", notes, sections, pd.DataFrame(tidy, columns=TIDY))


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
    "95 % interval does not hold 0; by more than the margin, where all of that interval lies "
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


def _counts(pairs: Sequence[Beside]) -> tuple[str, ...]:
    """The line that says how many numbers of each kind have each verdict; none where there are no numbers."""
    kinds = {
        "yes": "Informative numbers",
        "no": "uninformative",
        "baseline": "baselines",
        "unknown": "unknown",
    }
    found = Counter((_informative(pair)[0], _verdict(pair)[0]) for pair in pairs)
    texts = []
    for kind, title in kinds.items():
        counts = [
            _counted(found[kind, verdict], verdict) for verdict in VERDICTS if found[kind, verdict]
        ]
        if counts or kind == "yes":
            texts.append(f"{title}: {', '.join(counts) or 'none'}")
    return ("; ".join(texts) + ".",) if pairs else ()


def _counted(n: int, verdict: str) -> str:
    return f"{n} differ" if verdict == "differs" and n > 1 else f"{n} {verdict}"


def _pairs(records: Sequence[Record], label: Mapping[Cell, Label]) -> Iterator[Beside]:
    """Every number beside a cell, those beside one cell in the order of the file."""
    cells, entries = defaultdict(list), published_numbers()
    beside = finder(entries)
    for record in records:
        cells[record.cell].append(record)
    known = {cell: found for cell in cells if (found := beside(cell))}
    measured = _measured(records, label) if known else {}
    known_numbers = Known(measured, label, entries)
    for cell, found in known.items():
        replicates = cells[cell]
        bound, statuses = replicates[0].upper_bound, [record.status for record in replicates]
        for entry in found:
            for metric in entry.row.values:
                values = measured.get((*label[cell], metric), np.empty(0))
                less = _less(values, entry, metric, LEVEL)
                inner = _less(values, entry, metric, INNER)
                reason = entry.differs(cell) or _lacking(statuses, len(values))
                baselines = _baselines(entry, metric, cell.stream, known_numbers)
                ours = t_interval(values)
                yield Beside(
                    label[cell],
                    bound,
                    statuses,
                    entry,
                    metric,
                    ours,
                    less,
                    inner,
                    reason,
                    baselines,
                )


def _baselines(entry: Published, metric: str, stream: str, known: Known) -> list[Baseline]:
    """The floors and the ceilings beside a number, of each the nearest: on one stream, in one protocol, in one scenario."""
    table = [other for other in known.entries if other.source == entry.source]
    protocol = [other for other in table if other.benchmark == entry.benchmark]
    scenario = [
        other for other in table if _scenario(other) and _scenario(other) == _scenario(entry)
    ]
    found = []
    for names in (FLOORS, CEILINGS):
        able = [
            cell for cell in known.label if cell.strategy.name in names and known.has(cell, metric)
        ]
        here = [known.baseline(cell, metric) for cell in able if cell.stream == stream]
        near = (
            known.in_protocol(others, able, metric) or _printed(others, names, metric)
            for others in (protocol, scenario)
        )
        found += here or next(filter(None, near), [])
    return found


def _scenario(entry: Published) -> tuple[str, str] | None:
    """The benchmark and the scenario that a row is of; None for episodes."""
    name, settings = parse(entry.benchmark)
    return (name, settings["scenario"]) if "scenario" in settings else None


def _printed(entries: Sequence[Published], names: Sequence[str], metric: str) -> list[Baseline]:
    """The numbers of some strategies among rows of a table."""
    named = [
        (parse(entry.row.strategy)[0], entry) for entry in entries if metric in entry.row.values
    ]
    return [
        Baseline(name, entry.number(metric).value, True) for name, entry in named if name in names
    ]


def _measured(
    records: Sequence[Record], label: Mapping[Cell, Label]
) -> dict[tuple[str, ...], Values]:
    """What replicates have, by benchmark, strategy, settings and metric, such as "accuracy@3" after three inner steps."""
    adapted = adaptation_frame(records, label)
    adapted = adapted.assign(
        metric=[
            f"{metric}@{step}" for metric, step in zip(adapted.metric, adapted.step, strict=True)
        ]
    )
    found = defaultdict(list)
    for frame in (score_frame(records, label), adapted):
        columns = (
            frame[name].tolist()
            for name in ("benchmark", "strategy", "settings", "metric", "value")
        )
        for *key, value in zip(*columns, strict=True):
            found[tuple(key)].append(value if is_loss(key[-1]) else 100 * value)
    return {key: np.array(values) for key, values in found.items()}


def _less(values: Values, entry: Published, metric: str, level: float) -> Interval:
    value, error, _ = entry.number(metric)
    if len(values) > 1:
        return difference(values, value, error, entry.source.n or 1, level)
    return Interval(t_interval(values).mean - value, float("nan"), float("nan"), len(values))


def _lacking(statuses: Sequence[str], n: int) -> str:
    """What our replicates lack for a comparison; nothing where that is nothing."""
    if lost := len(statuses) - statuses.count("done"):
        return f"{lost} of our replicates diverged or failed"
    return "" if n else "we have no such number"


def _verdict(pair: Beside) -> tuple[str, str]:
    """The verdict, and what is to be said of it."""
    if pair.reason:
        return "not comparable", pair.reason
    if pair.less.n < 2:
        return "cannot tell", "a single replicate of ours"
    rounding = pair.entry.number(pair.metric).rounding
    if -pair.margin <= pair.inner.low - rounding and pair.inner.high + rounding <= pair.margin:
        return "reproduced", ""
    low, high = pair.less.low - rounding, pair.less.high + rounding
    if low <= 0 <= high:
        return "cannot tell", ""
    return "differs", "by more than the margin" if min(abs(low), abs(high)) > pair.margin else ""


def _informative(pair: Beside) -> tuple[str, str]:
    """The kind of row, one of yes, no, baseline and unknown; and why it is not informative, or what is not known."""
    if parse(pair.entry.row.strategy)[0] in (*FLOORS, *CEILINGS):
        return "baseline", ""
    theirs = pair.entry.number(pair.metric).value
    for each in pair.baselines:
        if abs(each.value - theirs) <= pair.margin:
            return "no", f"{each.strategy} has {each.value:.2f}" + " in their table" * each.theirs
    known = {each.strategy for each in pair.baselines}
    if not known & {*FLOORS}:
        return "unknown", ""
    return "yes", "" if known & {*CEILINGS} else "joint training is unknown"


def _row(pair: Beside) -> tuple[Entry, ...]:
    source = pair.entry.source
    about = ", ".join(
        filter(None, [SPREADS.get(source.spread, ""), f"n = {source.n}" if source.n else ""])
    )
    theirs = pair.entry.text(pair.metric) + (f" ({about})" if about else "")
    texts = (
        *(row_title((pair.upper_bound, *pair.label[1:])), pair.entry.where, pair.metric, theirs),
        *(
            _number(pair.ours),
            outcomes(pair.statuses),
            _number(pair.less, "+"),
            _bounds(pair.inner),
            f"{pair.margin:.3g}",
        ),
        *(": ".join(filter(None, words)) for words in (_informative(pair), _verdict(pair))),
    )
    return tuple(map(Entry, texts))


def _bounds(interval: Interval) -> str:
    if np.isnan(interval.low):
        return "–"
    bounds = (round(bound, 2) + 0.0 for bound in interval[1:3])
    return " to ".join(
        f"{bound:+.2f}" if abs(bound) < 1000 else f"{bound:+.2g}" for bound in bounds
    )


def _number(interval: Interval, sign: str = "") -> str:
    mean, half = interval.mean, interval.high - interval.mean
    if np.isnan(mean):
        return "–"
    if abs(mean) >= 1000:
        return f"{mean:{sign}.2g}"  # of a strategy that all but diverged
    return f"{round(mean, 2) + 0.0:{sign}.2f}" + ("" if np.isnan(half) else f" ± {half:.2f}")


def _tidy(pair: Beside) -> tuple[object, ...]:
    source = pair.entry.source
    value, _, spread = pair.entry.text(pair.metric).partition(" ± ")
    told = (
        source.paper,
        source.table,
        source.protocol,
        source.metrics[pair.metric],
        source.checked,
    )
    theirs = (value, spread, source.spread, str(source.n or ""))
    numbers = (*pair.ours, *pair.less[:3], *pair.inner[1:3], pair.margin)
    words = (": ".join(filter(None, _informative(pair))), *_verdict(pair))
    return (*pair.label, pair.metric, pair.entry.row.method, *told, *theirs, *numbers, *words)
