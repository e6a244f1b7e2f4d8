"""The record of one replicate: a JSON document from which every score is computed later."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from pydantic import TypeAdapter, ValidationError

from retrograde.errors import shown
from retrograde.parts.provenance import Change, Sources, changes
from retrograde.parts.spec import as_text
from retrograde.records.account import Account
from retrograde.records.cell import CellSpec, PartSpec
from retrograde.records.class_counts import ClassCounts
from retrograde.records.experiences import Experiences
from retrograde.records.few_shot import Adaptation
from retrograde.records.gradient_probe import GradientProbe
from retrograde.records.online_accuracy import OnlineAccuracy
from retrograde.records.prequential import Prequential
from retrograde.records.privacy import scrubbed
from retrograde.records.schema import How, Place, Positive, Reported, Seconds, Whole, odd_number
from retrograde.records.statistics import Statistics
from retrograde.records.validation import Validation

SCHEMA = 7
"""The version of the layout; that of retrograde 0.1 was 6 or lower."""


Status = Literal["done", "diverged", "failed"]


REQUIRED_KEYS = {
    "clocks": ("train", "evaluate"),
    "counts": ("steps", "incoming", "replayed"),
    "memory": ("examples", "bytes", "state_bytes", "peak_bytes"),
    "how": ("backend", "compiled", "replicates", "steps"),
    "environment": ("cpu", "cores", "device", "threads", "jobs", "torch"),
}
"""Keys that the record of a finished replicate has, by field."""


OPEN_FIELDS = ("how", "environment")
"""Fields that may have keys outside the schema."""


class Damaged(Exception):
    """A record that cannot be read."""


class OtherSchema(Exception):
    """A record with the layout of an earlier or a later version, and the remedy."""


@dataclass(frozen=True)
class Record:
    """One replicate of one cell.

    A replicate of a stream has `correct`; one of few-shot tasks has `adaptation`.

    Attributes:
        cell: benchmark and strategy, with their settings and data.
        seed: seed of the replicate.
        status: done, diverged or failed.
        reason: why it diverged or failed.
        upper_bound: True if the strategy does not compete and others are measured against it.
        test_examples: number of test examples of each task.
        correct: number of correct answers on each task; row 0 is before training, row i after the
            i-th experience.
        correct_given_task: the same with the task given at test; empty unless class-incremental.
        experiences: the experiences of the stream; None if each trains one task, in order.
        classes: the correct answers by class; None if they were not counted.
        adaptation: adaptation to test tasks.
        gradients: gradient probes at task ends.
        accounts: one for each task after the first.
        online_accuracy: accuracy along the stream.
        prequential: predictions on incoming examples before they are trained on.
        validation: correct answers on validation examples, if the benchmark holds some out.
        statistics: what the strategy logs of its own steps; None if it logs nothing.
        clocks: seconds by activity, shared by the replicates of a batch.
        counts: numbers of steps and of incoming and replayed examples.
        memory: sizes of the memory and of the state, and peak memory.
        how: the execution of the replicate, see `How`.
        environment: the machine and the versions, see `Place`.
        knows_ahead: facts of the stream that the strategy used in advance; None if unknown.
        sources: digest of each file, by role of the part; empty if unknown.
        schema: version of this layout.
    """

    cell: CellSpec
    seed: Whole
    status: Status
    reason: str = ""
    upper_bound: bool = False
    test_examples: list[Positive] = field(default_factory=list)
    correct: list[list[Whole]] = field(default_factory=list)
    correct_given_task: list[list[Whole]] = field(default_factory=list)
    experiences: Experiences | None = None
    classes: ClassCounts | None = None
    adaptation: Adaptation | None = None
    gradients: list[GradientProbe] = field(default_factory=list)
    accounts: list[Account] = field(default_factory=list)
    online_accuracy: OnlineAccuracy | None = None
    prequential: Prequential | None = None
    validation: Validation | None = None
    statistics: Statistics | None = None
    clocks: dict[str, Seconds] = field(default_factory=dict)
    counts: dict[str, Whole] = field(default_factory=dict)
    memory: dict[str, Whole] = field(default_factory=dict)
    how: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    knows_ahead: list[str] | None = None
    sources: dict[str, dict[str, str]] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def R(self) -> Float[np.ndarray, "rows tasks"]:  # noqa: N802 - the field's name for it
        """R[i, j]: accuracy on task j after i experiences; row 0 is before any training."""
        return _rates(self.correct, self.test_examples)

    @property
    def R_task_aware(self) -> Float[np.ndarray, "rows tasks"] | None:  # noqa: N802
        """As `R`, with the task given at test; None unless the stream is class-incremental.

        The logits of other tasks' classes are left out.
        """
        return (
            _rates(self.correct_given_task, self.test_examples) if self.correct_given_task else None
        )

    @property
    def timeline(self) -> Experiences:
        """The experiences of the stream, also where each trains one task."""
        return self.experiences or Experiences.one_per_task(len(self.test_examples))

    def outdated_by(self, cell: CellSpec, sources: Sources) -> list[Change]:
        """The files and the defaults that changed since the record was made.

        Args:
            cell: the cell as it is now; its path is that of the record's.
            sources: its files now.
        """
        differing = [
            *self.cell.benchmark.differing(cell.benchmark),
            *self.cell.strategy.differing(cell.strategy),
        ]
        defaults = [
            Change("the default of", name, name, as_text(before), as_text(now))
            for name, before, now in differing
        ]
        return changes(self.sources, sources) + defaults

    @property
    def machine(self) -> str:
        """The conditions of timing; clocks are comparable only between records that share them.

        They are the machine, the version of torch, the threads, the jobs at a time and the
        replicates that train together.
        """
        where = self.environment
        return (
            f"{where['cpu']} ({where['cores']} cores), {where['device']}, torch {where['torch']}, "
            f"{where['threads']} threads, {where['jobs']} jobs, "
            f"{self.how['replicates']} replicates"
        )

    @property
    def public(self) -> "Record":
        """The same record without folders of this machine, the user's name and the host's."""
        how = dict(self.how)
        if "note" in how:
            how["note"] = scrubbed(how["note"])
        reason = scrubbed(self.reason)
        return replace(self, cell=self.cell.public, reason=reason, how=how)

    def to_json(self) -> str:
        """The record as one JSON document without private names; it contains no NaN."""
        return _ADAPTER.dump_json(self.public).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Record":
        """Read a record.

        Raises:
            OtherSchema: an earlier or a later version of retrograde wrote it.
            Damaged: it is not a consistent record.
        """
        try:
            record = _ADAPTER.validate_json(text, strict=True)
        except ValidationError as error:
            # A record of another schema may not fit this one; its schema is then the reason.
            with suppress(ValidationError):
                _check_schema(_SCHEMA.validate_json(text).schema)
            raise Damaged(_misfit(error)) from None
        _check_schema(record.schema)
        inconsistency = next(filter(None, _inconsistencies(record)), "")
        if inconsistency:
            raise Damaged(inconsistency)
        return record


def _check_schema(schema: int) -> None:
    if schema > SCHEMA:
        raise OtherSchema(
            f"a later version (schema {schema}; this one reads {SCHEMA}). "
            "Upgrade retrograde, or take it out of the store."
        )
    if 0 < schema < SCHEMA:
        raise OtherSchema(
            f"retrograde 0.1 (schema {schema}; this version reads {SCHEMA}). Move the whole store "
            "with tools/migrate_from_0_1.py of the repository, or choose another folder."
        )


def _misfit(error: ValidationError) -> str:
    """Description of the first value that its field does not admit: field, value and rule."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "document"
    value = "" if first["type"] in {"missing", "json_invalid"} else f"={shown(first['input'])}"
    return f"{where}{value}: {first['msg']}"


def _inconsistencies(record: Record) -> Iterator[str]:
    """Descriptions of inconsistencies between values that are valid one by one.

    An empty text stands for none. Later tests rely on earlier ones, so only the first counts.
    """
    if record.schema < 1:
        yield f"schema={record.schema}, and the first is 1"
    for name in OPEN_FIELDS:
        yield from _odd(name, getattr(record, name))
    for name in OPEN_FIELDS:
        yield _type_error(name, getattr(record, name))
    yield _type_error("cell.benchmark.settings", record.cell.benchmark.settings)
    yield _given_error(record.cell)
    for part in (record.cell.benchmark, record.cell.strategy):
        yield from _odd(f"cell: settings of {part.name}", part.settings)
        yield _overrides_error(part)
    if record.status == "done":
        yield from _unfinished(record)
    if record.experiences:
        yield record.experiences.inconsistency(len(record.test_examples))
    yield from _unequal(record)
    if record.adaptation:
        yield record.adaptation.inconsistency()
    yield from _misplaced(record)
    yield from _odd_along_stream(record)


def _odd_along_stream(record: Record) -> Iterator[str]:
    """Descriptions of inconsistencies in what was measured beside the accuracy on tasks."""
    experiences = record.timeline
    if record.classes:
        yield record.classes.inconsistency(record.test_examples, record.correct, experiences.count)
    for of_experiences in (record.statistics, record.prequential):
        yield of_experiences.inconsistency(experiences.count) if of_experiences else ""
    if record.validation:
        yield record.validation.inconsistency(len(record.test_examples))
        rows = len(record.validation.correct)
        if record.status == "done" and rows != experiences.count + 1:
            yield f"validation.correct: {rows} rows for {experiences.count} experiences"
    if record.online_accuracy:
        yield record.online_accuracy.inconsistency(record.test_examples, experiences)
        last = record.online_accuracy.step[-1]
        if record.status == "done" and last != record.counts["steps"]:
            yield "the last online evaluation is not after the last step"


def _odd(
    name: str,
    values: Mapping[str, object],
) -> Iterator[str]:
    """Descriptions of the values of a dictionary that are NaN or an infinite number."""
    for key, value in values.items():
        if odd_number(value):
            yield f"{name}.{key}={value!r} is not finite"


def _type_error(name: str, values: Mapping[str, object]) -> str:
    """Description of the first value with a wrong type in an open dictionary; empty if none."""
    try:
        _OPEN[name].validate_python(values, strict=True)
    except ValidationError as error:
        return f"{name}.{_misfit(error)}"
    return ""


def _given_error(cell: CellSpec) -> str:
    """Description of a cell with a path that its settings do not justify; empty if it fits."""
    if bool(cell.given) != bool(cell.given_stream):
        return (
            f"cell.given={cell.given!r} and cell.given_stream={cell.given_stream!r}: "
            "one of them is missing"
        )
    settings = [*cell.benchmark.settings.values(), *cell.strategy.settings.values()]
    # Only a setting without its folder may have had another digest before.
    if cell.given and not any("…/" in str(value) for value in settings):
        return f"cell.given={cell.given!r}, but no setting leaves out the folder of a path"
    return ""


def _overrides_error(part: PartSpec) -> str:
    """Description of the first override that is not among the settings; empty if all are."""
    for name, value in part.overrides.items():
        if part.settings.get(name) != value:
            return f"cell: overrides of {part.name}: {name}={shown(value)} is not its setting"
    return ""


def _unfinished(record: Record) -> Iterator[str]:
    """Descriptions of values that the record of a finished replicate lacks."""
    missing: list[str] = []
    for name, keys in REQUIRED_KEYS.items():
        values = getattr(record, name)
        missing += [f"{name}.{key}" for key in keys if key not in values]
    if record.cell.episodic and not record.adaptation:
        missing.append("adaptation")
    if not (record.cell.episodic or record.test_examples or record.adaptation):
        missing.append("tasks")
    if missing:
        yield f"it is done, but lacks {', '.join(missing)}"
        return
    steps = record.counts["steps"]
    if record.test_examples and steps < 1:
        yield f"counts.steps={steps}: it is done, but took no steps"
    if steps and not record.how["steps"]:
        yield f"how.steps=0, but it took {steps} steps"


def _unequal(record: Record) -> Iterator[str]:
    """Descriptions of counts of correct answers that do not fit the tasks and experiences."""
    tasks = len(record.test_examples)
    if not tasks and not record.correct:
        return
    evaluations = record.timeline.count + 1
    tables = {"correct": record.correct}
    if record.correct_given_task:
        tables["correct_given_task"] = record.correct_given_task
    for name, rows in tables.items():
        complete = record.status != "done" or len(rows) == evaluations
        if not complete or any(len(row) != tasks for row in rows):
            yield (
                f"{name}: the counts do not fit the number of tasks, {tasks}, "
                f"and of evaluations, {evaluations}"
            )
        elif any(
            right > most
            for row in rows
            for right, most in zip(row, record.test_examples, strict=True)
        ):
            yield f"{name}: a count of correct answers is above the number of test examples"


def _misplaced(record: Record) -> Iterator[str]:
    """Descriptions of inconsistent probes and accounts, and of tasks outside the stream."""
    tasks = len(record.test_examples)
    if (record.gradients or record.accounts) and not record.timeline.are_tasks:
        yield "gradients or accounts: they are of streams in which each experience trains one task"
    yield from _unordered("gradients", record.gradients, tasks)
    yield from _unordered("accounts", record.accounts, tasks)
    for probe in record.gradients:
        probed = len(probe.loss)
        if probed > min(probe.task + 2, tasks):
            yield (
                f"gradients: at the end of task {probe.task} of {tasks}, {probed} tasks were probed"
            )


def _unordered(
    name: str,
    entries: Sequence[GradientProbe | Account],
    tasks: int,
) -> Iterator[str]:
    """Descriptions of inconsistent entries, and of tasks out of order or outside the stream."""
    for entry in entries:
        yield entry.inconsistency()
    numbers = [entry.task for entry in entries]
    outside = any(number >= tasks for number in numbers)
    if numbers != sorted(set(numbers)) or outside:
        yield f"{name}: the tasks {numbers} are not in order, or not all of the stream's {tasks}"


def _rates(
    counts: list[list[int]],
    test_examples: list[int],
) -> Float[np.ndarray, "rows tasks"]:
    return np.asarray(np.array(counts) / np.array(test_examples))


# The part of a document from which its schema is read.
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
