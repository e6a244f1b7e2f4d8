"""Suites: TOML files that list cells."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from retrograde._toml import read_toml
from retrograde.errors import UserError, nearest, shown
from retrograde.parts.fields import SEEDS
from retrograde.parts.part import Part
from retrograde.paths import kind

CELLS = 100_000
"""Cells of a suite."""


FEW = 3
"""Faults of a suite that are told at once."""


class Request(NamedTuple):
    """A cell as a person asks for it: its parts as text, or as objects."""

    benchmark: str | Part
    strategy: str | Part
    added: bool = False  # to a suite: left out where it does not fit the suite's benchmark


class _Cells(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    benchmarks: Annotated[list[str], Field(min_length=1)]
    strategies: Annotated[list[str], Field(min_length=1)]
    part: str = ""  # named, they run only where that part is asked for


class Suite(BaseModel):
    """A TOML file: a title, a number of seeds, and cells as lists of benchmarks and strategies."""

    model_config = ConfigDict(extra="forbid", strict=True)
    title: str
    seeds: Annotated[int, Field(ge=1, le=SEEDS)] = 5
    cells: Annotated[list[_Cells], Field(min_length=1)]

    def requests(self, added: Sequence[str | Part] = (), part: str = "") -> list[Request]:
        """Every benchmark of each list of a part with every strategy of that list and every one that is added."""
        groups = [group for group in self.cells if group.part == part]
        if not groups:
            raise UserError(
                f"No cells of the suite are of the part {part!r}. {nearest(part, self.parts)}"
            )
        check_cells(
            sum(len(group.benchmarks) * (len(group.strategies) + len(added)) for group in groups)
        )
        own = [
            Request(b, s) for group in groups for b in group.benchmarks for s in group.strategies
        ]
        return own + [
            Request(b, s, added=True) for group in groups for b in group.benchmarks for s in added
        ]

    @property
    def parts(self) -> list[str]:
        """The parts that run only where they are asked for."""
        return sorted({group.part for group in self.cells} - {""})


def check_cells(count: int) -> None:
    """Raise `UserError` where there are more cells than a run plans."""
    if count > CELLS:
        raise UserError(
            f"A run has at most {CELLS} cells; benchmarks times strategies are {count}. Run them in parts."
        )


def suites() -> dict[str, Path]:
    """The suites that ship, by name."""
    folders = importlib.import_module("retrograde.benchmarks").__path__
    return {path.stem: path for folder in folders for path in sorted(Path(folder).glob("*.toml"))}


def read_suite(name: str) -> Suite:
    """The shipped suite of that name, or the one at that path."""
    path = suites().get(name, Path(name))
    if kind(path) != "file":
        raise UserError(
            f"There is no suite {shown(name)}, neither shipped nor as a file. {nearest(name, suites())}"
        )
    try:
        return Suite.model_validate(read_toml(path, "The suite"))
    except ValidationError as error:
        faults = [_suite_fault(each) for each in sorted(error.errors(), key=_suite_order)]
        more = f" And {len(faults) - FEW} more." if len(faults) > FEW else ""
        raise UserError(f"The suite {path}: {' '.join(faults[:FEW])}{more}") from None


def _suite_order(error: Any) -> int:
    """Keys that are not known come first: others may be missing because of them."""
    return {"extra_forbidden": 0, "missing": 1}.get(error["type"], 2)


def _suite_fault(error: Any) -> str:
    where = ".".join(map(str, error["loc"]))
    if error["type"] == "missing":
        return f"{where} is missing."
    if error["type"] == "extra_forbidden":
        known = (_Cells if "cells" in error["loc"] else Suite).model_fields
        return f"there is no key {shown(where)}. {nearest(str(error['loc'][-1]), known)}"
    return f"{where}={shown(error['input'])} is not possible. {error['msg']}."
