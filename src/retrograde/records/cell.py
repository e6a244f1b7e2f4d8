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
class Named:
    """A benchmark or a strategy as it was run: every setting resolved, and as text those that were not the default."""

    name: str
    settings: dict[str, Any]
    changed: str = ""
    version: Annotated[str, Field(exclude=True)] = (
        ""  # of its files, where a report tells several apart; never recorded
    )

    @property
    def text(self) -> str:
        """The part as the command line takes it, such as `er:memory=500`."""
        return write(self.name, self.changed)

    @property
    def identity(self) -> object:
        """The settings, and the version where a report tells several apart."""
        return [self.settings, self.version] if self.version else self.settings

    def titled(self, text: str) -> str:
        """A text about the part, with the version where a report tells several apart."""
        return f"{text} ({self.version})".strip() if self.version else text

    @property
    def public(self) -> "Named":
        """The same part, whose settings name files without their folders."""
        settings = {name: without_folder(value) for name, value in self.settings.items()}
        said = {
            name: as_text(settings.get(name, without_folder(text)))
            for name, text in parse(f":{self.changed}")[1].items()
        }
        return Named(self.name, settings, ",".join(f"{name}={text}" for name, text in said.items()))


def _of_version(known: str, *parts: Named) -> str:
    """A digest of settings, and of the versions of parts where a report tells several apart."""
    versions = [part.version for part in parts]
    return digest([known, *versions]) if any(versions) else known


@dataclass(frozen=True, eq=False)
class Cell:
    """Benchmark x strategy x settings, on data of a given content; two with the same path are the same."""

    benchmark: Named
    strategy: Named
    data: str  # digest of the dataset; empty where there is none
    given: Digest = (
        ""  # of the settings as they were given, where those here leave out the folder of a path
    )
    given_stream: Digest = ""  # likewise of the stream

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    @cached_property
    def stream(self) -> str:
        """What identifies the stream: the benchmark's settings and the data."""
        if self.given_stream:
            return _of_version(self.given_stream, self.benchmark)
        return digest([self.benchmark.name, self.benchmark.identity, self.data])

    @cached_property
    def path(self) -> PurePosixPath:
        """Where the cell's records lie in a store."""
        if self.given:
            own = _of_version(self.given, self.benchmark, self.strategy)
        else:
            own = digest([self.benchmark.identity, self.strategy.identity, self.data])
        return PurePosixPath(self.benchmark.name, self.strategy.name, own)

    @property
    def public(self) -> "Cell":
        """The same cell, in the same place, whose settings name files without their folders: a record may be shared."""
        if self.given or not (local(self.benchmark.settings) or local(self.strategy.settings)):
            return self
        return Cell(
            self.benchmark.public, self.strategy.public, self.data, self.path.name, self.stream
        )

    @property
    def episodic(self) -> bool:
        """True if the benchmark is one of few-shot tasks, not a stream."""
        return "test_tasks" in self.benchmark.settings

    @property
    def text(self) -> str:
        """The cell on one line."""
        return on_one_line(f"{self.benchmark.text}  {self.strategy.text}")
