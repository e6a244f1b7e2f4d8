"""Identifiers in the page: of places, which links name, and of rows, which are compared."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from retrograde.metrics.frames import Label
from retrograde.metrics.ranking import display_names
from retrograde.reporting.table import Entry, Section

STRATEGY = "strategy"
"""Name of the first column of a table whose rows are compared."""
CONTINUES = "– "
"""Start of the title of a row that belongs to the row above, such as one of published numbers."""


def identifiers(names: Iterable[str], kind: str) -> dict[str, str]:
    """An identifier for each name, which depends on the names alone.

    Args:
        names: the names, no two alike.
        kind: the first word of all identifiers.
    """
    found: dict[str, str] = {}
    for name in names:
        # DER++ is no second DER, wherever it stands
        words = re.findall("[a-z0-9]+", name.lower().replace("+", " plus "))
        plain = "-".join([kind, *words])
        # names that differ in other characters alone are numbered
        same = sum(_without_number(known) == plain for known in found.values())
        found[name] = f"{plain}--{same + 1}" if same else plain
    return found


def _without_number(identifier: str) -> str:
    return identifier.partition("--")[0]


def row_identifiers(labels: Iterable[Label]) -> dict[str, str]:
    """The identifier of each strategy's rows, by the titles that these have in tables.

    A strategy that no benchmark has twice has one identifier, whatever its settings.
    """
    called = display_names(labels)
    by_name = identifiers(sorted({*called.values()}), "row")
    titles = {" ".join(key).strip(): by_name[name] for key, name in called.items()}
    return by_name | titles


def compared_rows(
    section: Section, known: Mapping[str, str]
) -> Iterator[tuple[str, Sequence[Entry]]]:
    """The rows of a section, each with the identifier of its strategy; empty if it has none.

    Rows are of strategies where the first column is called so.
    """
    if section.columns[0] != STRATEGY:
        yield from (("", row) for row in section.rows)
        return
    of_row = ""
    for row in section.rows:
        title = row[0].text
        # a row that belongs to the one above goes with it
        if not title.startswith(CONTINUES):
            of_row = known.get(title) or known.get(title.removesuffix(" †"), "")
        yield of_row, row
