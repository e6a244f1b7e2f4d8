"""Scores by the way in which settings were chosen, as records state it."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from retrograde import Record
from retrograde.metrics import BySeed, cell_labels, streams

Way = Mapping[str, BySeed]
"""The scores of each strategy, by its name, with settings that were chosen in one way."""


def choices_of(records: Sequence[Record]) -> dict[str, dict[str, Way]]:
    """The scores on each stream, for each way of choosing settings that records state.

    Settings that several ways have chosen count for each. A strategy with several cells of one way
    is left out of it, since nothing says which of them is meant.
    """
    own = streams(records)
    label = cell_labels(own)
    found: defaultdict[tuple[str, str, str], dict[str, dict[int, float]]] = defaultdict(dict)
    for record in own:
        if record.status != "done" or not record.correct or record.upper_bound:
            continue
        benchmark, strategy, settings = label[record.cell]
        for way in _ways(record):
            cells = found[benchmark, way, strategy]
            cells.setdefault(settings, {})[record.seed] = float(record.R[-1].mean())
    by_benchmark: defaultdict[str, dict[str, dict[str, BySeed]]] = defaultdict(dict)
    for (benchmark, way, strategy), cells in sorted(found.items()):
        if len(cells) == 1:
            (scores,) = cells.values()
            by_benchmark[benchmark].setdefault(way, {})[strategy] = scores
    compared = {benchmark: _compared(ways) for benchmark, ways in by_benchmark.items()}
    return {benchmark: ways for benchmark, ways in compared.items() if ways}


def _ways(record: Record) -> list[str]:
    """The ways in which the settings of a record were chosen, without their details."""
    chosen = str(record.how.get("chosen", ""))
    ways = []
    for way in filter(None, chosen.split("; ")):
        name, comma, _ = way.partition(",")
        ways.append(f"{name})" if comma and "(" in name else name)
    return ways


def _compared(ways: Mapping[str, Way]) -> dict[str, Way]:
    """The strategies that every way has; nothing of a single way or a single strategy."""
    counts = Counter(name for of_way in ways.values() for name in of_way)
    names = sorted(name for name, count in counts.items() if count == len(ways))
    if len(ways) < 2 or len(names) < 2:
        return {}
    return {way: {name: of_way[name] for name in names} for way, of_way in ways.items()}
