"""Inconsistencies between the values of a record that are valid one by one."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from retrograde.errors import shown
from retrograde.records.account import Account
from retrograde.records.cell import CellSpec, PartSpec
from retrograde.records.gradient_probe import GradientProbe
from retrograde.records.schema import How, Place, Reported, odd_number

if TYPE_CHECKING:
    from retrograde.records.record import Record

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


_OPEN: dict[str, TypeAdapter[Any]] = {
    "how": TypeAdapter(How),
    "environment": TypeAdapter(Place),
    "cell.benchmark.settings": TypeAdapter(Reported),
}


def misfit(error: ValidationError) -> str:
    """Description of the first value that its field does not admit: field, value and rule."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "document"
    value = "" if first["type"] in {"missing", "json_invalid"} else f"={shown(first['input'])}"
    return f"{where}{value}: {first['msg']}"


def inconsistency(record: "Record") -> str:
    """Description of the first inconsistency of a record; empty if there is none."""
    return next(filter(None, _inconsistencies(record)), "")


def _inconsistencies(record: "Record") -> Iterator[str]:
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


def _odd_along_stream(record: "Record") -> Iterator[str]:
    """Descriptions of inconsistencies in what was measured beside the accuracy on tasks."""
    experiences = record.timeline
    if record.classes:
        yield record.classes.inconsistency(record.test_examples, record.correct, experiences.count)
    for of_experiences in (record.statistics, record.prequential, record.plasticity):
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
        return f"{name}.{misfit(error)}"
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


def _unfinished(record: "Record") -> Iterator[str]:
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


def _unequal(record: "Record") -> Iterator[str]:
    """Descriptions of right answers and errors that do not fit the tasks and experiences."""
    tasks = len(record.test_examples)
    if not tasks and not record.correct and not record.squared_errors:
        return
    evaluations = record.timeline.count + 1
    if record.squared_errors:
        yield from _unequal_errors(record, tasks, evaluations)
        return
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


def _unequal_errors(record: "Record", tasks: int, evaluations: int) -> Iterator[str]:
    """Descriptions of errors that do not fit, or stand beside right answers."""
    if record.correct or record.correct_given_task or record.classes:
        yield "squared_errors: it has correct answers too"
    rows = record.squared_errors
    complete = record.status != "done" or len(rows) == evaluations
    if not complete or any(len(row) != tasks for row in rows):
        yield (
            f"squared_errors: the sums do not fit the number of tasks, {tasks}, "
            f"and of evaluations, {evaluations}"
        )


def _misplaced(record: "Record") -> Iterator[str]:
    """Descriptions of inconsistent probes and accounts, and of tasks outside the stream."""
    tasks = len(record.test_examples)
    if (record.gradients or record.accounts) and not record.timeline.complete_tasks:
        yield "gradients or accounts: in their streams, each experience completes one task"
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
