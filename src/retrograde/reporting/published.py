"""The literature's numbers, as `results/published.toml` has them, and which of our cells each stands beside."""

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from retrograde._toml import tomllib
from retrograde.interface.benchmark import Benchmark
from retrograde.parts.registry import Registry
from retrograde.parts.spec import as_text, parse
from retrograde.records.cell import Cell, Named

Printed = Annotated[str, Field(pattern=r"^-?\d+(\.\d+)?( ± \d+(\.\d+)?)?$")]
"""A number with the digits that were printed, and its spread where it has one."""
Margin = Annotated[float, Field(gt=0, allow_inf_nan=False)]
POINTS = 3.0
"""Margin of a percentage, in points: within it two numbers count as the same, unless the file says otherwise."""
SHARE = 10.0
"""Margin of a loss, in percent of the printed number."""
OBSERVED = frozenset({"probe", "probe_every", "test_every", "test_examples", "checks"})
"""Settings of a benchmark that say what is looked at, and change no result."""


class Row(BaseModel):
    """The numbers of one method."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    method: str  # as the source calls it
    strategy: str  # ours, with those of its settings that matter
    values: Annotated[Mapping[str, Printed], Field(min_length=1)]  # by metric
    differs: str = ""  # what of its protocol no cell of ours shares
    needs: str = ""  # as of the source, for this method alone
    margin: Margin | None = None  # within which ours counts as the same; as of the source, if None


class Source(BaseModel):
    """One table of one paper; `results/published.toml` begins with what each field is."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    paper: str
    table: str
    protocol: str
    metrics: Mapping[str, str]
    spread: Literal["standard deviation", "standard error", "95 % interval", "none"]
    n: Annotated[int, Field(ge=1)] | None = None
    checked: Literal["paper", "repository", "transcription", "memory"]
    needs: str = ""
    margin: Margin | None = None
    cells: Mapping[str, Sequence[Row]]  # by benchmark, with those of its settings that matter

    @model_validator(mode="after")
    def _runs_are_counted(self) -> "Source":
        if "standard" in self.spread and (self.n or 0) < 2:
            raise ValueError(f"a {self.spread} is over n runs, at least 2")
        return self


class Number(NamedTuple):
    """A printed number, for reckoning."""

    value: float
    error: float  # its standard error over runs; NaN where that is not known
    rounding: float  # half a unit of its last digit


class Published(NamedTuple):
    """One row of a source, and the benchmark that it is of."""

    source: Source
    benchmark: str
    row: Row

    @property
    def where(self) -> str:
        """The method, the paper and the table."""
        unverified = ", unverified" if self.source.checked == "memory" else ""
        return f"{self.row.method}, {self.source.paper}, {self.source.table}{unverified}"

    @property
    def title(self) -> str:
        """What its row among ours is called."""
        source = self.source
        spread = (
            ""
            if source.spread == "none"
            else f"± {source.spread}" + (f" of {source.n}" if source.n else "")
        )
        return ", ".join(
            filter(None, [f"– published: {self.where}", source.needs, self.row.needs, spread])
        )

    def text(self, metric: str) -> str:
        """The number of a metric as it was printed; nothing where there is none."""
        return self.row.values.get(metric, "")

    def number(self, metric: str) -> Number:
        """The same, for reckoning."""
        value, _, spread = self.row.values[metric].partition(" ± ")
        root = {"standard deviation": (self.source.n or 1) ** 0.5, "standard error": 1.0}.get(
            self.source.spread, float("nan")
        )
        return Number(
            float(value), float(spread or "nan") / root, 0.5 * 10.0 ** -len(value.partition(".")[2])
        )

    def margin(self, metric: str) -> float:
        """The margin of equivalence in the unit of the number: points of a percentage, or a share of a loss."""
        stated = self.row.margin or self.source.margin
        if is_loss(metric):
            return (stated or SHARE) / 100 * abs(self.number(metric).value)
        return stated or POINTS

    def departures(self, cell: Cell) -> list[str]:
        """The settings of a cell's benchmark that are not at their default although the protocol does not name them."""
        named = _named(self.benchmark)[1].keys() | self._needs.keys() | OBSERVED
        changed = parse(f":{cell.benchmark.changed}")[1]
        default = _defaults(cell.benchmark.name)
        return [
            f"{key}={value}, theirs {default.get(key) or 'none'}"
            for key, value in changed.items()
            if key not in named
        ]

    def differs(self, cell: Cell) -> str:
        """The parts of the protocol that a cell beside does not share; nothing where it shares all."""
        has = _texts(cell.benchmark)
        other = [
            f"{key}={has.get(key)}, theirs {value}"
            for key, value in self._needs.items()
            if has.get(key) != value
        ]
        return "; ".join(filter(None, [self.row.differs, *other, *self.departures(cell)]))

    @property
    def _needs(self) -> dict[str, str]:
        return parse(f":{self.source.needs}")[1] | parse(f":{self.row.needs}")[1]


def is_loss(metric: str) -> bool:
    """True for a loss, whose unit is its own; every other number is a percentage."""
    return metric.startswith("loss")


def fits(spec: str, part: Named) -> bool:
    """True if a part has the name of a specification and every setting that it gives."""
    name, wanted = _named(spec)
    if name != part.name:
        return False
    settings = _later() | part.settings if wanted.keys() - part.settings.keys() else part.settings
    return all(key in settings and as_text(settings[key]) == value for key, value in wanted.items())


def finder(entries: Sequence[Published]) -> Callable[[Cell], list[Published]]:
    """What finds those entries that stand beside a cell's numbers, in their order."""
    on_stream: dict[str, list[Published]] = {}

    def beside(cell: Cell) -> list[Published]:
        if cell.stream not in on_stream:
            on_stream[cell.stream] = [
                entry for entry in entries if fits(entry.benchmark, cell.benchmark)
            ]
        return [
            entry for entry in on_stream[cell.stream] if fits(entry.row.strategy, cell.strategy)
        ]

    return beside


@cache  # every cell is held against every row
def _named(spec: str) -> tuple[str, Mapping[str, str]]:
    name, settings = parse(spec)
    return name, MappingProxyType(settings)


def _texts(part: Named) -> dict[str, str]:
    """Every setting as text; a record does not name those that came later and are at their default."""
    return {key: as_text(value) for key, value in (_later() | part.settings).items()}


@cache
def _defaults(benchmark: str) -> Mapping[str, str]:
    return MappingProxyType(parse(f":{Registry().find('benchmarks', benchmark).defaults()}")[1])


@cache
def _later() -> dict[str, Any]:
    return {
        field.name: field.default
        for field in dataclasses.fields(Benchmark)
        if field.name in Benchmark.later
    }


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    source: list[Source]


@cache
def published_numbers() -> Sequence[Published]:
    """Every row of the file, in its order."""
    folders = importlib.import_module("retrograde.results").__path__
    (path,) = [path for folder in folders for path in Path(folder).glob("published.toml")]
    sources = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).source
    return tuple(
        Published(s, benchmark, row)
        for s in sources
        for benchmark, rows in s.cells.items()
        for row in rows
    )
