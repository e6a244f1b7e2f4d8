"""A cell: benchmark and strategy, with their settings and data."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import Field

from retrograde.errors import on_one_line
from retrograde.parts.spec import as_text, digest, parse, write
from retrograde.records.privacy import local, without_folder
from retrograde.records.schema import Digest


@dataclass(frozen=True)
class PartSpec:
    """A benchmark or a strategy as it was run.

    Attributes:
        name: its name.
        settings: every setting, resolved.
        changed: the settings that differ from their defaults, as text.
        version: version of its files, where a report distinguishes several; never recorded.
    """

    name: str
    settings: dict[str, Any]
    overrides: str = ""
    version: Annotated[str, Field(exclude=True)] = ""

    @property
    def spec(self) -> str:
        """The part as the command line accepts it, such as `er:buffer_size=500`."""
        return write(self.name, self.overrides)

    @property
    def identity(self) -> object:
        """The settings, with the version where a report distinguishes several."""
        return [self.settings, self.version] if self.version else self.settings

    def titled(self, text: str) -> str:
        """A text about the part, with the version where a report distinguishes several."""
        return f"{text} ({self.version})".strip() if self.version else text

    @property
    def public(self) -> "PartSpec":
        """The same part, with files in its settings named without their folders."""
        settings = {name: without_folder(value) for name, value in self.settings.items()}
        _, changed = parse(f":{self.overrides}")
        public = [
            f"{name}={as_text(settings.get(name, without_folder(text)))}"
            for name, text in changed.items()
        ]
        return PartSpec(self.name, settings, ",".join(public))


def _versioned_digest(known: str, *parts: PartSpec) -> str:
    """A digest of settings, combined with the versions of parts where a report has several."""
    versions = [part.version for part in parts]
    return digest([known, *versions]) if any(versions) else known


@dataclass(frozen=True, eq=False)
class Cell:
    """Benchmark x strategy x settings, on data of a given content.

    Cells with the same path are equal.

    Attributes:
        benchmark: the benchmark.
        strategy: the strategy.
        data: digest of the dataset; empty if there is none.
        given: digest of the settings as they were given, if `public` removed a folder from them.
        given_stream: digest of the stream's settings as they were given, in the same case.
    """

    benchmark: PartSpec
    strategy: PartSpec
    data: str
    given: Digest = ""
    given_stream: Digest = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    @cached_property
    def stream(self) -> str:
        """Digest of the stream: of the benchmark's settings and the data."""
        if self.given_stream:
            return _versioned_digest(self.given_stream, self.benchmark)
        return digest([self.benchmark.name, self.benchmark.identity, self.data])

    @cached_property
    def path(self) -> PurePosixPath:
        """The folder of the cell's records in a store."""
        if self.given:
            folder = _versioned_digest(self.given, self.benchmark, self.strategy)
        else:
            folder = digest([self.benchmark.identity, self.strategy.identity, self.data])
        return PurePosixPath(self.benchmark.name, self.strategy.name, folder)

    @property
    def public(self) -> "Cell":
        """The same cell, with files in its settings named without their folders.

        It keeps its path, so that its records can be shared.
        """
        # A cell that has `given` is public already.
        if self.given or not (local(self.benchmark.settings) or local(self.strategy.settings)):
            return self
        benchmark = self.benchmark.public
        strategy = self.strategy.public
        return Cell(benchmark, strategy, self.data, given=self.path.name, given_stream=self.stream)

    @property
    def episodic(self) -> bool:
        """True if the benchmark is one of few-shot tasks, not a stream."""
        return "test_tasks" in self.benchmark.settings

    @property
    def spec(self) -> str:
        """The cell on one line."""
        return on_one_line(f"{self.benchmark.spec}  {self.strategy.spec}")
