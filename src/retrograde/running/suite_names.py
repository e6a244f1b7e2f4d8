"""Names of a suite's benchmarks and strategies: each names a cell, and no two are mixed up."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from retrograde.errors import UserError, nearest, shown
from retrograde.parts.spec import expanded, parse
from retrograde.records.pattern import Pattern, best_fit

Cells = Sequence[tuple[Sequence[str], Sequence[str]]]
"""The benchmarks and strategies of each list of cells, as text."""


def check_suite_names(names: Mapping[str, str], cells: Cells) -> None:
    """Check the names of a suite.

    Args:
        names: names by pattern, such as `er:buffer_size=500`.
        cells: the cells of the suite.

    Raises:
        UserError: a name is empty or has several lines, is for a cell that the suite lacks, or is
            given to two rows of one table.
    """
    for pattern, name in names.items():
        if not name.strip() or len(name.splitlines()) > 1:
            raise UserError(
                f"A name is text on one line; that of {shown(pattern)} was {shown(name)}."
            )
    if not names:
        return
    benchmarks = dict.fromkeys(part for streams, _ in cells for part in _written(streams))
    _check_known(names, cells, benchmarks)
    _check_distinct(names, list(benchmarks), "benchmarks")
    for benchmark in benchmarks:
        methods = [part for streams, own in cells if benchmark in _written(streams) for part in own]
        _check_distinct(names, _written(methods), f"strategies on {benchmark}")


def _written(parts: Sequence[str]) -> list[str]:
    """The parts with every grid written out."""
    return [each for part in parts for each in expanded(part)]


def _check_known(names: Mapping[str, str], cells: Cells, benchmarks: Mapping[str, None]) -> None:
    """Raise `UserError` for a name of a cell that the suite lacks."""
    strategies = [part for _, methods in cells for part in _written(methods)]
    parts = [*benchmarks, *strategies]
    for text, name in names.items():
        if not any(Pattern.of(text).fits(*parse(part)) for part in parts):
            turned = any(part == name for part in parts)
            remedy = (
                f'Write "{name}" = "{text}": the cell first, then its name.'
                if turned
                else f"{nearest(text, dict.fromkeys(parts))}"
            )
            raise UserError(
                "names has names of the suite's benchmarks and strategies, as its cells write "
                f"them; {shown(text)} is none. {remedy}"
            )


def _check_distinct(names: Mapping[str, str], parts: Sequence[str], kind: str) -> None:
    """Raise `UserError` if two patterns give parts that stand in one table the same name."""
    patterns = defaultdict(set)
    for part in parts:
        found = best_fit(names, *parse(part))
        if found is not None:
            patterns[names[found]].add(found)
    for name, several in patterns.items():
        if len(several) > 1:
            both = " and ".join(map(shown, sorted(several)))
            raise UserError(
                f"Each of the {kind} has a name of its own; {shown(name)} is given to {both}. "
                "Change one."
            )
