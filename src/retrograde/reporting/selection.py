"""Selection of a report's records by benchmark and strategy."""

from collections.abc import Callable, Iterable, Sequence

from retrograde.errors import UserError, nearest
from retrograde.records.cell import PartSpec
from retrograde.records.pattern import Pattern
from retrograde.records.record import Record


def selected(
    records: Sequence[Record],
    benchmarks: Sequence[str],
    strategies: Sequence[str],
) -> tuple[Record, ...]:
    """The records of some benchmarks and strategies.

    Args:
        records: records with names (see `named`).
        benchmarks: patterns or names of benchmarks; empty: all.
        strategies: the same of strategies.

    Raises:
        UserError: a pattern or name fits no record, or nothing is left.
    """
    cells = list(dict.fromkeys(record.cell for record in records))
    streams = _fitting("benchmark", benchmarks, [cell.benchmark for cell in cells])
    methods = _fitting("strategy", strategies, [cell.strategy for cell in cells])
    kept = {cell for cell, *both in zip(cells, streams, methods, strict=True) if all(both)}
    if cells and not kept:
        raise UserError(
            f"No record is of {', '.join(strategies)} on {', '.join(benchmarks)}. Leave out one."
        )
    return tuple(record for record in records if record.cell in kept)


def _fitting(kind: str, wanted: Sequence[str], parts: Sequence[PartSpec]) -> list[bool]:
    """True for each part that one of the patterns or names fits."""
    if not wanted:
        return [True] * len(parts)
    fits = [_fit(text) for text in wanted]
    for text, fit in zip(wanted, fits, strict=True):
        if not any(map(fit, parts)):
            known = dict.fromkeys(name for part in parts for name in (part.name, _title(part)))
            raise UserError(f"The records have no {kind} {text!r}. {nearest(text, known)}")
    return [any(fit(part) for fit in fits) for part in parts]


def _fit(text: str) -> Callable[[PartSpec], bool]:
    """A test of parts: if a text is the title of one, or a pattern that fits it."""

    def fit(part: PartSpec) -> bool:
        if text in (_title(part), " ".join(part.shown or ()).strip()):
            return True
        # a title may hold a colon, which would not be that of settings
        named = text.partition(":")[0].strip() == part.name
        return named and Pattern.of(text).fits(part.name, part.settings)

    return fit


def _title(part: PartSpec) -> str:
    return part.shown[0] if part.shown else part.name


def in_order(titles: Iterable[tuple[PartSpec, str]], wanted: Sequence[str]) -> tuple[str, ...]:
    """The titles of parts, in the order of patterns or names."""
    fits = list(map(_fit, wanted))
    found = {}
    for part, title in titles:
        places = [place for place, fit in enumerate(fits) if fit(part)]
        found[title] = min(places, default=len(fits))
    return tuple(sorted(found, key=lambda title: (found[title], title)))
