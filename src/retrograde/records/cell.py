"""The specification of a cell: a benchmark and a strategy, with their settings and data."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import Field

from retrograde.errors import on_one_line
from retrograde.parts.part import Part
from retrograde.parts.spec import as_pairs, digest, write
from retrograde.records.privacy import local, without_folder
from retrograde.records.schema import Digest, Positive


@dataclass(frozen=True)
class PartSpec:
    """A benchmark or a strategy as it was run.

    Its name, its version and its overrides identify it.

    Attributes:
        name: its name.
        settings: every setting, resolved.
        overrides: the settings that differ from their defaults.
        version: the version of the part's meaning.
        files: version of its files, where a report distinguishes several; never recorded.
        shown: title and settings in a report; never recorded.
    """

    name: str
    settings: dict[str, Any]
    overrides: dict[str, Any] = field(default_factory=dict)
    version: Positive = 1
    files: Annotated[str, Field(exclude=True)] = ""
    shown: Annotated[tuple[str, str] | None, Field(exclude=True)] = None

    @classmethod
    def of(cls, name: str, part: Part) -> "PartSpec":
        """The specification of a part with its name."""
        return cls(name, part.settings(), part.overrides(), part.version)

    @property
    def spec(self) -> str:
        """The part as the command line accepts it, such as `er:buffer_size=500`."""
        return write(self.name, self.overrides)

    @property
    def pairs(self) -> str:
        """The settings that differ from their defaults, as `key=value,...`."""
        return as_pairs(self.overrides)

    @property
    def identity(self) -> list[Any]:
        """The values that identify the part among those of its name."""
        return [self.version, self.overrides, *filter(None, [self.files])]

    def titled(self, text: str, *, versioned: bool = True) -> str:
        """A text about the part, with its version after the first, and files that differ.

        Args:
            text: the text.
            versioned: False if the version goes without saying.
        """
        version = f"version {self.version}" if versioned and self.version > 1 else ""
        remarks = ", ".join(filter(None, [version, self.files]))
        return f"{text} ({remarks})".strip() if remarks else text

    def differing(self, other: "PartSpec") -> list[tuple[str, Any, Any]]:
        """The settings that both have with different values: name, value here, value there."""
        # A file without its folder has another text, and may be the same.
        return [
            (name, value, other.settings[name])
            for name, value in self.settings.items()
            if name in other.settings and other.settings[name] != value and "…/" not in str(value)
        ]

    @property
    def public(self) -> "PartSpec":
        """The same part, with files in its settings named without their folders."""
        settings = {name: without_folder(value) for name, value in self.settings.items()}
        overrides = {name: without_folder(value) for name, value in self.overrides.items()}
        return PartSpec(self.name, settings, overrides, self.version)


def _digest_by_files(known: str, *parts: PartSpec) -> str:
    """A digest, combined with the files of parts where a report distinguishes several."""
    files = [part.files for part in parts]
    return digest([known, *files]) if any(files) else known


@dataclass(frozen=True, eq=False)
class CellSpec:
    """Benchmark x strategy x settings, on data of a given content.

    Cells with the same path are equal.

    Attributes:
        benchmark: the benchmark.
        strategy: the strategy.
        data: digest of the dataset; empty if there is none.
        given: digest of the cell as it was given, if `public` removed a folder from its settings.
        given_stream: digest of the stream as it was given, in the same case.
    """

    benchmark: PartSpec
    strategy: PartSpec
    data: str
    given: Digest = ""
    given_stream: Digest = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CellSpec) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    @cached_property
    def stream(self) -> str:
        """Digest of the stream: of the benchmark and the data."""
        if self.given_stream:
            return _digest_by_files(self.given_stream, self.benchmark)
        return digest([self.benchmark.name, self.benchmark.identity, self.data])

    @cached_property
    def path(self) -> PurePosixPath:
        """The folder of the cell's records in a store."""
        if self.given:
            folder = _digest_by_files(self.given, self.benchmark, self.strategy)
        else:
            folder = digest([self.benchmark.identity, self.strategy.identity, self.data])
        return PurePosixPath(self.benchmark.name, self.strategy.name, folder)

    @property
    def public(self) -> "CellSpec":
        """The same cell, with files in its settings named without their folders.

        It keeps its path, so that its records can be shared.
        """
        # A cell that has `given` is public already.
        if self.given or not (local(self.benchmark.settings) or local(self.strategy.settings)):
            return self
        benchmark = self.benchmark.public
        strategy = self.strategy.public
        return CellSpec(
            benchmark, strategy, self.data, given=self.path.name, given_stream=self.stream
        )

    @property
    def episodic(self) -> bool:
        """True if the benchmark is one of few-shot tasks, not a stream."""
        return "test_tasks" in self.benchmark.settings

    @property
    def spec(self) -> str:
        """The cell on one line."""
        return on_one_line(f"{self.benchmark.spec}  {self.strategy.spec}")
