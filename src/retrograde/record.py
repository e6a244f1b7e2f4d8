"""What one replicate leaves: a compact JSON document from which every score is computed later."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from operator import gt
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field, TypeAdapter, ValidationError

from retrograde.account import Account
from retrograde.adaptation import Adaptation
from retrograde.course import Course
from retrograde.probe import Probe
from retrograde.provenance import Code
from retrograde.settings import digest, write

SCHEMA = 6
Status = Literal["done", "diverged", "failed"]


ALWAYS = {
    "clocks": ("train", "evaluate"),
    "counts": ("steps", "new", "replayed"),
    "memory": ("examples", "bytes", "state_bytes", "peak_bytes"),
    "how": ("backend", "compiled", "replicates", "steps"),
    "environment": ("cpu", "cores", "device", "threads", "jobs", "torch"),
}
"""What every record of a finished replicate holds."""


class Damaged(Exception):
    """A record that cannot be read."""


class TooNew(Exception):
    """A record written by a later version."""


@dataclass(frozen=True)
class Named:
    """A benchmark or a strategy as it was run: every setting resolved, and as text those that were not the default."""

    name: str
    settings: dict[str, Any]
    changed: str = ""
    version: Annotated[str, Field(exclude=True)] = ""  # of its files, where a report tells several apart; never recorded

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


@dataclass(frozen=True, eq=False)
class Cell:
    """Benchmark x strategy x settings, on data of a given content; two with the same path are the same."""

    benchmark: Named
    strategy: Named
    data: str  # digest of the dataset; empty where there is none

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    @cached_property
    def stream(self) -> str:
        """What identifies the stream: the benchmark's settings and the data."""
        return digest([self.benchmark.name, self.benchmark.identity, self.data])

    @cached_property
    def path(self) -> PurePosixPath:
        """Where the cell's records lie in a store."""
        identity = [self.benchmark.identity, self.strategy.identity, self.data]
        return PurePosixPath(self.benchmark.name, self.strategy.name, digest(identity))

    @property
    def episodic(self) -> bool:
        """Whether the benchmark is one of few-shot tasks, not a stream."""
        return "test_tasks" in self.benchmark.settings

    @property
    def text(self) -> str:
        """The cell on one line."""
        return f"{self.benchmark.text}  {self.strategy.text}"


@dataclass(frozen=True)
class Record:
    """One replicate of one cell: of a stream, `correct` (row 0 before training, row i after task i), else `adaptation`."""

    cell: Cell
    seed: int
    status: Status
    reason: str = ""  # why it diverged or failed
    upper_bound: bool = False
    source: str = ""  # digest of the strategy's file
    tests: list[int] = field(default_factory=list)  # test examples per task
    correct: list[list[int]] = field(default_factory=list)
    correct_told: list[list[int]] = field(default_factory=list)  # with the task told at test; empty unless class-incremental
    adaptation: Adaptation | None = None  # schema 2
    gradients: list[Probe] = field(default_factory=list)  # of the tasks, at task ends; schema 5 (3 and 4: no ceilings)
    accounts: list[Account] = field(default_factory=list)  # one for each task after the first; schema 5
    course: Course | None = None  # accuracy along the stream; schema 4
    clocks: dict[str, float] = field(default_factory=dict)  # seconds, shared by the replicates of a batch
    counts: dict[str, int] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    how: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    knows: list[str] | None = None  # what the strategy used of the stream before it came; None: not said; schema 5
    sources: dict[str, dict[str, str]] = field(
        default_factory=dict
    )  # the files of its parts, by role; empty: not said; schema 6
    schema: int = SCHEMA

    @property
    def R(self) -> Float[np.ndarray, "rows tasks"]:  # noqa: N802 - the field's name for it
        """R[i, j]: accuracy on task j after training task i; row 0 is before any training."""
        return _rates(self.correct, self.tests)

    @property
    def R_told(self) -> Float[np.ndarray, "rows tasks"] | None:  # noqa: N802
        """As `R`, with each test example's task told: logits of other tasks' classes are left out. Class-incremental only."""
        return _rates(self.correct_told, self.tests) if self.correct_told else None

    @property
    def code(self) -> Code:
        """What is known of the code that made it."""
        return Code(self.sources, self.source, self.cell.strategy.name)

    @property
    def machine(self) -> str:
        """Within what its clocks may be compared: machine, version of torch, threads, jobs at a time, replicates together."""
        where = self.environment
        return (
            f"{where['cpu']} ({where['cores']} cores), {where['device']}, torch {where['torch']}, {where['threads']} threads, "
            f"{where['jobs']} jobs, {self.how['replicates']} replicates"
        )

    def to_json(self) -> str:
        """The record as one JSON document; no NaN can occur in it."""
        return _ADAPTER.dump_json(self).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Record":
        """Read a record; raises `TooNew` or `Damaged`."""
        try:
            record = _ADAPTER.validate_json(text, strict=True)
        except ValidationError as error:
            with suppress(ValidationError):
                _check_age(_SCHEMA.validate_json(text).schema)
            first = error.errors()[0]
            raise Damaged(f"{'.'.join(map(str, first['loc'])) or 'document'}: {first['msg']}") from None
        _check_age(record.schema)
        _check_counts(record)
        return record


def _check_age(schema: int) -> None:
    if schema > SCHEMA:
        raise TooNew(f"schema {schema}; this version reads up to {SCHEMA}")


def _check_counts(record: Record) -> None:
    done, tasks = record.status == "done", len(record.tests)
    if any(count < 1 for count in record.tests) or record.schema < 1:
        raise Damaged("a task has no test examples, or the schema is below 1")
    missing = [f"{name}.{key}" for name, keys in ALWAYS.items() for key in keys if key not in getattr(record, name)]
    if done and (missing or not (tasks or record.adaptation)):
        raise Damaged(f"it is done, but lacks {', '.join(missing) or 'tasks'}")
    if fault := next(filter(None, _faults(record)), ""):
        raise Damaged(fault)
    if done and tasks and record.counts["steps"] < 1:
        raise Damaged("it is done, but took no steps")
    if not tasks and not record.correct:
        return
    for rows in (record.correct, record.correct_told or record.correct):
        if any(len(row) != tasks for row in rows) or (done and len(rows) != tasks + 1):
            raise Damaged("the counts do not fit the number of tasks")
        if any(min(row, default=0) < 0 or any(map(gt, row, record.tests)) for row in rows):
            raise Damaged("a count of right answers is below 0 or above the number of tests")


def _faults(record: Record) -> Iterator[str]:
    if record.adaptation:
        yield record.adaptation.fault()
    yield from (probe.fault() for probe in record.gradients)
    yield from (account.fault() for account in record.accounts)
    if record.course:
        yield record.course.fault(record.tests)
        if record.status == "done" and record.course.step[-1] != record.counts["steps"]:
            yield "the last test along the stream is not after its last step"


def _rates(counts: list[list[int]], of: list[int]) -> Float[np.ndarray, "rows tasks"]:
    return np.asarray(np.array(counts) / np.array(of))


@dataclass(frozen=True)
class _Schema:
    schema: int


_SCHEMA = TypeAdapter(_Schema)
_ADAPTER = TypeAdapter(Record)
