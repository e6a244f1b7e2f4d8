"""Suites: TOML files that list cells."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from retrograde._toml import read_toml
from retrograde.errors import UserError, nearest, shown
from retrograde.parts.part import Part
from retrograde.parts.spec import expanded
from retrograde.paths import kind
from retrograde.running.seeds import seeds_of
from retrograde.running.suite_names import check_suite_names

CELLS = 100_000
"""Most cells of a run."""


FEW = 3
"""Most faults of a suite that one error names."""


class Pair(NamedTuple):
    """A benchmark and a strategy to run on it, each as text or as an object.

    Args:
        benchmark: The benchmark.
        strategy: The strategy.
        chosen: How their settings were chosen, such as `tuned (within, 15 trials)`; empty: unsaid.
    """

    benchmark: str | Part
    strategy: str | Part
    chosen: str = ""


def _number_or_list(value: object) -> object:
    if isinstance(value, list):
        raise ValueError("Input should be a number or a text, such as '100-104'")
    if isinstance(value, str) and value.isdigit():
        raise ValueError("A number of seeds is written without quotation marks")
    try:
        seeds_of(value)
    except UserError as error:
        raise ValueError(str(error)) from None
    return value


class _Cells(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    benchmarks: Annotated[list[str], Field(min_length=1)]
    strategies: Annotated[list[str], Field(min_length=1)]
    part: str = ""  # cells of a named part run only if that part is requested
    chosen: str = ""  # how the settings were chosen, such as "tuned (within, 15 trials)"


class Suite(BaseModel):
    """A suite: a title, a number of seeds, and cells as lists of benchmarks and strategies.

    `names` are the names of benchmarks and strategies in tables and figures, by pattern: `er` is
    every cell of `er`, `er:buffer_size=500` every one with this setting.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    title: str
    seeds: Annotated[int | str, BeforeValidator(_number_or_list)] = 5  # or such as "100-104"
    cells: Annotated[list[_Cells], Field(min_length=1)]
    names: dict[str, str] = Field(default_factory=dict)

    def __init__(self, *unnamed: object, **given: Any) -> None:
        """Make a suite of `title`, `seeds`, `cells` and `names`, as in its TOML file.

        Raises:
            UserError: they are not those of a suite.
        """
        if unnamed:
            raise UserError(
                "A Suite is made of title=, seeds=, cells= and names=; it was given "
                f"{shown(unnamed[0])}. For a suite by its name or file, call rg.suite."
            )
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise UserError(_suite_faults(error)) from None
        check_suite_names(self.names, [(each.benchmarks, each.strategies) for each in self.cells])

    def pairs(self, added: Sequence[str | Part] = (), part: str = "") -> list[Pair]:
        """Return the benchmarks and strategies to pair, of a part of the suite.

        Args:
            added: strategies to add to every benchmark.
            part: the part; empty: the cells that belong to no part.

        Returns:
            Every benchmark of each list of cells with every strategy of that list, then every
            benchmark with every added strategy.

        Raises:
            UserError: there is no such part, or there are too many cells.
        """
        groups = [group for group in self.cells if group.part == part]
        if not groups:
            near = nearest(part, self.parts)
            raise UserError(f"No cells of the suite are of the part {part!r}. {near}")
        pairs = [
            pair._replace(chosen=group.chosen)
            for group in groups
            for pair in all_pairs(group.benchmarks, group.strategies)
        ]
        benchmarks = [benchmark for group in groups for benchmark in group.benchmarks]
        pairs += all_pairs(benchmarks, added)
        check_count(len(pairs))
        return pairs

    @property
    def parts(self) -> list[str]:
        """Names of the parts, whose cells run only if they are requested."""
        return sorted({group.part for group in self.cells} - {""})


def all_pairs(benchmarks: Sequence[str | Part], strategies: Sequence[str | Part]) -> list[Pair]:
    """Every benchmark with every strategy; a grid, such as `er:lr=0.1|1`, stands for several.

    Raises:
        UserError: there are too many cells, or a grid cannot be read.
    """
    streams, methods = grids(benchmarks), grids(strategies)
    check_count(len(streams) * len(methods))
    return [Pair(stream, method) for stream in streams for method in methods]


def grids(parts: Sequence[str | Part]) -> list[str | Part]:
    """The parts with every grid written out."""
    return [
        each for part in parts for each in (expanded(part) if isinstance(part, str) else [part])
    ]


def check_count(count: int) -> None:
    """Raise `UserError` if there are more cells than a run plans."""
    if count > CELLS:
        raise UserError(
            f"A run has at most {CELLS} cells; benchmarks times strategies are {count}. "
            "Run them in parts."
        )


def suites() -> dict[str, Path]:
    """Paths of the shipped suites, by name."""
    folders = importlib.import_module("retrograde.benchmarks").__path__
    return {path.stem: path for folder in folders for path in sorted(Path(folder).glob("*.toml"))}


def read_suite(name: str) -> Suite:
    """Read the shipped suite of that name, or the suite at that path.

    Raises:
        UserError: there is no such suite, or it is not valid.
    """
    shipped = suites()
    path = shipped.get(name, Path(name))
    if kind(path) != "file":
        raise UserError(
            f"There is no suite {shown(name)}, neither shipped nor as a file. "
            f"{nearest(name, shipped)}"
        )
    given = read_toml(path, "The suite")
    try:
        return Suite(**given)
    except UserError as error:
        raise UserError(f"The suite {path}: {error}") from None


def _suite_faults(error: ValidationError) -> str:
    """Return the first faults of a suite, one sentence for each."""
    faults = [_suite_fault(fault) for fault in sorted(error.errors(), key=_suite_order)]
    more = f" And {len(faults) - FEW} more." if len(faults) > FEW else ""
    return " ".join(faults[:FEW]) + more


def _suite_order(error: Any) -> int:
    """Rank of a fault in the error message."""
    # A misspelt key comes first: it is often why another one is missing.
    return {"extra_forbidden": 0, "missing": 1}.get(error["type"], 2)


def _suite_fault(error: Any) -> str:
    where = ".".join(map(str, error["loc"]))
    if error["type"] == "missing":
        return f"{where} is missing."
    if error["type"] == "extra_forbidden":
        model = _Cells if "cells" in error["loc"] else Suite
        near = nearest(str(error["loc"][-1]), model.model_fields)
        return f"there is no key {shown(where)}. {near}"
    why = error["msg"].removeprefix("Value error, ").removesuffix(".")
    return f"{where}={shown(error['input'])} is not possible. {why}."
