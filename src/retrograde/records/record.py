"""What one replicate leaves: a compact JSON document from which every score is computed later."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from operator import gt
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from pydantic import TypeAdapter, ValidationError

from retrograde.errors import UserError, shown
from retrograde.parts.provenance import Code
from retrograde.parts.spec import parse
from retrograde.records.account import Account
from retrograde.records.cell import Cell, Named
from retrograde.records.few_shot import Adaptation
from retrograde.records.gradient_probe import Probe
from retrograde.records.online_accuracy import Course
from retrograde.records.privacy import scrubbed
from retrograde.records.schema import How, Place, Positive, Reported, Seconds, Whole, odd_number

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


FREE = ("how", "environment")
"""Fields in which keys may be that the schema does not name."""


class Damaged(Exception):
    """A record that cannot be read."""


class TooNew(Exception):
    """A record written by a later version."""


@dataclass(frozen=True)
class Record:
    """One replicate of one cell: of a stream, `correct` (row 0 before training, row i after task i), else `adaptation`."""

    cell: Cell
    seed: Whole
    status: Status
    reason: str = ""  # why it diverged or failed
    upper_bound: bool = False
    source: str = ""  # digest of the strategy's file
    tests: list[Positive] = field(default_factory=list)  # test examples per task
    correct: list[list[Whole]] = field(default_factory=list)
    correct_told: list[list[Whole]] = field(
        default_factory=list
    )  # with the task told at test; empty unless class-incremental
    adaptation: Adaptation | None = None  # schema 2
    gradients: list[Probe] = field(
        default_factory=list
    )  # of the tasks, at task ends; schema 5 (3 and 4: no ceilings)
    accounts: list[Account] = field(
        default_factory=list
    )  # one for each task after the first; schema 5
    course: Course | None = None  # accuracy along the stream; schema 4
    clocks: dict[str, Seconds] = field(default_factory=dict)  # shared by the replicates of a batch
    counts: dict[str, Whole] = field(default_factory=dict)
    memory: dict[str, Whole] = field(default_factory=dict)
    how: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    knows: list[str] | None = (
        None  # what the strategy used of the stream before it came; None: not said; schema 5
    )
    # The files of its parts, by role, each with the digest of its content; empty: not said; schema 6.
    sources: dict[str, dict[str, str]] = field(default_factory=dict)
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

    @property
    def public(self) -> "Record":
        """The same record without folders of this machine, the user's name and the host's."""
        how = self.how | ({"note": scrubbed(self.how["note"])} if "note" in self.how else {})
        return replace(self, cell=self.cell.public, reason=scrubbed(self.reason), how=how)

    def to_json(self) -> str:
        """The record as one JSON document, made to be shared; no NaN can occur in it."""
        return _ADAPTER.dump_json(self.public).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Record":
        """Read a record; raises `TooNew` or `Damaged`."""
        try:
            record = _ADAPTER.validate_json(text, strict=True)
        except ValidationError as error:
            with suppress(ValidationError):
                _check_age(_SCHEMA.validate_json(text).schema)
            raise Damaged(_misfit(error)) from None
        _check_age(record.schema)
        if fault := next(filter(None, _faults(record)), ""):
            raise Damaged(fault)
        public = record.cell.public
        return record if public is record.cell else replace(record, cell=public)


def _check_age(schema: int) -> None:
    if schema > SCHEMA:
        raise TooNew(f"schema {schema}; this version reads up to {SCHEMA}")


def _misfit(error: ValidationError) -> str:
    """The first value that its field does not admit: the field, the value and the rule."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "document"
    value = "" if first["type"] in {"missing", "json_invalid"} else f"={shown(first['input'])}"
    return f"{where}{value}: {first['msg']}"


def _faults(record: Record) -> Iterator[str]:
    """What does not fit together, each in words, though every value is one of its field's."""
    if record.schema < 1:
        yield f"schema={record.schema}, and the first is 1"
    yield from (fault for name in FREE for fault in _odd(name, getattr(record, name)))
    yield from (_kind_fault(name, getattr(record, name)) for name in ("how", "environment"))
    yield _kind_fault("cell.benchmark.settings", record.cell.benchmark.settings)
    yield _given_fault(record.cell)
    for part in (record.cell.benchmark, record.cell.strategy):
        yield from _odd(f"cell: settings of {part.name}", part.settings)
        yield _changed_fault(part)
    if record.status == "done":
        yield from _unfinished(record)
    yield from _unequal(record)
    if record.adaptation:
        yield record.adaptation.fault()
    yield from _misplaced(record)
    if record.course:
        yield record.course.fault(record.tests)
        if record.status == "done" and record.course.step[-1] != record.counts["steps"]:
            yield "the last test along the stream is not after its last step"


def _odd(name: str, values: Mapping[str, object]) -> Iterator[str]:
    """Name the values of a dictionary that hold NaN or an infinite number."""
    numbers = ((key, value) for key, value in values.items() if not isinstance(value, str | int))
    return (f"{name}.{key}={value!r} is not finite" for key, value in numbers if odd_number(value))


def _kind_fault(name: str, values: Mapping[str, object]) -> str:
    """Say which value of a dictionary, whose keys may be any, is not what its key says."""
    try:
        _OPEN[name].validate_python(values, strict=True)
    except ValidationError as error:
        return f"{name}.{_misfit(error)}"
    return ""


def _given_fault(cell: Cell) -> str:
    """Say where a cell claims another place than its settings have, although these are whole."""
    if bool(cell.given) != bool(cell.given_stream):
        return f"cell.given={cell.given!r} and cell.given_stream={cell.given_stream!r}: one of them is missing"
    settings = [*cell.benchmark.settings.values(), *cell.strategy.settings.values()]
    if cell.given and not any("…/" in str(value) for value in settings):
        return f"cell.given={cell.given!r}, but no setting leaves out the folder of a path"
    return ""


def _changed_fault(part: Named) -> str:
    """Say where the text of the settings that were not the default is none that the command line takes."""
    try:
        parse(f":{part.changed}")
    except UserError as error:
        return f"cell: changed of {part.name}={shown(part.changed)}: {error}"
    return ""


def _unfinished(record: Record) -> Iterator[str]:
    """Say what a replicate that is done lacks."""
    missing = [
        f"{name}.{key}"
        for name, keys in ALWAYS.items()
        for key in keys
        if key not in getattr(record, name)
    ]
    tested = "adaptation" if record.cell.episodic else "tasks"
    if not (record.adaptation if record.cell.episodic else record.tests or record.adaptation):
        missing.append(tested)
    if missing:
        yield f"it is done, but lacks {', '.join(missing)}"
        return
    steps = record.counts["steps"]
    if record.tests and steps < 1:
        yield f"counts.steps={steps}: it is done, but took no steps"
    if steps and not record.how["steps"]:
        yield f"how.steps=0, but it took {steps} steps"


def _unequal(record: Record) -> Iterator[str]:
    """Say where counts do not fit the tasks."""
    tasks = len(record.tests)
    if not tasks and not record.correct:
        return
    for name, rows in (
        ("correct", record.correct),
        ("correct_told", record.correct_told or record.correct),
    ):
        if any(len(row) != tasks for row in rows) or (
            record.status == "done" and len(rows) != tasks + 1
        ):
            yield f"{name}: the counts do not fit the number of tasks, {tasks}"
        elif any(any(map(gt, row, record.tests)) for row in rows):
            yield f"{name}: a count of right answers is above the number of tests"


def _misplaced(record: Record) -> Iterator[str]:
    """Say which probe or account is at fault, or of a task that the stream does not have."""
    tasks = len(record.tests)
    for name, each in (("gradients", record.gradients), ("accounts", record.accounts)):
        yield from (one.fault() for one in each)
        numbers = [one.task for one in each]
        if numbers != sorted(set(numbers)) or any(number >= tasks for number in numbers):
            yield f"{name}: the tasks {numbers} are not in order, or not all of the stream's {tasks}"
    for probe in record.gradients:
        if len(probe.loss) > min(probe.task + 2, tasks):
            yield f"gradients: at the end of task {probe.task} of {tasks}, {len(probe.loss)} tasks were probed"


def _rates(counts: list[list[int]], of: list[int]) -> Float[np.ndarray, "rows tasks"]:
    return np.asarray(np.array(counts) / np.array(of))


@dataclass(frozen=True)
class _Schema:
    schema: int


_SCHEMA = TypeAdapter(_Schema)


_ADAPTER = TypeAdapter(Record)


_OPEN: dict[str, TypeAdapter[Any]] = {
    "how": TypeAdapter(How),
    "environment": TypeAdapter(Place),
    "cell.benchmark.settings": TypeAdapter(Reported),
}
