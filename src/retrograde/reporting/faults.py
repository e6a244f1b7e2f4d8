"""Faults of result parts: one that fails costs its own table or figure alone."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from retrograde.errors import UserError
from retrograde.parts.author_code import begins, described, place, stops
from retrograde.parts.deadline import within
from retrograde.parts.part import Part
from retrograde.parts.registry import Registry

Faults = dict[str, str]
"""The errors of result parts that failed, by name: file, line and message."""


def importable(
    registry: Registry, names: Iterable[str], faults: Faults | None
) -> dict[str, type[Part]]:
    """The result parts of some names that can be imported."""
    parts = {}
    for name in names:
        with guarded(name, None, faults):
            parts[name] = registry.find("results", name)
    return parts


@contextmanager
def guarded(name: str, part: type[Part] | None, faults: Faults | None) -> Iterator[None]:
    """Note the error of a part in `faults`, so that only its own table or figure is lost."""
    try:
        with within("check", f"the result {name}"):
            yield
    # a part may raise anything; `stops` knows the errors that end the program
    except BaseException as error:
        if faults is None or stops(error):
            raise
        faults.setdefault(name, _said(error, part))


def _said(error: BaseException, part: type[Part] | None) -> str:
    """An error with its place in the part's file, else with the start of its table or figure."""
    made = "table" if hasattr(part, "table") else "figure"
    where = place(error, part)
    if not where and part:
        where = begins(part, made)
    text = " ".join(str(error).split()) if isinstance(error, UserError) else described(error)
    return f"{where}: {text}" if where else text
