"""Published numbers from `results/published.toml`, and the cells that each is compared with."""

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from retrograde._toml import tomllib
from retrograde.parts.registry import Registry
from retrograde.parts.spec import as_text, parse
from retrograde.records.cell import CellSpec, PartSpec

Printed = Annotated[str, Field(pattern=r"^-?\d+(\.\d+)?( ± \d+(\.\d+)?)?$")]
"""A number with the digits that were printed, and its spread if it has one."""
Margin = Annotated[float, Field(gt=0, allow_inf_nan=False)]
POINTS = 3.0
"""Margin of a percentage, in points.

Two numbers within it count as the same, unless the file states another margin.
"""
SHARE = 10.0
"""Margin of a loss, in percent of the printed number."""
OBSERVED = frozenset(
    {
        "probe_examples",
        "probe_every",
        "plasticity_examples",
        "eval_every",
        "eval_examples",
        "predict_first",
        "log_every",
        "evaluations",
    }
)
"""Settings of a benchmark that select measurements and change no result."""


class Row(BaseModel):
    """The numbers of one method."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    method: str  # as the source calls it
    strategy: str  # ours, with the settings that matter
    values: Annotated[Mapping[str, Printed], Field(min_length=1)]  # by metric
    differs: str = ""  # the part of its protocol that no cell of ours shares
    needs: str = ""  # as of the source, for this method alone
    margin: Margin | None = None  # within it ours counts as the same; None: that of the source


class Source(BaseModel):
    """One table of one paper; `results/published.toml` explains each field at its start."""

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
    cells: Mapping[str, Sequence[Row]]  # by benchmark, with the settings that matter

    @model_validator(mode="after")
    def _runs_are_counted(self) -> "Source":
        if "standard" in self.spread and (self.n or 0) < 2:
            raise ValueError(f"a {self.spread} is over n runs, at least 2")
        return self


class Number(NamedTuple):
    """A printed number as floats."""

    value: float
    error: float  # its standard error over runs; NaN where unknown
    rounding: float  # half a unit of its last digit


class Published(NamedTuple):
    """One row of a source, and its benchmark."""

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
        """The title of its row in a table."""
        parts = [
            f"– published: {self.where}",
            self.source.needs,
            self.row.needs,
            self._spread,
        ]
        return ", ".join(filter(None, parts))

    @property
    def _spread(self) -> str:
        """The kind of the spread in words, with the number of runs; empty without a spread."""
        source = self.source
        if source.spread == "none":
            return ""
        runs = f" of {source.n}" if source.n else ""
        return f"± {source.spread}{runs}"

    def text(self, metric: str) -> str:
        """The number of a metric as it was printed; empty if there is none."""
        return self.row.values.get(metric, "")

    def number(self, metric: str) -> Number:
        """The number of a metric as floats."""
        value, _, spread = self.row.values[metric].partition(" ± ")
        _, _, decimals = value.partition(".")
        divisors = {"standard deviation": (self.source.n or 1) ** 0.5, "standard error": 1.0}
        # an interval has no known divisor, so that its error is NaN
        divisor = divisors.get(self.source.spread, float("nan"))
        return Number(
            value=float(value),
            error=float(spread or "nan") / divisor,
            rounding=0.5 * 10.0 ** -len(decimals),
        )

    def margin(self, metric: str) -> float:
        """The margin of equivalence in the unit of the number.

        It is in points for a percentage, and a share of the printed number for a loss.
        """
        stated = self.row.margin or self.source.margin
        if is_loss(metric):
            return (stated or SHARE) / 100 * abs(self.number(metric).value)
        return stated or POINTS

    def departures(self, cell: CellSpec) -> list[str]:
        """The changed settings of a cell's benchmark that the protocol does not name."""
        _, of_protocol = _named(self.benchmark)
        named = of_protocol.keys() | self._needs.keys() | OBSERVED
        default = _defaults("benchmarks", cell.benchmark.name)
        return [
            f"{key}={as_text(value)}, theirs {default.get(key) or 'none'}"
            for key, value in cell.benchmark.overrides.items()
            if key not in named
        ]

    def differs(self, cell: CellSpec) -> str:
        """The parts of the protocol that a cell does not share; empty if it shares all."""
        has = _texts("benchmarks", cell.benchmark, self._needs)
        unmet = [
            f"{key}={has.get(key, 'none')}, theirs {value}"
            for key, value in self._needs.items()
            if has.get(key) != value
        ]
        parts = [self.row.differs, *unmet, *self.departures(cell)]
        return "; ".join(filter(None, parts))

    @property
    def _needs(self) -> dict[str, str]:
        """The settings that the protocol needs; those of the row replace those of the source."""
        _, of_source = parse(f":{self.source.needs}")
        _, of_row = parse(f":{self.row.needs}")
        return of_source | of_row


def is_loss(metric: str) -> bool:
    """True for a loss, whose unit is its own; every other number is a percentage."""
    return metric.startswith("loss")


def fits(spec: str, kind: str, part: PartSpec) -> bool:
    """True if a part of a kind has the name of a specification and every setting that it gives."""
    name, wanted = _named(spec)
    if name != part.name:
        return False
    texts = _texts(kind, part, wanted)
    return all(texts.get(key) == value for key, value in wanted.items())


def matcher(entries: Sequence[Published]) -> Callable[[CellSpec], list[Published]]:
    """A function that gives the entries that fit a cell, in their order."""
    of_stream: dict[str, list[Published]] = {}

    def matching(cell: CellSpec) -> list[Published]:
        # the cells of one stream share its entries
        if cell.stream not in of_stream:
            fitting = [
                entry for entry in entries if fits(entry.benchmark, "benchmarks", cell.benchmark)
            ]
            of_stream[cell.stream] = fitting
        on_stream = of_stream[cell.stream]
        return [
            entry for entry in on_stream if fits(entry.row.strategy, "strategies", cell.strategy)
        ]

    return matching


# every cell is compared with every row
@cache
def _named(spec: str) -> tuple[str, Mapping[str, str]]:
    name, settings = parse(spec)
    return name, MappingProxyType(settings)


def _texts(kind: str, part: PartSpec, wanted: Iterable[str]) -> dict[str, str]:
    """The wanted settings as text, without those that the part does not have.

    A setting that is newer than the record has its default.
    """
    wanted = list(wanted)
    known = {key: as_text(part.settings[key]) for key in wanted if key in part.settings}
    if len(known) == len(wanted):
        return known
    return {key: text for key, text in _defaults(kind, part.name).items() if key in wanted} | known


@cache
def _defaults(kind: str, name: str) -> Mapping[str, str]:
    """The default settings of a part as text; empty if it is unknown here."""
    registry = Registry()
    if name not in registry.names(kind):
        return MappingProxyType({})
    _, defaults = parse(f":{registry.find(kind, name).defaults()}")
    return MappingProxyType(defaults)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    source: list[Source]


@cache
def published_numbers() -> Sequence[Published]:
    """Every row of the file, in its order."""
    folders = importlib.import_module("retrograde.results").__path__
    (path,) = [path for folder in folders for path in Path(folder).glob("published.toml")]
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    file = _File.model_validate(content)
    return tuple(
        Published(source, benchmark, row)
        for source in file.source
        for benchmark, rows in source.cells.items()
        for row in rows
    )
